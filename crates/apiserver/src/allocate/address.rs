//! Cluster addresses: an IPAddress object is the lock of an address (KEP-1880), dynamic ones come from the upper band
//! of the range first (KEP-3070).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use karve_api::field;
use karve_api::resource::Table;
use karve_api::strategy::service as strategy;
use karve_store::Range;
use rand::Rng as _;
use serde_json::{Value, json};

use super::{Family, exhausted, stored_metadata};
use crate::answer::Refusal;
use crate::call::Call;
use crate::object::{self, Meta};
use crate::semantics;
use crate::server::Server;

/// The key of an address's lock.
pub fn key(address: IpAddr) -> String {
    format!("/networking.k8s.io/ipaddresses/{address}")
}

/// The lock of an address.
pub fn lock(address: IpAddr, namespace: &str, name: &str) -> Value {
    let labels = json!({
        "ipaddress.kubernetes.io/ip-family": Family::of(address).as_str(),
        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    });
    json!({
        "metadata": stored_metadata(address.to_string(), labels),
        "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": name}},
    })
}

/// The addresses of a range that Services may have: numbers behind its first address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    net: IpNet,
    first: u128,
    count: u128,
}

impl Pool {
    /// IPv4 keeps its network and broadcast addresses, IPv6 only the first.
    pub fn new(net: IpNet) -> Pool {
        let bits = u32::from(net.max_prefix_len() - net.prefix_len());
        let size = 1u128.checked_shl(bits).unwrap_or(u128::MAX);
        let kept = match net {
            IpNet::V4(_) => 2,
            IpNet::V6(_) => 1,
        };
        Pool {
            net,
            first: 1,
            count: size.saturating_sub(kept),
        }
    }

    fn at(&self, number: u128) -> IpAddr {
        match self.net.network() {
            IpAddr::V4(base) => Ipv4Addr::from(u32::from(base).wrapping_add(number as u32)).into(),
            IpAddr::V6(base) => Ipv6Addr::from(u128::from(base).wrapping_add(number)).into(),
        }
    }

    /// Whether a Service may have the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.net.contains(&address)
            && address != self.net.network()
            && (matches!(self.net, IpNet::V6(_)) || address != self.net.broadcast())
    }

    /// How many addresses at the start are kept for those who ask for one.
    fn band(&self) -> u128 {
        match self.count {
            0..=16 => 0,
            n => (n / 16).clamp(16, 256),
        }
    }

    /// All addresses in the order in which they are tried: the upper band from a random place, then the lower one.
    pub fn candidates(self, random: impl Fn(u128) -> u128) -> impl Iterator<Item = IpAddr> {
        let (pool, band) = (self, self.band());
        let upper = self.count - band;
        let start = if upper > 0 { random(upper) } else { 0 };
        let wrap = move |i: u128| pool.first + band + (start + i) % upper;
        (0..upper)
            .map(wrap)
            .chain((0..band).map(move |i| pool.first + i))
            .map(move |n| pool.at(n))
    }
}

/// The ranges of all ServiceCIDRs, those of the server's own options first.
fn pools(server: &Server) -> Vec<Pool> {
    let mut nets = server.options.service_cidrs();
    let resource = Table::builtin()
        .by_kind("networking.k8s.io", "v1", "ServiceCIDR")
        .expect("built in");
    let prefix = crate::keys::prefix(resource, "");
    let range = Range {
        prefix: &prefix,
        ..Range::default()
    };
    for entry in server
        .store
        .range(&range)
        .map(|p| p.entries)
        .unwrap_or_default()
    {
        let object = object::decode(entry.value(), resource);
        let cidrs = object["spec"]["cidrs"].as_array().into_iter().flatten();
        for net in cidrs.filter_map(|c| c.as_str()?.parse::<IpNet>().ok()) {
            if !nets.contains(&net) && !object.is_deleting() {
                nets.push(net);
            }
        }
    }
    nets.into_iter().map(Pool::new).collect()
}

/// Gives a Service the addresses that it lacks.
pub fn assign(
    server: &Server,
    call: &Call,
    old: Option<&Value>,
    service: &mut Value,
    dry_run: bool,
) -> Result<(), Refusal> {
    let spec = &service["spec"];
    if !strategy::needs_cluster_ip(spec) || strategy::is_headless(spec) {
        return Ok(());
    }
    let texts = |spec: &Value, name: &str| -> Vec<String> {
        let list = spec[name].as_array();
        list.into_iter()
            .flatten()
            .map(|v| v.as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let (given, families) = (texts(spec, "clusterIPs"), texts(spec, "ipFamilies"));
    let single = spec["clusterIP"].as_str().unwrap_or_default();
    if given.len() > families.len() || given.first().is_some_and(|first| first != single) {
        return Ok(());
    }
    let held = old
        .map(|old| texts(&old["spec"], "clusterIPs"))
        .unwrap_or_default();
    // What has addresses keeps them; validation refuses a change.
    if held
        .first()
        .is_some_and(|first| !first.is_empty() && given.first() != Some(first))
    {
        return Ok(());
    }
    let pools = pools(server);
    let name = service.meta("name").to_owned();
    let mut chosen = Vec::new();
    for (i, family) in families.iter().enumerate() {
        let Some(family) = Family::parse(family) else {
            return Ok(());
        };
        match given.get(i).filter(|text| !text.is_empty()) {
            Some(text) => {
                let Ok(address) = text.parse::<IpAddr>() else {
                    return Ok(());
                };
                if Family::of(address) != family {
                    return Ok(());
                }
                if !held.contains(text) {
                    check(server, &pools, address, dry_run).map_err(|why| {
                        let why = format!("failed to allocate IP {text}: {why}");
                        refuse(call, &name, &given, &why)
                    })?;
                }
                chosen.push(text.clone());
            }
            None if name.is_empty() && !dry_run => return Err(nameless(call, &pools)),
            None => chosen.push(pick(server, &pools, family, dry_run)?.to_string()),
        }
    }
    let spec = object::member_mut(service, "spec");
    spec.insert(
        "clusterIP".into(),
        chosen.first().cloned().unwrap_or_default().into(),
    );
    spec.insert("clusterIPs".into(), chosen.into());
    Ok(())
}

/// Whether an address can be had. A dry run of upstream's looks at the first range only, and at no lock.
fn check(server: &Server, pools: &[Pool], address: IpAddr, dry_run: bool) -> Result<(), String> {
    if dry_run {
        let same = |pool: &&Pool| Family::of(pool.net.network()) == Family::of(address);
        let Some(pool) = pools
            .iter()
            .find(same)
            .filter(|pool| !pool.contains(address))
        else {
            return Ok(());
        };
        let net = pool.net;
        return Err(format!(
            "the provided IP ({address}) is not in the valid range. The range of valid IPs is {net}"
        ));
    }
    if !pools.iter().any(|pool| pool.contains(address)) {
        return Err("the provided network does not match the current range".to_owned());
    }
    match server.store.get(&key(address)) {
        Some(_) => Err("provided IP is already allocated".to_owned()),
        None => Ok(()),
    }
}

fn pick(server: &Server, pools: &[Pool], family: Family, dry_run: bool) -> Result<IpAddr, Refusal> {
    let mut fitting = pools
        .iter()
        .filter(|pool| Family::of(pool.net.network()) == family);
    if dry_run {
        // Upstream shows the first address of the range, which no Service can have.
        return fitting
            .next()
            .map(|pool| pool.net.network())
            .ok_or_else(|| exhausted("serviceIP"));
    }
    fitting
        .find_map(|pool| {
            let random = |n: u128| rand::rng().random_range(0..n);
            pool.candidates(random)
                .find(|address| server.store.get(&key(*address)).is_none())
        })
        .ok_or_else(|| exhausted("serviceIP"))
}

fn refuse(call: &Call, name: &str, given: &[String], why: &str) -> Refusal {
    let spec = field::Path::root("spec");
    let error = field::Error::invalid(&spec.field("clusterIPs"), json!(given), why);
    semantics::invalid(call, name, &[error])
}

/// Upstream finds a missing name when it makes the lock.
fn nameless(call: &Call, pools: &[Pool]) -> Refusal {
    let address = pools.first().and_then(|p| p.candidates(|n| n / 2).next());
    let address = address.map(|a| a.to_string()).unwrap_or_default();
    let why = format!(
        "failed to allocate IP: IPAddress.networking.k8s.io \"{address}\" is invalid: spec.parentRef.name: Required value"
    );
    refuse(call, "", &[String::new()], &why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(net: &str) -> Pool {
        Pool::new(net.parse().expect("a net"))
    }

    #[test]
    fn dynamic_addresses_come_from_the_upper_band_first() {
        let rows = [
            ("10.96.0.0/16", 256, 65_534),
            ("10.96.0.0/22", 63, 1_022),
            ("10.96.0.0/26", 16, 62),
            ("10.96.0.0/28", 0, 14),
            ("fd00::/112", 256, 65_535),
        ];
        for (net, band, count) in rows {
            assert_eq!((pool(net).band(), pool(net).count), (band, count), "{net}");
        }
        let mut all = pool("10.96.0.0/26").candidates(|_| 45);
        assert_eq!(all.next(), "10.96.0.62".parse().ok());
        assert_eq!(all.next(), "10.96.0.17".parse().ok());
        assert_eq!(all.last(), "10.96.0.16".parse().ok());
        assert_eq!(pool("10.96.0.0/26").candidates(|_| 0).count(), 62);
    }

    #[test]
    fn network_and_broadcast_are_nobodys() {
        let rows = [
            ("10.96.0.0/24", "10.96.0.0", false),
            ("10.96.0.0/24", "10.96.0.1", true),
            ("10.96.0.0/24", "10.96.0.255", false),
            ("10.96.0.0/24", "10.97.0.1", false),
            ("fd00::/112", "fd00::ffff", true),
            ("fd00::/112", "fd00::", false),
        ];
        for (net, address, want) in rows {
            assert_eq!(
                pool(net).contains(address.parse().expect("address")),
                want,
                "{address}"
            );
        }
    }
}
