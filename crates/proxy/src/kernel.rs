//! Applying changes to the kernel, and adopting what it has.
//!
//! Every change is one transaction: packets see the table before it or after it, never between.

use std::collections::{HashMap, HashSet};

use karve_sys::conntrack::{self, Conntrack};
use karve_sys::nft::{self, Batch, Data, Element, Nft, Value as Bits};

use crate::dataplane::{Chain, Key, Value};
use crate::desired::{Changes, Desired};
use crate::table::{self, FAMILY, Layout, Map, TABLE};

/// A failed change or query.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// nf_tables refused.
    #[error("program service rules")]
    Nft(#[from] nft::Error),
    /// Connection tracking refused.
    #[error("cut stale flows")]
    Conntrack(#[from] conntrack::Error),
}

/// What an applied transaction was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Netlink messages.
    pub messages: usize,
    /// Elements deleted or added.
    pub elements: usize,
}

/// The kernel's side of the proxy, in one network namespace.
#[derive(Debug)]
pub struct Kernel {
    nft: Nft,
    conntrack: Conntrack,
    layout: Layout,
    /// Transactions so far.
    commits: u64,
}

impl Kernel {
    /// Opens the kernel's interfaces in the calling thread's network namespace.
    pub fn open(layout: Layout) -> Result<Self, Error> {
        Ok(Self {
            nft: Nft::open()?,
            conntrack: Conntrack::open()?,
            layout,
            commits: 0,
        })
    }

    /// Opens the kernel's interfaces in `netns`.
    #[cfg(test)]
    pub fn open_in(netns: &karve_sys::netns::NetNs, layout: Layout) -> Result<Self, Error> {
        let (nft, conntrack) = (Nft::open_in(netns)?, Conntrack::open_in(netns)?);
        Ok(Self {
            nft,
            conntrack,
            layout,
            commits: 0,
        })
    }

    /// The numbers that endpoints have in the table in force; none when there is no such table.
    pub fn endpoints(&mut self) -> Result<Vec<(Key, Value)>, Error> {
        if !self.has_our_table()? {
            return Ok(Vec::new());
        }
        let mut endpoints = Vec::new();
        for map in [Map::Endpoints, Map::AffinityPicks] {
            let elements = self.nft.elements(FAMILY, TABLE, map.name())?;
            endpoints.extend(elements.iter().filter_map(table::parse_endpoint));
        }
        Ok(endpoints)
    }

    /// Applies a difference.
    pub fn apply(&mut self, changes: &Changes) -> Result<Applied, Error> {
        let mut batch = Batch::new(FAMILY);
        self.add_chains(&mut batch, &changes.new_chains);
        for map in Map::ALL {
            let of_map = |(key, value): &(Key, Value)| {
                (Map::of(key) == map).then(|| table::element(key, value))
            };
            let deleted = changes
                .delete
                .iter()
                .filter_map(of_map)
                .map(|e| Element::key(e.key));
            batch.delete_elements(TABLE, map.name(), deleted);
            batch.add_elements(TABLE, map.name(), changes.add.iter().filter_map(of_map));
        }
        let old = changes
            .old_chains
            .iter()
            .filter(|chain| **chain != Chain::Refuse);
        delete_chains(&mut batch, old.map(Chain::to_string));
        self.commit(batch)
    }

    /// Makes the table as desired, whatever it is now, changing only what differs.
    pub fn resync(&mut self, desired: &Desired) -> Result<Applied, Error> {
        if !self.has_our_table()? {
            return self.rebuild(desired);
        }
        let chains = self.nft.chains(FAMILY, TABLE)?;
        let mut unwanted: HashSet<String> = chains
            .into_iter()
            .map(|chain| chain.name)
            .filter(|name| !table::is_fixed_chain(name))
            .collect();
        let missing: Vec<Chain> = desired
            .chains()
            .filter(|chain| !unwanted.remove(&chain.to_string()))
            .collect();
        let mut batch = Batch::new(FAMILY);
        self.add_chains(&mut batch, &missing);

        let mut wanted: HashMap<Map, HashMap<Bits, Option<Data>>> = HashMap::new();
        for (key, value) in desired.elements() {
            let element = table::element(&key, &value);
            wanted
                .entry(Map::of(&key))
                .or_default()
                .insert(element.key, element.data);
        }
        for map in Map::ALL {
            let mut wanted = wanted.remove(&map).unwrap_or_default();
            let mut unwanted = Vec::new();
            for element in self.nft.elements(FAMILY, TABLE, map.name())? {
                if wanted.get(&element.key) == Some(&element.data) {
                    wanted.remove(&element.key);
                } else {
                    unwanted.push(Element::key(element.key));
                }
            }
            batch.delete_elements(TABLE, map.name(), unwanted);
            let missing = wanted.into_iter().map(|(key, data)| Element {
                data,
                ..Element::key(key)
            });
            batch.add_elements(TABLE, map.name(), missing);
        }
        delete_chains(&mut batch, unwanted.iter().cloned());
        self.commit(batch)
    }

    /// Replaces the table as a whole, in one transaction.
    fn rebuild(&mut self, desired: &Desired) -> Result<Applied, Error> {
        let mut batch = Batch::new(FAMILY);
        // Made so that it can be deleted, whether or not another version's is there.
        batch.add_table(&nft::Table {
            name: TABLE,
            userdata: &[],
        });
        batch.delete_table(TABLE);
        table::add_frame(&mut batch, &self.layout);
        let chains: Vec<Chain> = desired.chains().collect();
        self.add_chains(&mut batch, &chains);
        let mut elements: HashMap<Map, Vec<Element>> = HashMap::new();
        for (key, value) in desired.elements() {
            elements
                .entry(Map::of(&key))
                .or_default()
                .push(table::element(&key, &value));
        }
        for (map, elements) in elements {
            batch.add_elements(TABLE, map.name(), elements);
        }
        self.commit(batch)
    }

    /// How many transactions were committed so far.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// Whether the table is there and of this version and these settings.
    pub fn has_our_table(&mut self) -> Result<bool, Error> {
        let found = self.nft.table(FAMILY, TABLE)?;
        let ours = table::fingerprint(&self.layout);
        Ok(found.is_some_and(|found| found.userdata == ours.as_bytes()))
    }

    /// Appends chains, then their rules, which may go to each other; `refuse` is there already.
    fn add_chains(&self, batch: &mut Batch, chains: &[Chain]) {
        let chains = || chains.iter().filter(|chain| **chain != Chain::Refuse);
        chains().for_each(|chain| table::add_chain(batch, *chain));
        chains().for_each(|chain| table::add_rules(batch, &self.layout, *chain));
    }

    fn commit(&mut self, batch: Batch) -> Result<Applied, Error> {
        let applied = Applied {
            messages: batch.messages(),
            elements: batch.elements(),
        };
        self.nft.commit(batch)?;
        self.commits += u64::from(applied.messages > 0);
        Ok(applied)
    }

    /// The interface for [`crate::stale`].
    pub(crate) fn conntrack(&mut self) -> &mut Conntrack {
        &mut self.conntrack
    }
}

/// Appends the deletion of chains, emptied first because they may go to each other.
fn delete_chains(batch: &mut Batch, names: impl Iterator<Item = String> + Clone) {
    names
        .clone()
        .for_each(|name| batch.flush_chain(TABLE, &name));
    names.for_each(|name| batch.delete_chain(TABLE, &name));
}
