//! Kernel settings that Services need, in the network namespace of the calling thread.
//!
//! Left as they are on purpose: `route_localnet` (node ports on 127.0.0.1 are not offered; it opens
//! the loopback services of the node to its neighbours, CVE-2020-8558), `rp_filter` (no path here is
//! asymmetric), and `nf_conntrack_max`, which belongs to the whole machine.

use std::io;
use std::path::{Path, PathBuf};

use crate::dataplane::Family;

/// Packets for Services go through the node.
const FORWARDING: (&str, &str) = ("net/ipv4/ip_forward", "1");
const FORWARDING_V6: (&str, &str) = ("net/ipv6/conf/all/forwarding", "1");
/// Upstream's connection tracking times: a day for idle connections, an hour for those that one side
/// has closed. Packets that are out of a connection's window are translated like all others: left as they
/// are they would come from a stranger, and their receiver would reset the connection.
const CONNTRACK: [(&str, &str); 3] = [
    (
        "net/netfilter/nf_conntrack_tcp_timeout_established",
        "86400",
    ),
    ("net/netfilter/nf_conntrack_tcp_timeout_close_wait", "3600"),
    ("net/netfilter/nf_conntrack_tcp_be_liberal", "1"),
];

/// A setting that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("set {} to {value}", path.display())]
pub struct Error {
    path: PathBuf,
    value: &'static str,
    #[source]
    source: io::Error,
}

/// Lets the node forward.
pub(crate) fn set_forwarding(family: Family) -> Result<(), Error> {
    set(&match family {
        Family::V4 => [FORWARDING],
        Family::V6 => [FORWARDING_V6],
    })
}

/// Whether the kernel has IPv6 at all.
pub(crate) fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

/// Sets the times of connection tracking, whose settings are there once a rule has made use of it.
pub(crate) fn set_conntrack() -> Result<(), Error> {
    set(&CONNTRACK)
}

fn set(settings: &[(&str, &'static str)]) -> Result<(), Error> {
    settings.iter().try_for_each(|(name, value)| {
        let path = Path::new("/proc/sys").join(name);
        std::fs::write(&path, value).map_err(|source| Error {
            path,
            value,
            source,
        })
    })
}
