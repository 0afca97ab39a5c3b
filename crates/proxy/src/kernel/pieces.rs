//! What is left to do when the kernel refuses a transaction as a whole.
//!
//! The chains are one transaction, and the elements are halved until those that are refused stand
//! alone. Targets come before the verdicts that need them, and go after those. A packet may meet a
//! Service that is new in part, never one that is missing while it was there before.

use karve_sys::nft;

use super::difference::{Change, Difference, append_changes};
use super::{Applied, Error, Kernel};
use crate::table::Map;

/// Refused elements, and why.
type Refusals = Vec<(String, nft::Error)>;

impl Kernel {
    /// Makes as much of the difference as the kernel takes.
    pub(super) fn apply_pieces(&mut self, difference: Difference) -> Result<Applied, Error> {
        let Difference {
            new_chains,
            mut changes,
            old_chains,
        } = difference;
        let mut applied = Applied {
            messages: 0,
            elements: 0,
        };
        let mut refusals = Refusals::new();
        let chains = Difference {
            new_chains,
            ..Difference::default()
        };
        applied.add(self.commit(self.whole(&chains))?);
        changes.sort_by_key(phase);
        for together in changes.chunk_by(|a, b| phase(a) == phase(b)) {
            self.halve(together, &mut applied, &mut refusals);
        }
        if !old_chains.is_empty() {
            let chains = Difference {
                old_chains,
                ..Difference::default()
            };
            match self.commit(self.whole(&chains)) {
                Ok(more) => applied.add(more),
                Err(err) => refusals.push(("chains that are not used".to_owned(), err)),
            }
        }
        let refused = refusals.len();
        match refusals.into_iter().next() {
            Some((what, source)) => Err(Error::Partly {
                refused,
                what,
                source,
            }),
            None => Ok(applied),
        }
    }

    fn halve(&mut self, changes: &[Change], applied: &mut Applied, refusals: &mut Refusals) {
        let mut batch = self.batch();
        append_changes(&mut batch, changes);
        match (self.commit(batch), changes) {
            (Ok(more), _) => applied.add(more),
            (Err(err), [change]) => refusals.push((name(change), err)),
            (Err(_), _) => {
                let (first, second) = changes.split_at(changes.len() / 2);
                self.halve(first, applied, refusals);
                self.halve(second, applied, refusals);
            }
        }
    }
}

impl Applied {
    fn add(&mut self, more: Applied) {
        self.messages += more.messages;
        self.elements += more.elements;
    }
}

/// When a change is made.
fn phase(change: &Change) -> u8 {
    let verdict = matches!(change.map, Map::ServiceIps | Map::ServiceNodePorts);
    match (verdict, &change.add) {
        (false, Some(_)) => 0,
        (true, _) => 1,
        (false, None) => 2,
    }
}

fn name(change: &Change) -> String {
    let map = change.map.name();
    match &change.key {
        Some(key) => format!("{key} in {map}"),
        None => format!("an unknown element of {map}"),
    }
}
