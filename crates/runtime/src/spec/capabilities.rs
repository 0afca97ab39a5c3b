//! Sets of Linux capabilities.

/// All capabilities by number (capabilities(7)).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What containerd gives a container that asks for nothing.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A set of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capabilities(u64);

impl Default for Capabilities {
    fn default() -> Self {
        Self(
            DEFAULT
                .iter()
                .filter_map(|name| bit(name))
                .fold(0, |set, bit| set | bit),
        )
    }
}

impl Capabilities {
    pub(crate) fn all() -> Self {
        Self((1 << NAMES.len()) - 1)
    }

    /// What it takes to filter system calls without `no_new_privs`, and to give this up again.
    pub(crate) fn to_filter() -> Self {
        Self(
            ["SYS_ADMIN", "SETPCAP"]
                .iter()
                .filter_map(|name| bit(name))
                .fold(0, |set, bit| set | bit),
        )
    }

    /// The `CapBnd` of `/proc/self/status`: nobody can hand on more than that.
    pub(crate) fn bounding(status: &str) -> Self {
        status
            .lines()
            .find_map(|line| u64::from_str_radix(line.strip_prefix("CapBnd:")?.trim(), 16).ok())
            .map_or_else(Self::all, Self)
    }

    /// As containerd: `ALL` first, to add and then to drop, and single ones after that.
    pub(crate) fn changed(self, add: &[String], drop: &[String]) -> Result<Self, String> {
        let mut set = self.0;
        if add.iter().any(|name| is_all(name)) {
            set = Self::all().0;
        }
        if drop.iter().any(|name| is_all(name)) {
            set = 0;
        }
        Ok(Self((set | mask(add)?) & !mask(drop)?))
    }

    /// With all of another set.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    pub(crate) fn only(self, other: &Self) -> Self {
        Self(self.0 & other.0)
    }

    /// With `CAP_`, by number.
    pub(crate) fn names(self) -> Vec<String> {
        let has = |number: &usize| self.0 & (1 << number) != 0;
        (0..NAMES.len())
            .filter(has)
            .map(|number| format!("CAP_{}", NAMES[number]))
            .collect()
    }
}

fn bit(name: &str) -> Option<u64> {
    NAMES
        .iter()
        .position(|other| *other == name)
        .map(|number| 1 << number)
}

fn is_all(name: &str) -> bool {
    name.eq_ignore_ascii_case("ALL")
}

/// `ALL` counts for nothing here.
fn mask(names: &[String]) -> Result<u64, String> {
    names
        .iter()
        .filter(|name| !is_all(name))
        .try_fold(0, |set, name| {
            let upper = name.to_uppercase();
            let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
            bit(plain)
                .map(|bit| set | bit)
                .ok_or_else(|| format!("unknown capability \"CAP_{plain}\""))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_comes_before_single_ones() {
        let names = |list: &[&str]| {
            list.iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        for (add, drop, bits) in [
            (&[][..], &[][..], 0xa804_25fb),
            (&["NET_ADMIN"], &[], 0xa804_35fb),
            (&["NET_BIND_SERVICE"], &["ALL"], 0x400),
            (&["cap_net_bind_service"], &["all"], 0x400),
            (&["ALL"], &["CHOWN"], 0x1ff_ffff_fffe),
            (&["ALL"], &["ALL"], 0),
            (&["CHOWN"], &["CHOWN"], 0xa804_25fa),
        ] {
            let set = Capabilities::default()
                .changed(&names(add), &names(drop))
                .expect("known names");
            assert_eq!(set.bits(), bits, "{add:?} {drop:?}");
        }
        let error = Capabilities::default().changed(&names(&["NONSENSE"]), &[]);
        assert_eq!(error, Err("unknown capability \"CAP_NONSENSE\"".to_owned()));
    }

    #[test]
    fn nobody_hands_on_what_he_lacks() {
        let bounding = Capabilities::bounding("Name:\tx\nCapBnd:\t0000000000000401\n");
        assert_eq!(
            Capabilities::all().only(&bounding).names(),
            ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"]
        );
    }
}
