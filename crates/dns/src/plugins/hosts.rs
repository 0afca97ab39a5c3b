//! Names from a hosts file and from the Corefile itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use crate::corefile::Hosts as Options;
use crate::said::{Record, Said, name_wire};
use crate::wire::{Query, rcode, rtype};
use crate::zone::{Lowered, Want};

/// The most lines that are read.
const LINES_MAX: usize = 100_000;

/// The names of one `hosts` plugin.
#[derive(Debug)]
pub struct Hosts {
    options: Options,
    addresses: HashMap<String, Vec<IpAddr>>,
    names: HashMap<IpAddr, Vec<String>>,
}

impl Hosts {
    /// The file's text and the Corefile's lines, by `hosts(5)`.
    pub fn new(options: Options, file: &str) -> Hosts {
        let mut hosts = Hosts {
            addresses: HashMap::new(),
            names: HashMap::new(),
            options,
        };
        let inline = std::mem::take(&mut hosts.options.inline);
        for line in file.lines().take(LINES_MAX) {
            hosts.read(line);
        }
        for line in &inline {
            hosts.read(line);
        }
        hosts.options.inline = inline;
        hosts
    }

    /// The file that is read.
    pub fn file(&self) -> &Path {
        &self.options.file
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.addresses.values().map(Vec::len).sum()
    }

    fn read(&mut self, line: &str) {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        // A zone index (fe80::1%eth0) means nothing to others.
        let address = words
            .next()
            .and_then(|word| word.split('%').next()?.parse().ok());
        let Some(address) = address else { return };
        for name in words {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let zone = self.options.zones.iter().any(|zone| zone.covers(&name));
            if !zone || name_wire(&name).is_none() {
                continue;
            }
            let addresses = self.addresses.entry(name.clone()).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
            let names = self.names.entry(address).or_default();
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }

    /// Whether anything is known of the name, so that [`Hosts::answer`] has one.
    pub fn concerns(&self, name: &Lowered) -> bool {
        let text = name.as_str();
        match name.reverse_address() {
            Some(address) => self.options.reverse && self.names.contains_key(&address),
            None if self.addresses.contains_key(text) => true,
            // Without a fallthrough, nobody else is asked about these zones.
            None => {
                self.options.zones.iter().any(|zone| zone.covers(text))
                    && !self.options.fallthrough.holds(text)
            }
        }
    }

    /// What the files say.
    pub fn answer(&self, query: &Query<'_>) -> Said {
        let record = |rtype, data| Record {
            owner: query.name_wire().to_vec(),
            rtype,
            ttl: self.options.ttl,
            data,
        };
        let mut said = Said {
            authoritative: true,
            ..Said::default()
        };
        if let Some(address) = query.name.reverse_address() {
            let names = self.names.get(&address).into_iter().flatten();
            if query.qtype == rtype::PTR {
                let names = names.filter_map(|name| name_wire(name));
                said.answer = names.map(|name| record(rtype::PTR, name)).collect();
            }
            return said;
        }
        let Some(addresses) = self.addresses.get(query.name.as_str()) else {
            // As CoreDNS: there is no SOA with which to deny.
            said.rcode = rcode::SERVFAIL;
            return said;
        };
        let want = Want::of(query.qtype);
        let addresses = addresses.iter().filter(|ip| want.is_family(**ip));
        said.answer = addresses
            .map(|ip| match ip {
                IpAddr::V4(v4) => record(rtype::A, v4.octets().to_vec()),
                IpAddr::V6(v6) => record(rtype::AAAA, v6.octets().to_vec()),
            })
            .collect();
        said
    }
}
