//! What a process that holds others needs of the C library: leaving its parent, and giving back memory.
//!
//! Absent on purpose: anything for multi-threaded processes; a fork of one can't even allocate.

use std::io;

use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask,
};
use nix::unistd::{ForkResult, fork};

/// Which side of [`fork_single_threaded`] the caller is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// The process that forked.
    Parent,
    /// The new process.
    Child,
}

/// Forks the calling process, which must have one thread only; else it fails with `Unsupported`.
pub fn fork_single_threaded() -> io::Result<Forked> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "process has several threads",
        ));
    }
    // SAFETY: there is one thread, so no lock of another one is left held in the child.
    match unsafe { fork() }? {
        ForkResult::Parent { .. } => Ok(Forked::Parent),
        ForkResult::Child => Ok(Forked::Child),
    }
}

/// Gives SIGPIPE its default action again, which Rust's runtime takes away, and unblocks all signals:
/// what a program that is about to be executed expects to inherit.
pub fn restore_default_signals() -> io::Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no code of ours.
    unsafe { sigaction(Signal::SIGPIPE, &default) }?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

/// Gives free heap memory back to the kernel.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim has no preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
}
