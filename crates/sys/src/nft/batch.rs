//! Transactions: changes collected into one datagram.

use std::time::Duration;

use super::uapi::{self, SUBSYS, chain, elements, rule, set, table};
use super::{Element, Expr, Family};
use crate::netlink::Encoder;

/// Elements of one message: the list is an attribute, whose length has 16 bits.
const ELEMENT_LIST_MAX: usize = 60_000;

/// A table to be made.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its owner's private data, given back by [`super::Nft::table`]; at most 256 bytes.
    pub userdata: &'a [u8],
}

/// Where a base chain hooks into the packet path, and whether it may rewrite addresses there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// `NF_INET_*`: 0 prerouting, 1 input, 2 forward, 3 output, 4 postrouting.
    pub number: u32,
    /// Order among the chains of the hook; -100 is `dstnat`, 100 is `srcnat`.
    pub priority: i32,
}

/// A chain to be made; its policy, if it is a base chain, is accept.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it hooks, or `None` for one that rules and verdict maps go to.
    pub hook: Option<Hook>,
}

/// What a set can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SetFlags {
    /// Elements are intervals.
    pub interval: bool,
    /// Elements may have a time after which they go.
    pub timeout: bool,
    /// Rules may add and delete elements.
    pub dynamic: bool,
}

/// A set or map to be made.
#[derive(Debug, Clone, Copy)]
pub struct Set<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its abilities.
    pub flags: SetFlags,
    /// The fields of its key as `nft` data type numbers with their lengths in bytes.
    pub key: &'a [(u32, usize)],
    /// The fields of what it maps to; empty for a set.
    pub data: &'a [(u32, usize)],
    /// It maps to verdicts.
    pub verdicts: bool,
    /// When elements go that have no time of their own.
    pub timeout: Option<Duration>,
}

/// Data types of set fields, with their lengths, as `nft` numbers and prints them.
pub mod types {
    /// `ipv4_addr`.
    pub const IPV4_ADDR: (u32, usize) = (7, 4);
    /// `ipv6_addr`.
    pub const IPV6_ADDR: (u32, usize) = (8, 16);
    /// `inet_proto`.
    pub const INET_PROTO: (u32, usize) = (12, 1);
    /// `inet_service`.
    pub const INET_SERVICE: (u32, usize) = (13, 2);
    /// `mark`: any number in host order.
    pub const MARK: (u32, usize) = (19, 4);
}

/// Changes to be applied together.
#[derive(Debug, Clone)]
pub struct Batch {
    family: Family,
    encoder: Encoder,
    /// What message number `i + 1` does; number 1 is the begin of the batch.
    steps: Vec<(&'static str, String)>,
    /// Where the flags of the last message are.
    last_flags: usize,
    /// Elements added or deleted.
    elements: usize,
}

/// A batch ready to be sent.
pub(super) struct Finished {
    pub datagram: Vec<u8>,
    pub last_seq: u32,
    steps: Vec<(&'static str, String)>,
}

impl Finished {
    /// What the message `seq` was to do.
    pub fn step(&self, seq: u32) -> (&'static str, String) {
        let index = (seq as usize).wrapping_sub(1);
        self.steps
            .get(index)
            .cloned()
            .unwrap_or(("commit", "nf_tables transaction".to_owned()))
    }
}

impl Batch {
    /// No changes yet, to tables of `family`.
    pub fn new(family: Family) -> Self {
        let encoder = Encoder::default();
        let mut batch = Self {
            family,
            encoder,
            steps: Vec::new(),
            last_flags: 0,
            elements: 0,
        };
        batch.bound(uapi::BATCH_BEGIN);
        batch
            .steps
            .push(("commit", "nf_tables transaction".to_owned()));
        batch
    }

    /// How many messages there are so far, without the frame of the batch.
    pub fn messages(&self) -> usize {
        self.steps.len() - 1
    }

    /// The messages so far as they go to the kernel, without the end of the batch.
    pub fn bytes(&self) -> &[u8] {
        self.encoder.bytes()
    }

    /// Makes the kernel refuse message `number`, counted from 0: for tests of what happens then. Nothing
    /// happens when there is no such message.
    pub fn spoil(&mut self, number: usize) {
        let mut at = 0;
        for _ in 0..=number {
            let Some(bytes) = self.encoder.bytes().get(at..at + 4) else {
                return;
            };
            let len = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            at += crate::netlink::align4(len as usize);
        }
        // The table's name is behind both headers and that of the attribute.
        if self.encoder.bytes().len() > at + 24 {
            self.encoder.overwrite(at + 24, b'?');
        }
    }

    /// How many elements are added or deleted so far.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// Makes a table, unless it exists.
    pub fn add_table(&mut self, new: &Table<'_>) {
        self.push(
            "add table",
            new.name.to_owned(),
            libc::NFT_MSG_NEWTABLE,
            libc::NLM_F_CREATE,
            |m| {
                m.attr_str(table::NAME, new.name);
                if !new.userdata.is_empty() {
                    m.attr(table::USERDATA, new.userdata);
                }
            },
        );
    }

    /// Deletes a table and all in it.
    pub fn delete_table(&mut self, name: &str) {
        self.push(
            "delete table",
            name.to_owned(),
            libc::NFT_MSG_DELTABLE,
            0,
            |m| {
                m.attr_str(table::NAME, name);
            },
        );
    }

    /// Makes a chain, unless it exists.
    pub fn add_chain(&mut self, in_table: &str, new: &Chain<'_>) {
        let object = format!("{in_table} {}", new.name);
        self.push(
            "add chain",
            object,
            libc::NFT_MSG_NEWCHAIN,
            libc::NLM_F_CREATE,
            |m| {
                m.attr_str(chain::TABLE, in_table);
                m.attr_str(chain::NAME, new.name);
                if let Some(hook) = new.hook {
                    m.nest(chain::HOOK, |m| {
                        m.attr_be32(chain::HOOK_NUM, hook.number);
                        m.attr_be32(chain::HOOK_PRIORITY, hook.priority.cast_unsigned());
                    });
                    m.attr_be32(chain::POLICY, 1); // NF_ACCEPT
                    m.attr_str(chain::TYPE, hook.kind);
                }
            },
        );
    }

    /// Deletes a chain and its rules; refused while rules or elements go to it.
    pub fn delete_chain(&mut self, in_table: &str, name: &str) {
        let object = format!("{in_table} {name}");
        self.push("delete chain", object, libc::NFT_MSG_DELCHAIN, 0, |m| {
            m.attr_str(chain::TABLE, in_table);
            m.attr_str(chain::NAME, name);
        });
    }

    /// Deletes all rules of a chain.
    pub fn flush_chain(&mut self, in_table: &str, name: &str) {
        let object = format!("{in_table} {name}");
        self.push("flush chain", object, libc::NFT_MSG_DELRULE, 0, |m| {
            m.attr_str(rule::TABLE, in_table);
            m.attr_str(rule::CHAIN, name);
        });
    }

    /// Appends a rule to a chain; `comment` is for readers of `nft list` and at most 128 bytes.
    pub fn add_rule(&mut self, in_table: &str, in_chain: &str, comment: &str, exprs: &[Expr]) {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_APPEND;
        let object = format!("{in_table} {in_chain}");
        self.push("add rule", object, libc::NFT_MSG_NEWRULE, flags, |m| {
            m.attr_str(rule::TABLE, in_table);
            m.attr_str(rule::CHAIN, in_chain);
            m.nest(rule::EXPRESSIONS, |m| {
                exprs.iter().for_each(|expr| expr.encode(m))
            });
            if !comment.is_empty() {
                let len = u8::try_from(comment.len() + 1).expect("comments are short constants");
                let mut userdata = vec![rule::USERDATA_COMMENT, len];
                userdata.extend_from_slice(comment.as_bytes());
                userdata.push(0);
                m.attr(rule::USERDATA, &userdata);
            }
        });
    }

    /// Makes a set or map, unless it exists.
    pub fn add_set(&mut self, in_table: &str, new: &Set<'_>) {
        let object = format!("{in_table} {}", new.name);
        // An identifier within the batch; required by the kernel, used only for anonymous sets.
        let id = self.steps.len() as u32;
        self.push(
            "add set",
            object,
            libc::NFT_MSG_NEWSET,
            libc::NLM_F_CREATE,
            |m| {
                m.attr_str(set::TABLE, in_table);
                m.attr_str(set::NAME, new.name);
                m.attr_be32(set::FLAGS, new.kernel_flags());
                m.attr_be32(set::KEY_TYPE, concatenated_type(new.key));
                m.attr_be32(set::KEY_LEN, concatenated_len(new.key));
                if new.verdicts {
                    m.attr_be32(set::DATA_TYPE, uapi::data::TYPE_VERDICT);
                } else if !new.data.is_empty() {
                    m.attr_be32(set::DATA_TYPE, concatenated_type(new.data));
                    m.attr_be32(set::DATA_LEN, concatenated_len(new.data));
                }
                m.attr_be32(set::ID, id);
                if let Some(timeout) = new.timeout {
                    m.attr_be64(set::TIMEOUT, super::element::milliseconds(timeout));
                }
                if new.key.len() > 1 && new.flags.interval {
                    m.nest(set::DESC, |m| {
                        m.nest(set::DESC_CONCAT, |m| {
                            for (_, len) in new.key {
                                m.nest(uapi::LIST_ELEM, |m| {
                                    m.attr_be32(set::FIELD_LEN, *len as u32)
                                });
                            }
                        });
                    });
                }
            },
        );
    }

    /// Adds elements; refused when a key is there with other data.
    pub fn add_elements(
        &mut self,
        in_table: &str,
        set: &str,
        new: impl IntoIterator<Item = Element>,
    ) {
        let flags = libc::NLM_F_CREATE;
        self.change_elements(
            "add elements to",
            in_table,
            set,
            libc::NFT_MSG_NEWSETELEM,
            flags,
            new,
        );
    }

    /// Deletes elements; refused when a key is not there.
    pub fn delete_elements(
        &mut self,
        in_table: &str,
        set: &str,
        old: impl IntoIterator<Item = Element>,
    ) {
        self.change_elements(
            "delete elements of",
            in_table,
            set,
            libc::NFT_MSG_DELSETELEM,
            0,
            old,
        );
    }

    /// Splits elements over as many messages as they need.
    fn change_elements(
        &mut self,
        action: &'static str,
        in_table: &str,
        set: &str,
        message: libc::c_int,
        flags: libc::c_int,
        changed: impl IntoIterator<Item = Element>,
    ) {
        let mut changed = changed.into_iter().peekable();
        while changed.peek().is_some() {
            let mut count = 0;
            self.push(action, format!("{in_table} {set}"), message, flags, |m| {
                m.attr_str(elements::TABLE, in_table);
                m.attr_str(elements::SET, set);
                m.nest(elements::ELEMENTS, |m| {
                    let start = m.bytes().len();
                    while m.bytes().len() - start < ELEMENT_LIST_MAX
                        && let Some(element) = changed.next()
                    {
                        element.encode(m);
                        count += 1;
                    }
                });
            });
            self.elements += count;
        }
    }

    /// Appends one message.
    fn push(
        &mut self,
        action: &'static str,
        object: String,
        message: libc::c_int,
        flags: libc::c_int,
        build: impl FnOnce(&mut Encoder),
    ) {
        let kind = SUBSYS << 8 | message as u16;
        let flags = (libc::NLM_F_REQUEST | flags) as u16;
        self.steps.push((action, object));
        let seq = self.steps.len() as u32;
        /// Offset of `nlmsg_flags` in `struct nlmsghdr`.
        const FLAGS: usize = 6;
        self.last_flags = self.encoder.bytes().len() + FLAGS;
        self.encoder.message(kind, flags, seq, |m| {
            m.raw(&[self.family.number(), 0, 0, 0]);
            build(m);
        });
    }

    /// Opens or closes the batch.
    fn bound(&mut self, kind: u16) {
        let seq = self.steps.len() as u32 + 1;
        self.encoder
            .message(kind, libc::NLM_F_REQUEST as u16, seq, |m| {
                let [high, low] = SUBSYS.to_be_bytes();
                m.raw(&[0, 0, high, low]);
            });
    }

    /// Closes the batch and asks for an answer to its last change; `None` when there is no change.
    pub(super) fn finish(mut self) -> Option<Finished> {
        if self.messages() == 0 {
            return None;
        }
        self.bound(uapi::BATCH_END);
        let last_seq = self.steps.len() as u32;
        let mut datagram = self.encoder.into_bytes();
        datagram[self.last_flags] |= libc::NLM_F_ACK as u8;
        Some(Finished {
            datagram,
            last_seq,
            steps: self.steps,
        })
    }
}

impl Set<'_> {
    fn kernel_flags(&self) -> u32 {
        let map = self.verdicts || !self.data.is_empty();
        [
            (self.flags.interval, set::FLAG_INTERVAL),
            (self.flags.interval && self.key.len() > 1, set::FLAG_CONCAT),
            (self.flags.timeout, set::FLAG_TIMEOUT),
            (self.flags.dynamic, set::FLAG_EVAL),
            (map, set::FLAG_MAP),
        ]
        .into_iter()
        .fold(0, |flags, (on, flag)| if on { flags | flag } else { flags })
    }
}

/// `nft` packs the types of a concatenation into six bits each.
fn concatenated_type(fields: &[(u32, usize)]) -> u32 {
    fields
        .iter()
        .fold(0, |packed, (kind, _)| packed << 6 | kind)
}

fn concatenated_len(fields: &[(u32, usize)]) -> u32 {
    match fields {
        [(_, len)] => *len as u32,
        fields => fields
            .iter()
            .map(|(_, len)| crate::netlink::align4(*len) as u32)
            .sum(),
    }
}
