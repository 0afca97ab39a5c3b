//! BPF programs and maps, by bpf(2): object files, maps, loading, and attaching to cgroups.
//!
//! Nothing is pinned: a program that is attached to a cgroup lives as long as the group, and its maps as
//! long as it. Another process finds them by asking the group ([`Program::attached`]) and goes on with
//! them; they are gone with the group. Absent on purpose: BTF relocations (programs use the kernel's
//! stable interface), links, and every kind of program that nobody here needs.

mod map;
mod object;
mod program;

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

pub use map::{Entry, Kind, Map, MapSpec};
pub use object::{Object, ObjectError};
pub(crate) use program::{ALLOW_MULTI, Attach, Load};
pub use program::{Hook, Program};

/// Commands of `linux/bpf.h`.
#[derive(Debug, Clone, Copy)]
#[repr(i64)]
pub(crate) enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapNextKey = 4,
    ProgramLoad = 5,
    ProgramAttach = 8,
    ProgramDetach = 9,
    ProgramById = 13,
    MapById = 14,
    Info = 15,
    ProgramQuery = 16,
    BtfLoad = 18,
    MapUpdateBatch = 26,
}

/// Why something of BPF failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("{action} {name}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// The map, program or hook.
        name: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The kernel's verifier rejected a program.
    #[error("verify program {name}: {said}")]
    Rejected {
        /// The program.
        name: String,
        /// The verifier's last words.
        said: String,
        /// What the kernel returned.
        #[source]
        source: io::Error,
    },
    /// A program wants a map that nobody made.
    #[error("program {name} wants the unknown map {map}")]
    UnknownMap {
        /// The program.
        name: String,
        /// The map.
        map: String,
    },
}

impl Error {
    fn refused(action: &'static str, name: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let name = name.into();
        move |source| Error::Refused {
            action,
            name,
            source,
        }
    }
}

/// Calls bpf(2); returns what it returns.
///
/// # Safety
/// `attributes` must be a prefix of `union bpf_attr` for `command`, without padding, whose pointers are
/// valid for what the command does with them.
pub(crate) unsafe fn call<T>(command: Command, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the kernel reads, and for some commands writes, as many bytes as it is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as i64,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    i32::try_from(result)
        .ok()
        .filter(|result| *result >= 0)
        .ok_or_else(io::Error::last_os_error)
}

/// The same for commands that return a new descriptor.
///
/// # Safety
/// As [`call`]; and the command must return a descriptor.
pub(crate) unsafe fn open<T>(command: Command, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: as the caller promises; the descriptor is new, so nobody else owns it.
    unsafe { call(command, attributes).map(|fd| OwnedFd::from_raw_fd(fd)) }
}

/// Opens the map or program with a number.
fn by_id(command: Command, id: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        id: u32,
        next_id: u32,
        flags: u32,
    }
    let mut attributes = Attributes {
        id,
        next_id: 0,
        flags: 0,
    };
    // SAFETY: the attributes hold no pointers, and the command returns a descriptor.
    unsafe { open(command, &mut attributes) }
}

/// Fills `info`, a prefix of `struct bpf_map_info` or `bpf_prog_info`.
///
/// # Safety
/// Any bytes must be a valid `T`, and pointers in it valid for the kernel to write to.
unsafe fn read_info<T>(fd: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        fd: u32,
        length: u32,
        info: u64,
    }
    let mut attributes = Attributes {
        fd: fd.as_raw_fd().cast_unsigned(),
        length: u32::try_from(size_of::<T>()).map_err(|_| io::ErrorKind::InvalidInput)?,
        info: std::ptr::from_mut(info) as u64,
    };
    // SAFETY: the kernel writes at most `length` bytes to `info`.
    unsafe { call(Command::Info, &mut attributes) }.map(drop)
}

/// A name as the kernel has it: 15 bytes at most, and a zero.
fn name_bytes(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let len = name.len().min(15);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    bytes
}

#[cfg(test)]
mod tests;
