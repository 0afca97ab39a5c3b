//! The last steps of a process that is about to become somebody else's program: filter its system
//! calls, and give up capabilities.
//!
//! In this order, because a filter without `no_new_privs` takes CAP_SYS_ADMIN (seccomp(2)), which few
//! programs should keep.

use std::io;

/// `_LINUX_CAPABILITY_VERSION_3`: two words of 32 capabilities each.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// One instruction of a classic BPF program (`struct sock_filter`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterInstruction {
    /// Operation.
    pub code: u16,
    /// How far to jump when true.
    pub jump_true: u8,
    /// How far to jump when false.
    pub jump_false: u8,
    /// Operand.
    pub operand: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
struct FilterProgram {
    length: u16,
    instructions: *const FilterInstruction,
}

/// Installs the filter for the calling thread, without setting `no_new_privs`.
pub fn filter_system_calls(instructions: &[FilterInstruction]) -> io::Result<()> {
    let program = FilterProgram {
        length: u16::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        instructions: instructions.as_ptr(),
    };
    // SAFETY: the kernel reads the program, which lives until the call returns, and checks it itself.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    check(result)
}

/// `struct __user_cap_header_struct`.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityWord {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Gives up all capabilities of the calling thread but those whose bits are set in `keep`, for itself
/// and for what it will execute. Takes CAP_SETPCAP when bits of the bounding set have to go.
pub fn keep_capabilities(keep: u64) -> io::Result<()> {
    for capability in 0..u64::BITS {
        // SAFETY: prctl takes numbers here.
        let held = unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability) };
        match held {
            // Beyond the kernel's last capability.
            -1 => break,
            1 if keep & (1 << capability) == 0 => {
                // SAFETY: as above.
                check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability) }.into())?;
            }
            _ => {}
        }
    }
    let header = CapabilityHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let [low, high] = [keep & u64::from(u32::MAX), keep >> 32].map(|bits| {
        let bits = u32::try_from(bits).expect("half of 64 bits");
        CapabilityWord {
            effective: bits,
            permitted: bits,
            inheritable: 0,
        }
    });
    let words = [low, high];
    // SAFETY: header and words have the layout of version 3 and outlive the call, which only reads.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, words.as_ptr()) })
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
