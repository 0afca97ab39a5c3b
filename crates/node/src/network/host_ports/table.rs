//! The kernel's side of host ports.
//!
//! ```text
//! prerouting, output (before the Service proxy):
//!   daddr is local: daddr . protocol . dport   map @host-ip-ports -> dnat
//!   daddr is local: protocol . dport           map @host-ports    -> dnat
//! postrouting:
//!   rewritten, from loopback or to itself      -> masquerade
//! guard (before connection tracking):
//!   from a link, to 127.0.0.0/8                -> drop
//! ```
//!
//! A client on loopback needs `route_localnet`, which would also let neighbours in to what listens on loopback
//! (CVE-2020-8558): the guard keeps them out, and is there before the setting is made.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use karve_sys::conntrack::{self, Conntrack, Filter, Flow};
use karve_sys::link::{self, Netlink};
use karve_sys::nft::{
    self, Batch, Chain, Cmp, CtKey, Element, Expr, Family, FibFlags, FibResult, Hook, MetaKey,
    Monitor, Nat, Nft, PayloadBase, Register, Set, SetFlags, Table, Value, Verdict, types,
};
use tokio::io::unix::AsyncFd;

use super::{HostPort, HostPorts};

const TABLE: &str = "karve-hostports";
const IP_PORTS: &str = "host-ip-ports";
const PORTS: &str = "host-ports";
const ITSELF: &str = "itself";
/// Changes with the rules, so that a table of another version is replaced.
const VERSION: u64 = 1;
/// `UDP`.
const UDP: u8 = 17;
/// `RTN_LOCAL` of `linux/rtnetlink.h`, and `IPS_DST_NAT` of `nf_conntrack_common.h`.
const RTN_LOCAL: u32 = 2;
const IPS_DST_NAT: u32 = 1 << 5;
/// Offsets of the addresses in an IPv4 header (RFC 791).
const SADDR: u32 = 12;
const DADDR: u32 = 16;
/// The target (address, port), the key (address, protocol, port), and what keeps nothing.
const TARGET: Register = Register::new(2);
const TARGET_PORT: Register = Register::new(3);
const KEY: Register = Register::new(4);
const PROTOCOL: Register = Register::new(5);
const PORT: Register = Register::new(6);
const SCRATCH: Register = Register::new(8);
const SCRATCH_NEXT: Register = Register::new(9);

/// Why host ports could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table.
    #[error(transparent)]
    Nft(#[from] nft::Error),
    /// The socket that tells of changed tables.
    #[error("listen for changes of nf_tables")]
    Monitor(#[source] io::Error),
    /// The node's addresses.
    #[error(transparent)]
    Link(#[from] link::Error),
    /// UDP flows that go to a pod that is gone.
    #[error(transparent)]
    Conntrack(#[from] conntrack::Error),
    /// The setting that loopback clients need.
    #[error("set net/ipv4/conf/all/route_localnet")]
    Setting(#[source] io::Error),
}

/// The kernel's side, with what is known to be there.
#[derive(Debug)]
pub struct Kernel {
    nft: Nft,
    monitor: AsyncFd<Monitor>,
    conntrack: Conntrack,
    links: Netlink,
    have: HostPorts,
}

impl Kernel {
    /// Opens the sockets in the calling thread's network namespace.
    pub fn open() -> Result<Kernel, Error> {
        let nft = Nft::open()?;
        let monitor = Monitor::of_others(&[nft.port()?]).and_then(Monitor::register);
        Ok(Kernel {
            nft,
            monitor: monitor.map_err(Error::Monitor)?,
            conntrack: Conntrack::open()?,
            links: Netlink::open()?,
            have: HostPorts::new(),
        })
    }

    /// Makes the table what is wanted; one that is right stays untouched.
    pub fn apply(&mut self, wanted: &HostPorts) -> Result<(), Error> {
        let found = self.nft.table(Family::Ip, TABLE)?;
        let mark = fingerprint(wanted);
        let right = match &found {
            Some(found) => found.userdata == mark.as_bytes() && self.is_whole(wanted)?,
            None => wanted.is_empty(),
        };
        if !right {
            let mut batch = Batch::new(Family::Ip);
            let old = Table {
                name: TABLE,
                userdata: &[],
            };
            batch.add_table(&old);
            batch.delete_table(TABLE);
            if !wanted.is_empty() {
                add_table(&mut batch, wanted, &mark);
            }
            self.nft.commit(batch)?;
            tracing::info!(ports = wanted.len(), "host ports set up");
        }
        let loopback = |port: &HostPort| port.ip.is_none_or(|ip| ip.is_loopback());
        if wanted.keys().any(loopback) {
            let setting = "/proc/sys/net/ipv4/conf/all/route_localnet";
            std::fs::write(setting, "1").map_err(Error::Setting)?;
        }
        let before = std::mem::replace(&mut self.have, wanted.clone());
        self.cut(&before)
    }

    /// Whether nobody has taken elements or rules away.
    fn is_whole(&mut self, wanted: &HostPorts) -> Result<bool, Error> {
        let mut count = 0;
        for map in [IP_PORTS, PORTS] {
            count += self.nft.elements(Family::Ip, TABLE, map)?.len();
        }
        Ok(count == wanted.len() && self.nft.rules(Family::Ip, TABLE)?.len() == RULES)
    }

    /// Cuts UDP flows that do not go where their port leads now: those to a former pod, and those from before the
    /// port was there. TCP's peers notice by themselves.
    fn cut(&mut self, before: &HostPorts) -> Result<(), Error> {
        let udp = |port: &&HostPort| port.protocol == UDP;
        let changed = before.keys().chain(self.have.keys()).filter(udp);
        let changed: Vec<HostPort> = changed
            .filter(|port| before.get(port) != self.have.get(port))
            .copied()
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        let addresses: Vec<IpAddr> = self
            .links
            .addresses()?
            .into_iter()
            .map(|address| address.net.addr())
            .collect();
        for port in changed {
            let filter = Filter {
                destination: port.ip.map(IpAddr::V4),
                port: Some(port.port),
                ..Filter::protocol(conntrack::Family::V4, UDP)
            };
            let (now, former) = (self.have.get(&port), before.get(&port));
            for flow in self.conntrack.flows(&filter)? {
                if is_stale(&flow, now, former, &addresses) {
                    self.conntrack.delete(&flow)?;
                }
            }
        }
        Ok(())
    }

    /// Waits until somebody else has changed the table. Nothing is lost when this is cancelled.
    pub async fn disturbed(&self) {
        loop {
            // Fails only while the runtime shuts down.
            let Ok(mut ready) = self.monitor.readable().await else {
                return std::future::pending().await;
            };
            while let Ok(notice) = ready.try_io(|socket| socket.get_ref().receive_changes()) {
                // Where notices were lost, ours may be among them.
                let ours =
                    |changes: Vec<nft::TableChange>| changes.iter().any(|c| c.table == TABLE);
                if notice.map_or(true, ours) {
                    return;
                }
            }
        }
    }
}

/// Whether a flow to a changed port goes elsewhere than the port leads.
fn is_stale(
    flow: &Flow,
    now: Option<&SocketAddrV4>,
    former: Option<&SocketAddrV4>,
    addresses: &[IpAddr],
) -> bool {
    let (sent_to, goes_to) = (flow.original.destination, flow.reply.source);
    let is = |target: Option<&SocketAddrV4>| target.is_some_and(|t| SocketAddr::V4(*t) == goes_to);
    let untouched = goes_to == sent_to && addresses.contains(&sent_to.ip());
    !is(now) && (is(former) || (untouched && now.is_some()))
}

/// FNV-1a over all that the table is made of.
fn fingerprint(wanted: &HostPorts) -> String {
    let text = format!("{VERSION} {wanted:?}");
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{TABLE} {hash:016x}")
}

/// How many rules [`add_table`] makes.
const RULES: usize = 7;

fn add_table(batch: &mut Batch, wanted: &HostPorts, mark: &str) {
    batch.add_table(&Table {
        name: TABLE,
        userdata: mark.as_bytes(),
    });
    let target = &[types::IPV4_ADDR, types::INET_SERVICE];
    let key = &[types::IPV4_ADDR, types::INET_PROTO, types::INET_SERVICE];
    add_set(batch, IP_PORTS, key, target);
    add_set(batch, PORTS, &key[1..], target);
    add_set(batch, ITSELF, &[types::IPV4_ADDR, types::IPV4_ADDR], &[]);
    for (name, with_ip) in [(IP_PORTS, true), (PORTS, false)] {
        let ports = wanted
            .iter()
            .filter(|(port, _)| port.ip.is_some() == with_ip);
        batch.add_elements(
            TABLE,
            name,
            ports.map(|(port, target)| element(port, *target)),
        );
    }
    let mut pods: Vec<Ipv4Addr> = wanted.values().map(|target| *target.ip()).collect();
    pods.sort();
    pods.dedup();
    batch.add_elements(
        TABLE,
        ITSELF,
        pods.into_iter()
            .map(|ip| Element::key(Value::EMPTY.ip(ip).ip(ip))),
    );
    /// `NF_INET_PRE_ROUTING`, `_LOCAL_OUT` and `_POST_ROUTING`; just before the Service proxy, and "raw".
    const CHAINS: [(&str, &str, u32, i32); 4] = [
        ("guard", "filter", 0, -300),
        ("prerouting", "nat", 0, -101),
        ("output", "nat", 3, -101),
        ("postrouting", "nat", 4, 99),
    ];
    for (name, kind, number, priority) in CHAINS {
        let hook = Some(Hook {
            kind,
            number,
            priority,
        });
        batch.add_chain(TABLE, &Chain { name, hook });
    }
    batch.add_rule(TABLE, "guard", "loopback is not for neighbours", &guard());
    for chain in ["prerouting", "output"] {
        batch.add_rule(TABLE, chain, "", &lead(IP_PORTS, KEY));
        batch.add_rule(TABLE, chain, "", &lead(PORTS, PROTOCOL));
    }
    let rewritten = [
        Expr::Ct {
            key: CtKey::Status,
            dreg: SCRATCH,
        },
        masked(IPS_DST_NAT.to_ne_bytes()),
        Expr::Cmp {
            sreg: SCRATCH,
            op: Cmp::Neq,
            value: vec![0; 4],
        },
    ];
    let from_loopback = [rewritten.to_vec(), on_loopback(SADDR)].concat();
    let itself = vec![
        address(SADDR, SCRATCH),
        address(DADDR, SCRATCH_NEXT),
        Expr::Lookup {
            set: ITSELF.into(),
            sreg: SCRATCH,
            invert: false,
        },
    ];
    let itself = [rewritten.to_vec(), itself].concat();
    for mut rule in [from_loopback, itself] {
        rule.push(Expr::Masquerade { fully_random: true });
        batch.add_rule(TABLE, "postrouting", "", &rule);
    }
}

fn add_set(batch: &mut Batch, name: &str, key: &[(u32, usize)], data: &[(u32, usize)]) {
    let (flags, verdicts, timeout) = (SetFlags::default(), false, None);
    batch.add_set(
        TABLE,
        &Set {
            name,
            flags,
            key,
            data,
            verdicts,
            timeout,
        },
    );
}

fn element(port: &HostPort, target: SocketAddrV4) -> Element {
    let key = port.ip.map_or(Value::EMPTY, |ip| Value::EMPTY.ip(ip));
    let key = key.protocol(port.protocol).port(port.port);
    Element::value(key, Value::EMPTY.ip(*target.ip()).port(target.port()))
}

/// Leads packets to an address of the node to where a map says.
fn lead(map: &'static str, key: Register) -> Vec<Expr> {
    let (result, flags) = (FibResult::AddrType, FibFlags::Daddr);
    vec![
        Expr::Fib {
            dreg: SCRATCH,
            result,
            flags,
        },
        Expr::Cmp {
            sreg: SCRATCH,
            op: Cmp::Eq,
            value: RTN_LOCAL.to_ne_bytes().to_vec(),
        },
        address(DADDR, KEY),
        Expr::Meta {
            key: MetaKey::L4proto,
            dreg: PROTOCOL,
        },
        Expr::Payload {
            base: PayloadBase::Transport,
            offset: 2,
            len: 2,
            dreg: PORT,
        },
        Expr::MapLookup {
            set: map.into(),
            sreg: key,
            dreg: TARGET,
        },
        Expr::Nat {
            kind: Nat::Destination,
            family: Family::Ip,
            addr: TARGET,
            port: Some(TARGET_PORT),
        },
    ]
}

/// Drops packets for loopback that come from a link.
fn guard() -> Vec<Expr> {
    let mut lo = b"lo".to_vec();
    lo.resize(16, 0);
    let mut rule = vec![
        Expr::Meta {
            key: MetaKey::Iifname,
            dreg: SCRATCH,
        },
        Expr::Cmp {
            sreg: SCRATCH,
            op: Cmp::Neq,
            value: lo,
        },
    ];
    rule.extend(on_loopback(DADDR));
    rule.push(Expr::Verdict(Verdict::Drop));
    rule
}

/// Whether an address is one of loopback.
fn on_loopback(offset: u32) -> Vec<Expr> {
    vec![
        address(offset, SCRATCH),
        masked([255, 0, 0, 0]),
        Expr::Cmp {
            sreg: SCRATCH,
            op: Cmp::Eq,
            value: vec![127, 0, 0, 0],
        },
    ]
}

fn address(offset: u32, dreg: Register) -> Expr {
    Expr::Payload {
        base: PayloadBase::Network,
        offset,
        len: 4,
        dreg,
    }
}

fn masked(mask: [u8; 4]) -> Expr {
    let (sreg, dreg) = (SCRATCH, SCRATCH);
    Expr::Bitwise {
        sreg,
        dreg,
        mask: mask.to_vec(),
        xor: vec![0; 4],
    }
}

#[cfg(test)]
mod tests;
