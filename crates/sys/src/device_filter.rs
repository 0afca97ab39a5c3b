//! Which devices the processes of a cgroup v2 may use.
//!
//! Version 2 has no `devices` controller: a program of type `BPF_PROG_TYPE_CGROUP_DEVICE` that is
//! attached to the group is asked instead (`Documentation/admin-guide/cgroup-v2.rst`, "Device
//! controller"). The program made here allows what a list of rules allows, and denies all else.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use crate::bpf::{self, ALLOW_MULTI, Attach, Command, Load};

/// Constants of `linux/bpf.h`.
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;

/// Offsets in `struct bpf_cgroup_dev_ctx`.
const ACCESS_TYPE: i16 = 0;
const MAJOR: i16 = 4;
const MINOR: i16 = 8;

/// Opcodes: load a word, move, and, jumps on (in)equality with a constant, exit.
const LDX_W: u8 = 0x61;
const MOV64_K: u8 = 0xb7;
const MOV64_X: u8 = 0xbf;
const AND32_K: u8 = 0x54;
const RSH32_K: u8 = 0x74;
const JNE_K: u8 = 0x55;
const EXIT: u8 = 0x95;

/// The kind of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `BPF_DEVCG_DEV_CHAR`.
    Char,
    /// `BPF_DEVCG_DEV_BLOCK`.
    Block,
}

/// What may be done with a device (`BPF_DEVCG_ACC_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Make a node of it.
    pub mknod: bool,
    /// Read it.
    pub read: bool,
    /// Write it.
    pub write: bool,
}

impl Access {
    /// Everything.
    pub const ALL: Self = Self {
        mknod: true,
        read: true,
        write: true,
    };
    /// Make nodes, which are of no use without the rest.
    pub const MKNOD: Self = Self {
        mknod: true,
        read: false,
        write: false,
    };

    fn bits(self) -> i32 {
        i32::from(self.mknod) | i32::from(self.read) << 1 | i32::from(self.write) << 2
    }
}

/// Allows access to the devices that fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Of this kind.
    pub kind: Kind,
    /// With this major number; any when `None`.
    pub major: Option<u32>,
    /// With this minor number; any when `None`.
    pub minor: Option<u32>,
    /// May be used like this.
    pub access: Access,
}

/// One instruction (`struct bpf_insn`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high half.
    registers: u8,
    offset: i16,
    immediate: i32,
}

fn op(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: destination | source << 4,
        offset,
        immediate,
    }
}

/// Registers: 1 is the context; 2 the kind, 3 the wanted access, 4 and 5 the numbers, 6 is scratch.
fn program(rules: &[Rule]) -> Vec<Instruction> {
    let mut code = vec![
        op(LDX_W, 2, 1, ACCESS_TYPE, 0),
        op(AND32_K, 2, 0, 0, 0xffff),
        op(LDX_W, 3, 1, ACCESS_TYPE, 0),
        op(RSH32_K, 3, 0, 0, 16),
        op(LDX_W, 4, 1, MAJOR, 0),
        op(LDX_W, 5, 1, MINOR, 0),
    ];
    for rule in rules {
        let kind = match rule.kind {
            Kind::Block => 1,
            Kind::Char => 2,
        };
        // Each test jumps over the rest of the rule; the distance is known once the rule is whole.
        let mut tests = vec![op(JNE_K, 2, 0, 0, kind)];
        // Whatever is wanted beyond the rule's access must be nothing.
        tests.push(op(MOV64_X, 6, 3, 0, 0));
        tests.push(op(AND32_K, 6, 0, 0, !rule.access.bits() & 7));
        tests.push(op(JNE_K, 6, 0, 0, 0));
        tests.extend(
            rule.major
                .map(|major| op(JNE_K, 4, 0, 0, major.cast_signed())),
        );
        tests.extend(
            rule.minor
                .map(|minor| op(JNE_K, 5, 0, 0, minor.cast_signed())),
        );
        tests.push(op(MOV64_K, 0, 0, 0, 1));
        tests.push(op(EXIT, 0, 0, 0, 0));
        let end = tests.len();
        for (at, instruction) in tests.iter_mut().enumerate() {
            if instruction.code == JNE_K {
                instruction.offset =
                    i16::try_from(end - at - 1).expect("a rule has few instructions");
            }
        }
        code.extend(tests);
    }
    code.push(op(MOV64_K, 0, 0, 0, 0));
    code.push(op(EXIT, 0, 0, 0, 0));
    code
}

/// Denies the processes of the group, given by its open directory, all devices but those of the rules.
///
/// The filter stays for as long as the group.
pub fn attach(cgroup: BorrowedFd<'_>, rules: &[Rule]) -> io::Result<()> {
    let code = program(rules);
    let mut load = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(code.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        instructions: code.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        ..Load::default()
    };
    // SAFETY: the attributes and what they point to live until the call returns; the kernel only reads.
    // The command returns a descriptor.
    let program = unsafe { bpf::open(Command::ProgramLoad, &mut load) }?;
    let mut attach = Attach {
        target: cgroup.as_raw_fd().cast_unsigned(),
        program: program.as_fd().as_raw_fd().cast_unsigned(),
        kind: BPF_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
        replaced: 0,
    };
    // SAFETY: as above; both descriptors are open.
    unsafe { bpf::call(Command::ProgramAttach, &mut attach) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::process::{Command, Stdio};

    use super::*;

    /// A group of this test's own in the v2 tree, which every machine has somewhere.
    struct Group(PathBuf);

    impl Group {
        fn create() -> Self {
            let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read mounts");
            let root = mounts
                .lines()
                .find(|line| line.contains(" - cgroup2 "))
                .and_then(|line| line.split(' ').nth(4))
                .expect("a cgroup2 mount");
            let path =
                PathBuf::from(root).join(format!("karve-device-filter-{}", std::process::id()));
            fs::create_dir(&path).expect("make cgroup");
            Self(path)
        }
    }

    impl Drop for Group {
        fn drop(&mut self) {
            let _ = fs::remove_dir(&self.0);
        }
    }

    #[test]
    fn only_devices_of_the_rules_can_be_opened() {
        let group = Group::create();
        let null = Rule {
            kind: Kind::Char,
            major: Some(1),
            minor: Some(3),
            access: Access::ALL,
        };
        let zero = Rule {
            kind: Kind::Char,
            major: Some(1),
            minor: Some(5),
            access: Access {
                write: false,
                ..Access::ALL
            },
        };
        let dir = fs::File::open(&group.0).expect("open cgroup");
        attach(dir.as_fd(), &[null, zero]).expect("attach");
        let script = "echo $$ > $1/cgroup.procs || exit 9; \
                      echo x > /dev/null && echo null-w; \
                      head -c1 /dev/zero > /dev/null && echo zero-r; \
                      (echo x > /dev/zero) 2>/dev/null && echo zero-w; \
                      (: < /dev/full) 2>/dev/null && echo full; true";
        let output = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&group.0)
            .stderr(Stdio::inherit())
            .output()
            .expect("run shell");
        assert!(output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stdout), "null-w\nzero-r\n");
    }

    #[test]
    fn each_rule_ends_where_its_jumps_land() {
        let any = Rule {
            kind: Kind::Block,
            major: None,
            minor: None,
            access: Access::MKNOD,
        };
        let code = program(&[any]);
        assert_eq!(code.len(), 6 + 6 + 2);
        assert_eq!((code[6].offset, code[9].offset), (5, 2));
    }
}
