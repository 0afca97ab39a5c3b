//! Programs: loading them, and attaching them to cgroups.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::object::{INSTRUCTION_BYTES, Object};
use super::{Command, Error, Map, by_id, call, name_bytes, open, read_info};

/// `BPF_PROG_TYPE_CGROUP_SOCK_ADDR`.
const SOCK_ADDR: u32 = 18;
/// Programs of groups above and below run too.
pub(crate) const ALLOW_MULTI: u32 = 1 << 1;
/// Takes the place of another program, atomically.
const REPLACE: u32 = 1 << 2;
/// The source of a load instruction that means "the map with this descriptor".
const PSEUDO_MAP_FD: u8 = 1;
/// Most programs at one hook of one group (`BPF_CGROUP_MAX_PROGS`).
const ATTACHED_MAX: usize = 64;

/// Where in a cgroup's life of sockets a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// connect(2) of IPv4 sockets.
    Connect4,
    /// connect(2) of IPv6 sockets.
    Connect6,
    /// getpeername(2) of IPv4 sockets.
    PeerName4,
    /// getpeername(2) of IPv6 sockets.
    PeerName6,
}

impl Hook {
    /// The attach type of `linux/bpf.h`.
    fn number(self) -> u32 {
        match self {
            Hook::Connect4 => 10,
            Hook::Connect6 => 11,
            Hook::PeerName4 => 29,
            Hook::PeerName6 => 30,
        }
    }

    /// The section of its program, as everybody names it.
    pub fn section(self) -> &'static str {
        match self {
            Hook::Connect4 => "cgroup/connect4",
            Hook::Connect6 => "cgroup/connect6",
            Hook::PeerName4 => "cgroup/getpeername4",
            Hook::PeerName6 => "cgroup/getpeername6",
        }
    }

    fn name(self) -> &'static str {
        self.section().rsplit('/').next().unwrap_or_default()
    }
}

/// A loaded program.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
    hook: Hook,
}

/// What the kernel says about a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// A hash over its instructions, which doesn't depend on the maps.
    pub tag: [u8; 8],
    /// Its name.
    pub name: String,
    /// The numbers of its maps.
    pub maps: Vec<u32>,
}

/// The prefix of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) kind: u32,
    pub(crate) instruction_count: u32,
    pub(crate) instructions: u64,
    pub(crate) license: u64,
    pub(crate) log_level: u32,
    pub(crate) log_size: u32,
    pub(crate) log: u64,
    pub(crate) kernel_version: u32,
    pub(crate) flags: u32,
    pub(crate) name: [u8; 16],
    pub(crate) ifindex: u32,
    pub(crate) attach_type: u32,
}

/// The prefix of `union bpf_attr` for `BPF_PROG_ATTACH` and `_DETACH`.
#[repr(C)]
pub(crate) struct Attach {
    pub(crate) target: u32,
    pub(crate) program: u32,
    pub(crate) kind: u32,
    pub(crate) flags: u32,
    pub(crate) replaced: u32,
}

impl Program {
    /// Loads the program for a hook. Its name in the kernel begins with `prefix`.
    pub fn load(object: &Object, hook: Hook, prefix: &str, maps: &[Map]) -> Result<Self, Error> {
        let name = format!("{prefix}{}", hook.name());
        let code = object
            .programs
            .iter()
            .find(|code| code.section == hook.section())
            .ok_or_else(|| Error::refused("find program", &name)(io::ErrorKind::NotFound.into()))?;
        let mut instructions = code.instructions.clone();
        for (number, symbol) in &code.maps {
            let map = maps.iter().find(|map| map.spec().name == symbol);
            let map = map.ok_or_else(|| Error::UnknownMap {
                name: name.clone(),
                map: symbol.clone(),
            })?;
            let at = number * INSTRUCTION_BYTES;
            // Registers: the destination in the low half, the source in the high one.
            instructions[at + 1] = instructions[at + 1] & 0xf | PSEUDO_MAP_FD << 4;
            let fd = map.as_fd().as_raw_fd().to_ne_bytes();
            instructions[at + 4..at + 8].copy_from_slice(&fd);
        }
        let mut log = Vec::new();
        let source = match load(&name, hook, &instructions, &mut log) {
            Ok(fd) => return Ok(Self { fd, hook }),
            Err(source) => source,
        };
        // Again, to hear why.
        log = vec![0; 1 << 20];
        match load(&name, hook, &instructions, &mut log) {
            Ok(fd) => Ok(Self { fd, hook }),
            Err(_) => {
                let text = String::from_utf8_lossy(&log);
                let lines = text.trim_end_matches('\0').lines().rev();
                // The last line counts; the one before it has the reason.
                let said: Vec<_> = lines.skip(1).take(1).collect();
                let said = said.concat();
                match said.is_empty() {
                    true => Err(Error::refused("load program", name)(source)),
                    false => Err(Error::Rejected { name, said, source }),
                }
            }
        }
    }

    /// The programs at a hook of a cgroup, given by its open directory.
    pub fn attached(cgroup: BorrowedFd<'_>, hook: Hook) -> Result<Vec<Self>, Error> {
        #[repr(C)]
        struct Query {
            target: u32,
            kind: u32,
            flags: u32,
            attach_flags: u32,
            ids: u64,
            count: u32,
            zero: u32,
        }
        let mut ids = [0_u32; ATTACHED_MAX];
        let mut query = Query {
            target: cgroup.as_raw_fd().cast_unsigned(),
            kind: hook.number(),
            flags: 0,
            attach_flags: 0,
            ids: ids.as_mut_ptr() as u64,
            count: ATTACHED_MAX as u32,
            zero: 0,
        };
        // SAFETY: the kernel writes at most `count` numbers to `ids`.
        unsafe { call(Command::ProgramQuery, &mut query) }
            .map_err(Error::refused("list programs at", hook.section()))?;
        let count = (query.count as usize).min(ATTACHED_MAX);
        ids[..count]
            .iter()
            .map(|id| {
                by_id(Command::ProgramById, *id)
                    .map(|fd| Self { fd, hook })
                    .map_err(Error::refused("open program", id.to_string()))
            })
            .collect()
    }

    /// Attaches it to a cgroup, beside the programs of others, or in place of one.
    pub fn attach(&self, cgroup: BorrowedFd<'_>, replaced: Option<&Program>) -> Result<(), Error> {
        let mut attributes = self.attributes(cgroup);
        attributes.flags = ALLOW_MULTI;
        if let Some(replaced) = replaced {
            attributes.flags |= REPLACE;
            attributes.replaced = replaced.fd.as_raw_fd().cast_unsigned();
        }
        // SAFETY: there are no pointers in these attributes, and the descriptors are open.
        unsafe { call(Command::ProgramAttach, &mut attributes) }
            .map(drop)
            .map_err(Error::refused("attach to", self.hook.section()))
    }

    /// Takes it away from a cgroup.
    pub fn detach(&self, cgroup: BorrowedFd<'_>) -> Result<(), Error> {
        let mut attributes = self.attributes(cgroup);
        // SAFETY: as above.
        unsafe { call(Command::ProgramDetach, &mut attributes) }
            .map(drop)
            .map_err(Error::refused("detach from", self.hook.section()))
    }

    fn attributes(&self, cgroup: BorrowedFd<'_>) -> Attach {
        Attach {
            target: cgroup.as_raw_fd().cast_unsigned(),
            program: self.fd.as_raw_fd().cast_unsigned(),
            kind: self.hook.number(),
            flags: 0,
            replaced: 0,
        }
    }

    /// What the kernel says about it.
    pub fn facts(&self) -> Result<Facts, Error> {
        /// The prefix of `struct bpf_prog_info`.
        #[repr(C)]
        #[derive(Default)]
        struct Info {
            kind: u32,
            id: u32,
            tag: [u8; 8],
            lengths: [u32; 2],
            instructions: [u64; 2],
            load_time: u64,
            created_by: u32,
            map_count: u32,
            maps: u64,
            name: [u8; 16],
        }
        /// More than any program of ours has.
        const MAPS_MAX: usize = 16;
        let mut maps = [0_u32; MAPS_MAX];
        let mut info = Info {
            map_count: MAPS_MAX as u32,
            maps: maps.as_mut_ptr() as u64,
            ..Info::default()
        };
        // SAFETY: any bytes are a valid Info; the kernel writes at most `map_count` numbers to `maps`.
        unsafe { read_info(self.fd.as_fd(), &mut info) }
            .map_err(Error::refused("ask about program", self.hook.section()))?;
        let name = info
            .name
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default();
        Ok(Facts {
            tag: info.tag,
            name: String::from_utf8_lossy(name).into_owned(),
            maps: maps[..(info.map_count as usize).min(MAPS_MAX)].to_vec(),
        })
    }
}

fn load(name: &str, hook: Hook, instructions: &[u8], log: &mut [u8]) -> io::Result<OwnedFd> {
    let count = instructions.len() / INSTRUCTION_BYTES;
    let mut attributes = Load {
        kind: SOCK_ADDR,
        instruction_count: u32::try_from(count).map_err(|_| io::ErrorKind::InvalidInput)?,
        instructions: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: u32::try_from(log.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        log: match log {
            [] => 0,
            _ => log.as_mut_ptr() as u64,
        },
        name: name_bytes(name),
        attach_type: hook.number(),
        ..Load::default()
    };
    // SAFETY: instructions and licence live until the call returns, and the kernel writes at most
    // `log_size` bytes to the log. The command returns a descriptor.
    unsafe { open(Command::ProgramLoad, &mut attributes) }
}
