//! Writing one reply.
//!
//! The reply carries the question in the asker's own spelling (0x20), compresses names into it, and never exceeds
//! what the asker can take: what does not fit is left out at a record's end, and TC says so (RFC 2181, 9).

use std::net::IpAddr;

use crate::wire::{HEADER, IN, Query, Transport, rtype};

/// The datagram that crosses any sane path whole (DNS flag day 2020).
pub const UDP_SAFE: u16 = 1232;
/// Octets of our OPT record: root name, type, class, TTL, empty data.
const OPT_LEN: usize = 11;
/// The question's name, as a pointer.
const QUESTION: u16 = 0xC000 | HEADER as u16;

/// The sections of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What was asked for.
    Answer,
    /// Who says so.
    Authority,
    /// What is asked for next.
    Additional,
}

/// Whose a record is.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'n> {
    /// The question's name.
    Question,
    /// Another name, as on the wire without compression.
    Name(&'n [u8]),
}

/// The largest reply that `query` can be given.
pub fn limit(query: &Query<'_>, transport: Transport) -> usize {
    match transport {
        Transport::Udp => {
            let offered = query.edns.map_or(512, |edns| edns.size);
            usize::from(offered.clamp(512, UDP_SAFE))
        }
        Transport::Tcp => usize::from(u16::MAX),
    }
}

/// A reply under way, at the end of a buffer.
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    query: &'a Query<'a>,
    start: usize,
    /// The end that records must keep to.
    end: usize,
}

impl<'a> Reply<'a> {
    /// Begins a reply to `query` in `out`, which is emptied first.
    pub fn start(
        out: &'a mut Vec<u8>,
        query: &'a Query<'a>,
        transport: Transport,
        rcode: u8,
    ) -> Reply<'a> {
        out.clear();
        let opt = if query.edns.is_some() { OPT_LEN } else { 0 };
        let flags = 0x80 | query.bytes[2] & 1;
        // AA and RA are set; CD is the asker's.
        out.extend_from_slice(&[
            query.bytes[0],
            query.bytes[1],
            flags | 0x04,
            0x80 | query.bytes[3] & 0x10 | rcode,
        ]);
        out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(query.question());
        Reply {
            end: limit(query, transport) - opt,
            start: 0,
            out,
            query,
        }
    }

    /// The zone is not ours.
    pub fn not_authoritative(&mut self) {
        self.out[self.start + 2] &= !0x04;
    }

    /// DNSSEC was checked.
    pub fn authentic(&mut self) {
        self.out[self.start + 3] |= 0x20;
    }

    /// Adds a record, whole or not at all. In the answer and authority sections, what does not fit sets TC.
    pub fn record(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rtype: u16,
        ttl: u32,
        data: impl FnOnce(&mut Reply<'a>),
    ) -> bool {
        let begin = self.out.len();
        match owner {
            Owner::Question => self.out.extend_from_slice(&QUESTION.to_be_bytes()),
            Owner::Name(wire) => self.name(wire),
        }
        self.number(rtype);
        self.number(IN);
        self.out.extend_from_slice(&ttl.to_be_bytes());
        let length_at = self.out.len();
        self.number(0);
        data(self);
        let length = self.out.len() - length_at - 2;
        self.out[length_at..length_at + 2].copy_from_slice(&(length as u16).to_be_bytes());
        if self.out.len() > self.end {
            self.out.truncate(begin);
            if section != Section::Additional {
                self.out[self.start + 2] |= 0x02;
            }
            return false;
        }
        let count_at = self.start
            + match section {
                Section::Answer => 6,
                Section::Authority => 8,
                Section::Additional => 10,
            };
        let count = u16::from_be_bytes([self.out[count_at], self.out[count_at + 1]]) + 1;
        self.out[count_at..count_at + 2].copy_from_slice(&count.to_be_bytes());
        true
    }

    /// Adds an address record.
    pub fn address(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        ttl: u32,
        address: IpAddr,
    ) -> bool {
        match address {
            IpAddr::V4(v4) => self.record(section, owner, rtype::A, ttl, |reply| {
                reply.bytes(&v4.octets());
            }),
            IpAddr::V6(v6) => self.record(section, owner, rtype::AAAA, ttl, |reply| {
                reply.bytes(&v6.octets());
            }),
        }
    }

    /// Writes octets of a record's data.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Writes a number of two octets.
    pub fn number(&mut self, number: u16) {
        self.out.extend_from_slice(&number.to_be_bytes());
    }

    /// Writes a name, ending in a pointer into the question where they end alike (RFC 1035, 4.1.4).
    pub fn name(&mut self, wire: &[u8]) {
        let question = self.query.name_wire();
        let mut at = 0;
        while wire.get(at).is_some_and(|len| *len != 0) {
            if let Some(offset) = ends_at(question, &wire[at..]) {
                self.out.extend_from_slice(&wire[..at]);
                self.number(0xC000 | (HEADER + offset) as u16);
                return;
            }
            at += 1 + usize::from(wire[at]);
        }
        self.out.extend_from_slice(wire);
    }

    /// Adds our OPT record, with the upper bits of the code.
    pub fn finish(self, extended: u8) {
        let Some(edns) = self.query.edns else { return };
        let [high, low] = UDP_SAFE.to_be_bytes();
        let flags = if edns.dnssec_ok { 0x80 } else { 0 };
        self.out.extend_from_slice(&[
            0,
            0,
            rtype::OPT as u8,
            high,
            low,
            extended,
            0,
            flags,
            0,
            0,
            0,
        ]);
        self.out[self.start + 11] += 1;
    }
}

/// Where `question` ends in `suffix`, at a label's begin.
fn ends_at(question: &[u8], suffix: &[u8]) -> Option<usize> {
    let offset = question.len().checked_sub(suffix.len())?;
    if !question[offset..].eq_ignore_ascii_case(suffix) {
        return None;
    }
    let mut at = 0;
    while at < offset {
        at += 1 + usize::from(question[at]);
    }
    (at == offset).then_some(offset)
}

/// A reply that is only a code, to `bytes` that may be no query; `None` when nothing can be said.
pub fn bare(bytes: &[u8], rcode: u8) -> Option<[u8; HEADER]> {
    let head = bytes.get(..HEADER)?;
    let opcode_and_rd = head[2] & 0x79;
    Some([
        head[0],
        head[1],
        0x80 | opcode_and_rd,
        rcode,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ])
}
