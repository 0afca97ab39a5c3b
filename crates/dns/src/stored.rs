//! What an upstream said, kept in a form that any asker of the same question can be given.
//!
//! The message is checked on the way in: it must be whole, answer the question, and hold only records that belong to
//! the question (the alias chain from its name, RFC 5452, 6), since nobody vouches for others. On the way out it gets
//! the asker's number, spelling, flags and EDNS, its TTLs less the time that passed, and no more than fits.

use std::time::Duration;

use domain::base::iana::Rtype;
use domain::base::{Message, Name, ParsedName, ToName};
use domain::rdata::AllRecordData;

use crate::reply::{self, UDP_SAFE};
use crate::wire::{HEADER, Lookup, Place, Query, Transport, number, rcode, rtype, skip, skip_name};

/// An upstream's message without its OPT record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Header, question and records.
    bytes: Box<[u8]>,
    question_end: u16,
    /// Where each record ends and where its TTL stands.
    records: Box<[(u16, u16)]>,
    /// Records in the answer and authority sections.
    answers: u16,
    authority: u16,
    /// The shortest TTL; of a denial, how long it holds (RFC 2308, 5).
    ttl: u32,
}

/// What kind of answer a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Records.
    Success,
    /// NXDOMAIN, or NOERROR without a record of the type.
    Denial,
    /// Neither: the upstream could not or would not.
    Failure,
}

/// How a stored message goes out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Aged {
    /// Time since it came.
    pub age: Duration,
    /// TTLs are at least and at most so long, in seconds.
    pub bounds: Option<(u32, u32)>,
    /// All TTLs are this, whatever the age (an entry that has ended).
    pub fixed: Option<u32>,
}

impl Stored {
    /// Checks and takes what an upstream said to `asked`; `None` for a message that answers something else, is
    /// malformed, or truncated.
    pub fn take(message: &[u8], asked: &Lookup) -> Option<Stored> {
        let head = message.get(..HEADER)?;
        let query_or_other = head[2] & 0x80 == 0 || head[2] >> 3 & 0xf != 0;
        if query_or_other || number(message, 4)? != 1 {
            return None;
        }
        let name_end = skip_name(message, HEADER)?;
        let name = &message[HEADER..name_end];
        let same_name = name.eq_ignore_ascii_case(&asked.name);
        let same_type = number(message, name_end)? == asked.qtype;
        if !same_name || !same_type || number(message, name_end + 2)? != asked.qclass {
            return None;
        }
        match plain(message, name_end + 4, asked) {
            Some(stored) => Some(stored),
            None => rebuilt(message, asked),
        }
    }

    /// The response code.
    pub fn rcode(&self) -> u8 {
        self.bytes[3] & 0xf
    }

    /// What kind of answer it is.
    pub fn kind(&self) -> Kind {
        match self.rcode() {
            rcode::NXDOMAIN => Kind::Denial,
            rcode::NOERROR => {
                let qtype = number(&self.bytes, usize::from(self.question_end) - 4);
                let found = self.answer_types().any(|rtype| Some(rtype) == qtype);
                let found = found || (qtype == Some(rtype::ANY) && self.answers > 0);
                if found { Kind::Success } else { Kind::Denial }
            }
            _ => Kind::Failure,
        }
    }

    /// How long it holds, in seconds.
    pub fn ttl(&self) -> u32 {
        self.ttl
    }

    /// The octets that it takes.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.records.len() * 4
    }

    /// The types of the answer section.
    pub fn answer_types(&self) -> impl Iterator<Item = u16> {
        let answers = self.records.iter().take(usize::from(self.answers));
        answers.filter_map(|(_, ttl_at)| number(&self.bytes, usize::from(*ttl_at) - 4))
    }

    /// The message itself, as if asked over a stream without EDNS.
    pub fn message(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes it as the reply to `query`.
    pub fn write(&self, out: &mut Vec<u8>, query: &Query<'_>, transport: Transport, aged: Aged) {
        out.clear();
        let opt = if query.edns.is_some() { 11 } else { 0 };
        let limit = reply::limit(query, transport) - opt;
        out.extend_from_slice(&self.bytes);
        out[..2].copy_from_slice(&query.id().to_be_bytes());
        self.flags(out, query);
        let question = query.question();
        if question.len() == usize::from(self.question_end) - HEADER {
            out[HEADER..usize::from(self.question_end)].copy_from_slice(question);
        }
        self.age(out, aged);
        if out.len() > limit {
            self.cut(out, limit);
        }
        if let Some(edns) = query.edns {
            let [high, low] = UDP_SAFE.to_be_bytes();
            let flags = if edns.dnssec_ok { 0x80 } else { 0 };
            out.extend_from_slice(&[0, 0, 41, high, low, 0, 0, flags, 0, 0, 0]);
            let additional = number(out, 10).unwrap_or(0) + 1;
            out[10..12].copy_from_slice(&additional.to_be_bytes());
        }
    }

    /// Ours: never authoritative nor truncated, recursion available. The asker's: RD and CD. The upstream's: AD, for
    /// an asker that knows it (RFC 6840, 5.8), and the code.
    fn flags(&self, out: &mut [u8], query: &Query<'_>) {
        out[2] = 0x80 | query.bytes[2] & 0x01;
        let authentic = query.authentic_data() || query.dnssec_ok();
        let authentic = if authentic { self.bytes[3] & 0x20 } else { 0 };
        out[3] = 0x80 | authentic | query.bytes[3] & 0x10 | self.rcode();
    }

    fn age(&self, out: &mut [u8], aged: Aged) {
        let passed = u32::try_from(aged.age.as_secs()).unwrap_or(u32::MAX);
        for (_, ttl_at) in &self.records {
            let at = usize::from(*ttl_at);
            let Some(slot) = out.get_mut(at..at + 4) else {
                continue;
            };
            let ttl = u32::from_be_bytes([slot[0], slot[1], slot[2], slot[3]]);
            let (least, most) = aged.bounds.unwrap_or((0, u32::MAX));
            let ttl = ttl.clamp(least, most.max(least)).saturating_sub(passed);
            slot.copy_from_slice(&aged.fixed.unwrap_or(ttl).to_be_bytes());
        }
    }

    /// Leaves out whole records from the end; those of the answer section are missed, the others hardly.
    fn cut(&self, out: &mut Vec<u8>, limit: usize) {
        let fits = |(end, _): &&(u16, u16)| usize::from(*end) <= limit;
        let kept = self.records.iter().take_while(fits).count();
        let end = match kept {
            0 => self.question_end,
            kept => self.records[kept - 1].0,
        };
        out.truncate(usize::from(end));
        let kept = u16::try_from(kept).unwrap_or(u16::MAX);
        let answers = kept.min(self.answers);
        let authority = (kept - answers).min(self.authority);
        for (at, count) in [
            (6, answers),
            (8, authority),
            (10, kept - answers - authority),
        ] {
            out[at..at + 2].copy_from_slice(&count.to_be_bytes());
        }
        if answers < self.answers || authority < self.authority {
            out[2] |= 0x02;
        }
    }
}

/// The message as it stands, when its OPT record is the last one or missing and all records belong to the question.
fn plain(message: &[u8], question_end: usize, asked: &Lookup) -> Option<Stored> {
    let counts = [6, 8, 10].map(|at| number(message, at));
    let [Some(answers), Some(authority), Some(mut additional)] = counts else {
        return None;
    };
    let total = usize::from(answers) + usize::from(authority) + usize::from(additional);
    // A record takes 11 octets at least.
    if total > message.len() / 11 || message.len() > usize::from(u16::MAX) {
        return None;
    }
    let mut at = question_end;
    let mut records = Vec::with_capacity(total);
    let mut chain = Chain::new(&asked.name);
    let (mut least, mut denial) = (u32::MAX, None);
    for index in 0..total {
        let owner_at = at;
        let place = skip(message, at)?;
        let kind = number(message, place.fixed)?;
        if kind == rtype::OPT {
            if index + 1 != total || index < usize::from(answers + authority) {
                return None;
            }
            additional -= 1;
            break;
        }
        if index < usize::from(answers) && !chain.holds(message, owner_at, kind, &place) {
            return None;
        }
        let ttl = ttl(message, &place);
        least = least.min(ttl);
        if kind == rtype::SOA && index >= usize::from(answers) {
            denial = Some(soa_minimum(message, &place)?.min(ttl));
        }
        records.push((place.end as u16, place.fixed as u16 + 4));
        at = place.end;
    }
    let mut bytes = message[..at].to_vec();
    bytes[10..12].copy_from_slice(&additional.to_be_bytes());
    Some(Stored {
        bytes: bytes.into(),
        question_end: question_end as u16,
        records: records.into(),
        answers,
        authority,
        // A denial without an SOA is not to be kept (RFC 2308, 5).
        ttl: if answers == 0 {
            denial.unwrap_or(0)
        } else {
            least
        },
    })
}

/// The time that a record lives. One with the upper bit set is none at all (RFC 2181, 8).
fn ttl(message: &[u8], place: &Place) -> u32 {
    let at = place.fixed + 4;
    let octets = [0, 1, 2, 3].map(|offset| message[at + offset]);
    let ttl = u32::from_be_bytes(octets);
    if ttl >> 31 == 0 { ttl } else { 0 }
}

fn soa_minimum(message: &[u8], place: &Place) -> Option<u32> {
    let at = place.data.end.checked_sub(4)?;
    (at >= place.data.start).then_some(())?;
    let octets = message.get(at..at + 4)?;
    Some(u32::from_be_bytes([
        octets[0], octets[1], octets[2], octets[3],
    ]))
}

/// The names that records of an answer may have: the question's, and what aliases lead to.
struct Chain {
    names: Vec<Name<Vec<u8>>>,
}

/// Aliases that one answer may go through.
const CHAIN_MAX: usize = 16;

impl Chain {
    fn new(question: &[u8]) -> Chain {
        let first = Name::from_octets(question.to_vec());
        Chain {
            names: first.into_iter().collect(),
        }
    }

    /// Whether a record of the answer section belongs to it. Aliases come in order, as servers send them.
    fn holds(&mut self, message: &[u8], owner_at: usize, kind: u16, place: &Place) -> bool {
        let Some(owner) = name_at(message, owner_at) else {
            return false;
        };
        if !self.names.iter().any(|name| name.name_eq(&owner)) {
            // A DNAME's owner lies above a name of the chain (RFC 6672).
            let above = Rtype::from_int(kind) == Rtype::DNAME || kind == rtype::RRSIG;
            return above && self.names.iter().any(|name| name.ends_with(&owner));
        }
        if kind == rtype::CNAME {
            let Some(target) = name_at(message, place.data.start) else {
                return false;
            };
            if self.names.len() > CHAIN_MAX {
                return false;
            }
            self.names.push(target);
        }
        true
    }
}

fn name_at(message: &[u8], at: usize) -> Option<Name<Vec<u8>>> {
    let mut parser = domain::dep::octseq::Parser::from_ref(message);
    parser.advance(at).ok()?;
    let name = ParsedName::parse(&mut parser).ok()?;
    Some(name.to_name())
}

/// The message made anew without what does not belong, records in place of bytes.
fn rebuilt(message: &[u8], asked: &Lookup) -> Option<Stored> {
    let parsed = Message::from_octets(message).ok()?;
    let mut chain = Chain::new(&asked.name);
    let target = domain::base::StaticCompressor::new(Vec::with_capacity(message.len()));
    let builder = domain::base::MessageBuilder::from_target(target).ok()?;
    let mut answer = builder
        .start_answer(&parsed, parsed.header().rcode())
        .ok()?;
    answer.header_mut().set_ad(parsed.header().ad());
    for record in parsed.answer().ok()? {
        let record = record.ok()?;
        let owner = record.owner().to_name::<Vec<u8>>();
        if !chain.names.iter().any(|name| name.name_eq(&owner)) {
            continue;
        }
        let record = record
            .to_any_record::<AllRecordData<_, ParsedName<_>>>()
            .ok()?;
        if let AllRecordData::Cname(cname) = record.data()
            && chain.names.len() <= CHAIN_MAX
        {
            chain.names.push(cname.cname().to_name());
        }
        answer.push(record).ok()?;
    }
    let mut authority = answer.authority();
    for record in parsed.authority().ok()? {
        let record = record.ok()?;
        let above = chain
            .names
            .iter()
            .any(|name| name.ends_with(&record.owner()));
        if above {
            let record = record.to_any_record::<AllRecordData<_, ParsedName<_>>>();
            authority.push(record.ok()?).ok()?;
        }
    }
    let mut bytes = authority.finish().into_target();
    // What may be forged is no longer vouched for.
    bytes[3] &= !0x20;
    let question_end = skip_name(&bytes, HEADER)? + 4;
    plain(&bytes, question_end, asked)
}
