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

    /// The `CapBnd` of `/proc/self/status`: nobody can hand on more than that.
    pub(crate) fn bounding(status: &str) -> Self {
        status
            .lines()
            .find_map(|line| u64::from_str_radix(line.strip_prefix("CapBnd:")?.trim(), 16).ok())
            .map_or_else(Self::all, Self)
    }

    pub(crate) fn with(self, names: &[String]) -> Result<Self, String> {
        Ok(Self(self.0 | mask(names)?))
    }

    pub(crate) fn without(self, names: &[String]) -> Result<Self, String> {
        Ok(Self(self.0 & !mask(names)?))
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

fn mask(names: &[String]) -> Result<u64, String> {
    names.iter().try_fold(0, |set, name| {
        let upper = name.to_uppercase();
        match upper.strip_prefix("CAP_").unwrap_or(&upper) {
            "ALL" => Ok(Capabilities::all().0),
            plain => bit(plain)
                .map(|bit| set | bit)
                .ok_or_else(|| format!("unknown capability \"CAP_{plain}\"")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_added_to_and_taken_from() {
        let names = |list: &[&str]| {
            list.iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let set = Capabilities::default()
            .with(&names(&["NET_ADMIN"]))
            .expect("add");
        assert!(set.names().contains(&"CAP_NET_ADMIN".to_owned()));
        assert_eq!(set.names().len(), 15);
        let none = set.without(&names(&["ALL"])).expect("drop");
        assert!(none.names().is_empty());
        let error = set.with(&names(&["NONSENSE"]));
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
