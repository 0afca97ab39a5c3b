//! Reading the table back, and what has to change in it.

use std::collections::{HashMap, HashSet};

use karve_sys::nft::{Batch, Data, Element, Value as Bits};

use super::{Error, Kernel, delete_chains, without_data};
use crate::dataplane::{Chain, Key};
use crate::desired::Desired;
use crate::table::{self, Map, TABLE};

/// One element to be made, replaced or deleted.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub map: Map,
    /// What it is for; unknown for what should not be there.
    pub key: Option<Key>,
    pub delete: Option<Element>,
    pub add: Option<Element>,
}

/// All that has to change in a table that has its frame.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub new_chains: Vec<Chain>,
    pub changes: Vec<Change>,
    pub old_chains: Vec<String>,
}

/// An element's identity: its key, and the end of its interval.
type Identity = (Bits, Option<Bits>);

impl Difference {
    /// All that is desired.
    pub(super) fn from_nothing(desired: &Desired) -> Self {
        let changes = desired.elements().map(|(key, value)| Change {
            map: Map::of(&key),
            key: Some(key),
            delete: None,
            add: Some(table::element(&key, &value)),
        });
        Self {
            new_chains: desired.chains().collect(),
            changes: changes.collect(),
            old_chains: Vec::new(),
        }
    }
}

impl Kernel {
    /// Whether the table is ours and its rules are all there. Elements are compared by
    /// [`Kernel::difference`].
    pub(super) fn is_intact(&mut self, desired: &Desired) -> Result<bool, Error> {
        if !self.has_our_table()? {
            return Ok(false);
        }
        let mut found: HashMap<String, usize> = HashMap::new();
        for rule in self.nft.rules(self.nft_family(), TABLE)? {
            *found.entry(rule.chain).or_default() += 1;
        }
        let chains = self.nft.chains(self.nft_family(), TABLE)?;
        let chains: HashSet<String> = chains.into_iter().map(|chain| chain.name).collect();
        let has = |chain: &str, rules| {
            chains.contains(chain) && found.get(chain).copied().unwrap_or(0) == rules
        };
        let fixed = table::fixed_rules(&self.layout);
        let frame = fixed.iter().all(|(chain, rules)| has(chain, *rules));
        // A chain that is missing altogether is made as a part of the difference.
        let picks = desired.chains().map(|chain| (chain.to_string(), chain));
        let mut picks = picks.filter(|(name, _)| chains.contains(name));
        Ok(frame && picks.all(|(name, chain)| has(&name, table::count_rules(&self.layout, chain))))
    }

    /// Compares the table with what is desired.
    pub(super) fn difference(&mut self, desired: &Desired) -> Result<Difference, Error> {
        let family = self.nft_family();
        let chains = self.nft.chains(family, TABLE)?;
        let chains = chains.into_iter().map(|chain| chain.name);
        let mut unwanted: HashSet<String> =
            chains.filter(|name| !table::is_fixed_chain(name)).collect();
        let new_chains = desired
            .chains()
            .filter(|chain| !unwanted.remove(&chain.to_string()));
        let mut difference = Difference {
            new_chains: new_chains.collect(),
            ..Difference::default()
        };
        difference.old_chains = unwanted.into_iter().collect();

        let mut wanted: HashMap<Map, HashMap<Identity, (Key, Option<Data>)>> = HashMap::new();
        for (key, value) in desired.elements() {
            let element = table::element(&key, &value);
            let of_map = wanted.entry(Map::of(&key)).or_default();
            of_map.insert((element.key, element.key_end), (key, element.data));
        }
        for map in Map::ALL {
            let mut wanted = wanted.remove(&map).unwrap_or_default();
            for found in self.nft.elements(family, TABLE, map.name())? {
                let identity = (found.key, found.key_end);
                let add = match wanted.remove(&identity) {
                    Some((_, data)) if data == found.data => continue,
                    other => other,
                };
                let key = add.as_ref().map(|(key, _)| *key);
                difference.changes.push(Change {
                    map,
                    key,
                    add: add.map(|(_, data)| Element {
                        data,
                        ..without_data(found.clone())
                    }),
                    delete: Some(without_data(found)),
                });
            }
            difference
                .changes
                .extend(wanted.into_iter().map(|((bits, key_end), (key, data))| {
                    let add = Element {
                        data,
                        key_end,
                        ..Element::key(bits)
                    };
                    Change {
                        map,
                        key: Some(key),
                        delete: None,
                        add: Some(add),
                    }
                }));
        }
        Ok(difference)
    }

    /// The transaction that makes a difference as a whole.
    pub(super) fn whole(&self, difference: &Difference) -> Batch {
        let mut batch = self.batch();
        self.append(&mut batch, difference);
        batch
    }

    /// Appends a difference.
    pub(super) fn append(&self, batch: &mut Batch, difference: &Difference) {
        self.add_chains(batch, &difference.new_chains);
        append_changes(batch, &difference.changes);
        delete_chains(batch, difference.old_chains.iter().cloned());
    }
}

/// Appends changes of elements, those of one map together.
pub(super) fn append_changes(batch: &mut Batch, changes: &[Change]) {
    let mut by_map: HashMap<Map, Vec<&Change>> = HashMap::new();
    for change in changes {
        by_map.entry(change.map).or_default().push(change);
    }
    for map in Map::ALL {
        let changes = by_map.get(&map).map(Vec::as_slice).unwrap_or_default();
        let deleted = changes.iter().filter_map(|change| change.delete.clone());
        batch.delete_elements(TABLE, map.name(), deleted);
        let added = changes.iter().filter_map(|change| change.add.clone());
        batch.add_elements(TABLE, map.name(), added);
    }
}
