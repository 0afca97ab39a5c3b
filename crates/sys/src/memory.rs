//! The process's own memory.

/// Gives what the allocator holds free back to the kernel, as after a large list was read (`malloc_trim(3)`).
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the C library's own allocator is the process's, and the call locks what it needs.
    unsafe {
        libc::malloc_trim(0);
    }
}
