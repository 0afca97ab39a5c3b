//! Reading back what is in force.

use super::uapi::{self, GENMSG_BYTES, SUBSYS, chain, elements, rule, table};
use super::{Element, Error, Family, Nft};
use crate::netlink::{self, Attributes, Encoder, Message};

/// A table that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableInfo {
    /// Its name.
    pub name: String,
    /// Its owner's private data.
    pub userdata: Vec<u8>,
}

/// A chain that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainInfo {
    /// Its name.
    pub name: String,
    /// Whether it is a base chain.
    pub base: bool,
}

/// A rule that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleInfo {
    /// The chain it is in.
    pub chain: String,
    /// The kernel's number for it.
    pub handle: u64,
    /// Its expressions as the kernel encodes them.
    pub expressions: Vec<u8>,
}

impl Nft {
    /// The table `name`, or `None` when there is none.
    pub fn table(&mut self, family: Family, name: &str) -> Result<Option<TableInfo>, Error> {
        let answer = self
            .socket
            .request(message(libc::NFT_MSG_GETTABLE), 0, |m| {
                genmsg(m, family);
                m.attr_str(table::NAME, name);
            });
        let messages = match answer {
            Ok(messages) => messages,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            Err(source) => return Err(step("get table", name, source)),
        };
        Ok(messages.first().map(|found| {
            let attributes = found.attributes(GENMSG_BYTES);
            TableInfo {
                name: attributes.string(table::NAME).unwrap_or_default(),
                userdata: attributes.get(table::USERDATA).unwrap_or_default().to_vec(),
            }
        }))
    }

    /// All chains of a table.
    pub fn chains(&mut self, family: Family, in_table: &str) -> Result<Vec<ChainInfo>, Error> {
        let messages = self.dump("list chains of", in_table, libc::NFT_MSG_GETCHAIN, |m| {
            genmsg(m, family)
        })?;
        let chains = messages
            .iter()
            .map(|found| found.attributes(GENMSG_BYTES))
            .filter_map(|attributes| {
                // The kernel lists the chains of all tables of the family.
                let ours = attributes.string(chain::TABLE)? == in_table;
                let name = attributes.string(chain::NAME)?;
                ours.then(|| ChainInfo {
                    name,
                    base: attributes.get(chain::HOOK).is_some(),
                })
            });
        Ok(chains.collect())
    }

    /// All rules of a table, in their order within each chain.
    pub fn rules(&mut self, family: Family, in_table: &str) -> Result<Vec<RuleInfo>, Error> {
        let messages = self.dump("list rules of", in_table, libc::NFT_MSG_GETRULE, |m| {
            genmsg(m, family);
            m.attr_str(rule::TABLE, in_table);
        })?;
        let rules = messages
            .iter()
            .map(|found| found.attributes(GENMSG_BYTES))
            .filter_map(|attributes| {
                let ours = attributes.string(rule::TABLE)? == in_table;
                let found = RuleInfo {
                    chain: attributes.string(rule::CHAIN)?,
                    handle: attributes.be64(rule::HANDLE)?,
                    expressions: attributes.get(rule::EXPRESSIONS)?.to_vec(),
                };
                ours.then_some(found)
            });
        Ok(rules.collect())
    }

    /// All elements of a set or map, in no order.
    pub fn elements(
        &mut self,
        family: Family,
        in_table: &str,
        set: &str,
    ) -> Result<Vec<Element>, Error> {
        let object = format!("{in_table} {set}");
        let messages = self.dump("list elements of", &object, libc::NFT_MSG_GETSETELEM, |m| {
            genmsg(m, family);
            m.attr_str(elements::TABLE, in_table);
            m.attr_str(elements::SET, set);
        })?;
        let mut found = Vec::new();
        for message in &messages {
            let malformed = || step("list elements of", &object, netlink::Error::Malformed);
            found.extend(elements_of(message).ok_or_else(malformed)?);
        }
        Ok(found)
    }

    /// One dump, repeated while others change the tables.
    fn dump(
        &mut self,
        action: &'static str,
        object: &str,
        kind: libc::c_int,
        build: impl Fn(&mut Encoder),
    ) -> Result<Vec<Message>, Error> {
        /// Tables that change during this many dumps in a row are reported, not waited for.
        const ATTEMPTS: usize = 8;
        let mut last = netlink::Error::Interrupted;
        for _ in 0..ATTEMPTS {
            match self.socket.dump(message(kind), &build) {
                Ok(messages) => return Ok(messages),
                Err(error @ netlink::Error::Interrupted) => last = error,
                Err(source) => return Err(step(action, object, source)),
            }
        }
        Err(step(action, object, last))
    }
}

/// The elements in one message; `None` when one of them is malformed.
pub(crate) fn elements_of(message: &Message) -> Option<Vec<Element>> {
    message
        .attributes(GENMSG_BYTES)
        .nested(elements::ELEMENTS)
        .filter(|(kind, _)| *kind == uapi::LIST_ELEM)
        .map(|(_, element)| Element::decode(&Attributes::new(element)))
        .collect()
}

/// The netlink message type of an nf_tables message.
fn message(kind: libc::c_int) -> u16 {
    SUBSYS << 8 | kind as u16
}

/// Writes `struct nfgenmsg`.
fn genmsg(m: &mut Encoder, family: Family) {
    m.raw(&[family.number(), 0, 0, 0]);
}

fn step(action: &'static str, object: &str, source: netlink::Error) -> Error {
    Error::Step {
        action,
        object: object.to_owned(),
        source,
    }
}
