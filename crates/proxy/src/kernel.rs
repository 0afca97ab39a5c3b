//! Applying changes to the kernel, and adopting what it has.
//!
//! Every change is one transaction: packets see the table before it or after it, never between. Only
//! where the kernel refuses one as a whole is it applied in pieces, so that one bad element doesn't keep
//! all others out (see [`pieces`]).

mod difference;
mod pieces;

use karve_sys::conntrack::{self, Conntrack};
use karve_sys::nft::{self, Batch, Element, Nft};

use self::difference::Difference;
use crate::dataplane::{Chain, Family, Key, Value};
use crate::desired::{Changes, Desired};
use crate::plan::UdpPort;
use crate::stale;
use crate::table::{self, Layout, Map, TABLE};

/// A failed change or query.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// nf_tables refused.
    #[error("program service rules")]
    Nft(#[from] nft::Error),
    /// nf_tables refused some elements; all others are programmed.
    #[error("program {refused} of the service rules, {what} among them")]
    Partly {
        /// How many.
        refused: usize,
        /// The first of them.
        what: String,
        /// Why it was refused.
        #[source]
        source: nft::Error,
    },
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

/// The kernel's side of the proxy of one address family, in one network namespace.
#[derive(Debug)]
pub struct Kernel {
    nft: Nft,
    conntrack: Conntrack,
    layout: Layout,
    /// What the kernel is to refuse.
    #[cfg(test)]
    pub spoil: Option<Spoil>,
}

/// How a test makes the kernel refuse a transaction.
#[cfg(test)]
#[derive(Debug)]
pub enum Spoil {
    /// The next one, at this message.
    Message(usize),
    /// Each one that holds these bytes.
    Containing(Vec<u8>),
}

#[cfg(test)]
impl Spoil {
    /// Spoils `batch` where it should; returns what to do with the next one.
    fn touch(self, batch: &mut Batch) -> Option<Self> {
        match self {
            Spoil::Message(message) => {
                batch.spoil(message);
                None
            }
            Spoil::Containing(bytes) => {
                if batch
                    .bytes()
                    .windows(bytes.len())
                    .any(|window| window == bytes)
                {
                    batch.spoil(0);
                }
                Some(Spoil::Containing(bytes))
            }
        }
    }
}

impl Kernel {
    /// Opens the kernel's interfaces in the calling thread's network namespace.
    pub fn open(layout: Layout) -> Result<Self, Error> {
        Ok(Self {
            nft: Nft::open()?,
            conntrack: Conntrack::open()?,
            layout,
            #[cfg(test)]
            spoil: None,
        })
    }

    /// Opens the kernel's interfaces in `netns`.
    #[cfg(test)]
    pub fn open_in(netns: &karve_sys::netns::NetNs, layout: Layout) -> Result<Self, Error> {
        netns
            .run_in(|| Self::open(layout))
            .expect("enter namespace")
    }

    /// What the rules depend on besides the objects.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The address family.
    pub fn family(&self) -> Family {
        self.layout.family
    }

    /// The number by which the kernel's notices of our transactions are known.
    pub fn port(&self) -> Result<u32, Error> {
        Ok(self.nft.port()?)
    }

    /// The numbers that endpoints have in the table in force; none when there is no such table.
    pub fn endpoints(&mut self) -> Result<Vec<(Key, Value)>, Error> {
        if !self.has_our_table()? {
            return Ok(Vec::new());
        }
        let family = self.layout.family;
        let mut endpoints = Vec::new();
        for map in [Map::Endpoints, Map::AffinityPicks] {
            let elements = self.nft.elements(self.nft_family(), TABLE, map.name())?;
            endpoints.extend(
                elements
                    .iter()
                    .filter_map(|e| table::parse_endpoint(family, e)),
            );
        }
        Ok(endpoints)
    }

    /// Applies a difference.
    pub fn apply(&mut self, changes: &Changes) -> Result<Applied, Error> {
        let mut batch = self.batch();
        self.add_chains(&mut batch, &changes.new_chains);
        for map in Map::ALL {
            let of_map = |(key, value): &(Key, Value)| {
                (Map::of(key) == map).then(|| table::element(key, value))
            };
            let deleted = changes.delete.iter().filter_map(of_map).map(without_data);
            batch.delete_elements(TABLE, map.name(), deleted);
            batch.add_elements(TABLE, map.name(), changes.add.iter().filter_map(of_map));
        }
        let old = changes
            .old_chains
            .iter()
            .filter(|chain| **chain != Chain::Refuse);
        delete_chains(&mut batch, old.map(Chain::to_string));
        Ok(self.commit(batch)?)
    }

    /// Makes the table as desired, whatever it is now, changing only what differs.
    pub fn resync(&mut self, desired: &Desired) -> Result<Applied, Error> {
        if !self.is_intact(desired)? {
            return self.rebuild(desired);
        }
        let difference = self.difference(desired)?;
        match self.commit(self.whole(&difference)) {
            Err(refusal) if refusal.raw_os_error().is_some() => self.apply_pieces(difference),
            result => Ok(result?),
        }
    }

    /// Replaces the table as a whole, in one transaction.
    fn rebuild(&mut self, desired: &Desired) -> Result<Applied, Error> {
        let (frame, difference) = self.new_table(desired);
        let mut batch = frame.clone();
        self.append(&mut batch, &difference);
        match self.commit(batch) {
            // Where there was a table, it goes on serving.
            Err(refusal)
                if refusal.raw_os_error().is_some()
                    && self.nft.table(self.nft_family(), TABLE)?.is_none() =>
            {
                self.commit(frame)?;
                self.apply_pieces(difference)
            }
            result => Ok(result?),
        }
    }

    /// A new table's frame, and all that is to be in it.
    fn new_table(&self, desired: &Desired) -> (Batch, Difference) {
        let mut frame = self.batch();
        // Made so that it can be deleted, whether or not another version's is there.
        frame.add_table(&nft::Table {
            name: TABLE,
            userdata: &[],
        });
        frame.delete_table(TABLE);
        table::add_frame(&mut frame, &self.layout);
        (frame, Difference::from_nothing(desired))
    }

    /// Whether the table is there and of this version and these settings.
    pub fn has_our_table(&mut self) -> Result<bool, Error> {
        let found = self.nft.table(self.nft_family(), TABLE)?;
        let ours = table::fingerprint(&self.layout);
        Ok(found.is_some_and(|found| found.userdata == ours.as_bytes()))
    }

    /// Cuts UDP flows that go where no endpoint is any more; see [`stale`].
    pub fn cut_stale(&mut self, ports: &[UdpPort], gone: &[UdpPort]) -> Result<usize, Error> {
        let family = match self.layout.family {
            Family::V4 => conntrack::Family::V4,
            Family::V6 => conntrack::Family::V6,
        };
        Ok(stale::cut(&mut self.conntrack, family, ports, gone)?)
    }

    /// Appends chains, then their rules, which may go to each other; `refuse` is there already.
    fn add_chains(&self, batch: &mut Batch, chains: &[Chain]) {
        let chains = || chains.iter().filter(|chain| **chain != Chain::Refuse);
        chains().for_each(|chain| table::add_chain(batch, *chain));
        chains().for_each(|chain| table::add_rules(batch, &self.layout, *chain));
    }

    fn nft_family(&self) -> nft::Family {
        table::nft_family(self.layout.family)
    }

    fn batch(&self) -> Batch {
        Batch::new(self.nft_family())
    }

    #[cfg_attr(not(test), allow(unused_mut))]
    fn commit(&mut self, mut batch: Batch) -> Result<Applied, nft::Error> {
        let applied = Applied {
            messages: batch.messages(),
            elements: batch.elements(),
        };
        #[cfg(test)]
        if let Some(spoil) = self.spoil.take() {
            self.spoil = spoil.touch(&mut batch);
        }
        self.nft.commit(batch)?;
        Ok(applied)
    }
}

/// What identifies an element.
fn without_data(element: Element) -> Element {
    Element {
        data: None,
        ..element
    }
}

/// Appends the deletion of chains, emptied first because they may go to each other.
fn delete_chains(batch: &mut Batch, names: impl Iterator<Item = String> + Clone) {
    names
        .clone()
        .for_each(|name| batch.flush_chain(TABLE, &name));
    names.for_each(|name| batch.delete_chain(TABLE, &name));
}
