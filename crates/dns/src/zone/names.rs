//! What a name in the cluster's zone asks for, by its labels alone.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use domain::base::ToName;

use super::Protocol;

/// A queried name in lower case, as text without the final dot.
///
/// Names compare without case (RFC 4343); the reply keeps the asker's spelling elsewhere. It lives on the
/// stack: reading a name costs no allocation.
#[derive(Clone, Copy)]
pub struct Lowered {
    text: [u8; TEXT_MAX],
    len: u8,
}

/// A name has at most 255 octets on the wire (RFC 1035, 3.1), hence 253 characters.
const TEXT_MAX: usize = 253;

/// What a name in the zone stands for. Structure only: nothing here says that it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// The cluster's domain itself.
    Apex,
    /// `dns-version`.
    SchemaVersion,
    /// `svc` or `pod`: there, and empty.
    Structural,
    /// `ns.dns`: the zone's own name server.
    NameServer,
    /// `ns.svc` or `ns.pod`.
    Namespace(&'a str),
    /// `svc.ns.svc`.
    Service {
        /// Its namespace.
        namespace: &'a str,
        /// Its name.
        service: &'a str,
    },
    /// `_proto.svc.ns.svc`.
    Protocol {
        /// Its namespace.
        namespace: &'a str,
        /// Its name.
        service: &'a str,
        /// The protocol.
        protocol: Protocol,
    },
    /// `_port._proto.svc.ns.svc`.
    Port {
        /// Its namespace.
        namespace: &'a str,
        /// Its name.
        service: &'a str,
        /// The protocol.
        protocol: Protocol,
        /// The port's name.
        port: &'a str,
    },
    /// `host.svc.ns.svc`.
    Endpoint {
        /// Its namespace.
        namespace: &'a str,
        /// The Service's name.
        service: &'a str,
        /// The endpoint's label.
        host: &'a str,
    },
    /// `a-b-c-d.ns.pod`.
    Pod {
        /// Its namespace.
        namespace: &'a str,
        /// The address that the label spells.
        address: IpAddr,
    },
    /// In the zone, of no known form.
    Nothing,
}

/// The most labels that a name of the zone has before the zone's own.
const DEEPEST: usize = 5;

impl Lowered {
    /// Lowers a name. A label with a dot or a byte outside ASCII inside it names
    /// nothing in the cluster; it is kept as a byte that no object's name can hold.
    pub fn new(name: &impl ToName) -> Lowered {
        let mut lowered = Lowered::root();
        for label in name.iter_labels().filter(|label| !label.is_root()) {
            lowered.push(label.as_slice());
        }
        lowered
    }

    /// Lowers the name that `wire` begins with and tells its length there; `None` for a name that is cut,
    /// too long, or compressed.
    pub fn read(wire: &[u8]) -> Option<(Lowered, usize)> {
        let mut lowered = Lowered::root();
        let mut at = 0;
        loop {
            let len = usize::from(*wire.get(at)?);
            at += 1;
            if len == 0 {
                return Some((lowered, at));
            }
            if len > 63 || at + len > usize::from(u8::MAX) - 1 {
                return None;
            }
            lowered.push(wire.get(at..at + len)?);
            at += len;
        }
    }

    /// Lowers text; `None` when it is too long for a name.
    pub fn from_text(text: &str) -> Option<Lowered> {
        let bare = text.strip_suffix('.').unwrap_or(text);
        let mut lowered = Lowered::root();
        if bare.len() > TEXT_MAX {
            return None;
        }
        for label in bare.split('.').filter(|label| !label.is_empty()) {
            lowered.push(label.as_bytes());
        }
        Some(lowered)
    }

    fn root() -> Lowered {
        Lowered {
            text: [0; TEXT_MAX],
            len: 0,
        }
    }

    /// The caller has seen to it that the name fits.
    fn push(&mut self, label: &[u8]) {
        let mut at = usize::from(self.len);
        if at > 0 {
            self.text[at] = b'.';
            at += 1;
        }
        for (slot, byte) in self.text[at..].iter_mut().zip(label) {
            *slot = match byte {
                b'.' | 0x80.. => 0,
                byte => byte.to_ascii_lowercase(),
            };
        }
        self.len = (at + label.len()).min(TEXT_MAX) as u8;
    }

    /// The text, in ASCII.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..usize::from(self.len)]).unwrap_or_default()
    }

    /// The address in a whole name under `in-addr.arpa` (RFC 1035, 3.5) or `ip6.arpa` (RFC 3596).
    pub fn reverse_address(&self) -> Option<IpAddr> {
        let rest = self.as_str().strip_suffix(".arpa")?;
        if let Some(octets) = rest.strip_suffix(".in-addr") {
            let mut address = [0u8; 4];
            let mut labels = octets.split('.');
            for octet in address.iter_mut().rev() {
                let label = labels.next()?;
                *octet = label.parse().ok().filter(|_| is_plain_number(label))?;
            }
            return labels
                .next()
                .is_none()
                .then(|| Ipv4Addr::from(address).into());
        }
        let mut address = 0u128;
        let mut count = 0;
        for label in rest.strip_suffix(".ip6")?.split('.').rev() {
            let nibble = u128::from_str_radix(label, 16).ok()?;
            count += 1;
            if label.len() != 1 || count > 32 {
                return None;
            }
            address = address << 4 | nibble;
        }
        (count == 32).then(|| Ipv6Addr::from(address).into())
    }

    /// What is asked of the zone with the lowered name `suffix`; `None` outside it.
    pub fn asked(&self, suffix: &str) -> Option<Asked<'_>> {
        let rest = self.as_str().strip_suffix(suffix)?;
        let rest = match rest {
            "" => return Some(Asked::Apex),
            rest => rest.strip_suffix('.')?,
        };
        let mut labels = [""; DEEPEST];
        let mut count = 0;
        for label in rest.split('.') {
            if count == DEEPEST {
                return Some(Asked::Nothing);
            }
            labels[count] = label;
            count += 1;
        }
        Some(structure(&labels[..count]))
    }
}

fn structure<'a>(labels: &[&'a str]) -> Asked<'a> {
    match *labels {
        ["dns-version"] => Asked::SchemaVersion,
        ["svc" | "pod" | "dns"] => Asked::Structural,
        ["ns", "dns"] => Asked::NameServer,
        [namespace, "svc" | "pod"] => Asked::Namespace(namespace),
        [service, namespace, "svc"] => Asked::Service { namespace, service },
        [address, namespace, "pod"] => match pod_address(address) {
            Some(address) => Asked::Pod { namespace, address },
            None => Asked::Nothing,
        },
        [host, service, namespace, "svc"] => match host.strip_prefix('_') {
            Some(protocol) => match Protocol::from_label(protocol) {
                Some(protocol) => Asked::Protocol {
                    namespace,
                    service,
                    protocol,
                },
                None => Asked::Nothing,
            },
            None => Asked::Endpoint {
                namespace,
                service,
                host,
            },
        },
        [port, protocol, service, namespace, "svc"] => {
            let protocol = protocol.strip_prefix('_').and_then(Protocol::from_label);
            match (port.strip_prefix('_'), protocol) {
                (Some(port), Some(protocol)) => Asked::Port {
                    namespace,
                    service,
                    protocol,
                    port,
                },
                _ => Asked::Nothing,
            }
        }
        _ => Asked::Nothing,
    }
}

impl fmt::Debug for Lowered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// `10-244-1-7`, or an IPv6 address with `-` for `:`.
fn pod_address(label: &str) -> Option<IpAddr> {
    if let Ok(address) = label.replace('-', ".").parse::<Ipv4Addr>() {
        return Some(address.into());
    }
    label
        .replace('-', ":")
        .parse::<Ipv6Addr>()
        .ok()
        .map(IpAddr::from)
}

fn is_plain_number(label: &str) -> bool {
    label.bytes().all(|byte| byte.is_ascii_digit()) && (label.len() == 1 || !label.starts_with('0'))
}
