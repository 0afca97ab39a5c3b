//! A reply as records, for answers that are put together: aliases that are followed, rewritten names, templates.
//!
//! The common answers never come by here; they are written from the zone or from what is kept.

use domain::base::iana::Class;
use domain::base::name::ToName;
use domain::base::rdata::ComposeRecordData;
use domain::base::{Message, Name, ParsedName};
use domain::rdata::AllRecordData;

use crate::reply::{Owner, Reply, Section};
use crate::wire::{Query, Transport};

/// A record without compression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is, on the wire.
    pub owner: Vec<u8>,
    /// Its type.
    pub rtype: u16,
    /// Seconds that it lives.
    pub ttl: u32,
    /// Its data.
    pub data: Vec<u8>,
}

/// A reply's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The code.
    pub rcode: u8,
    /// Said of a zone of ours.
    pub authoritative: bool,
    /// DNSSEC was checked, says the upstream.
    pub authentic: bool,
    /// What was asked for.
    pub answer: Vec<Record>,
    /// Who says so.
    pub authority: Vec<Record>,
    /// What is asked for next, without OPT.
    pub additional: Vec<Record>,
}

impl Said {
    /// Only a code.
    pub fn code(rcode: u8) -> Said {
        Said {
            rcode,
            ..Said::default()
        }
    }

    /// Reads a message; `None` when it is malformed.
    pub fn parse(message: &[u8]) -> Option<Said> {
        let parsed = Message::from_octets(message).ok()?;
        let mut said = Said {
            rcode: message.get(3)? & 0xf,
            authoritative: parsed.header().aa(),
            authentic: parsed.header().ad(),
            ..Said::default()
        };
        let (_, answer, authority, additional) = parsed.sections().ok()?;
        said.answer = records(answer)?;
        said.authority = records(authority)?;
        said.additional = records(additional)?;
        Some(said)
    }

    /// Writes it as the reply to `query`.
    pub fn write(&self, out: &mut Vec<u8>, query: &Query<'_>, transport: Transport) {
        let mut reply = Reply::start(out, query, transport, self.rcode);
        if !self.authoritative {
            reply.not_authoritative();
        }
        if self.authentic && (query.authentic_data() || query.dnssec_ok()) {
            reply.authentic();
        }
        let sections = [
            (Section::Answer, &self.answer),
            (Section::Authority, &self.authority),
            (Section::Additional, &self.additional),
        ];
        'all: for (section, records) in sections {
            for record in records {
                let owner = Owner::Name(&record.owner);
                let data = |reply: &mut Reply<'_>| reply.bytes(&record.data);
                if !reply.record(section, owner, record.rtype, record.ttl, data) {
                    break 'all;
                }
            }
        }
        reply.finish(0);
    }
}

fn records(section: domain::base::message::RecordSection<'_, &[u8]>) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    for record in section {
        let record = record.ok()?;
        if record.rtype().to_int() == crate::wire::rtype::OPT {
            continue;
        }
        if record.class() != Class::IN {
            return None;
        }
        let owner = record.owner().to_name::<Vec<u8>>();
        let typed = record
            .to_record::<AllRecordData<_, ParsedName<_>>>()
            .ok()??;
        let mut data = Vec::new();
        // A Vec takes all that it is given.
        let _ = typed.data().compose_rdata(&mut data);
        records.push(Record {
            owner: owner.as_slice().to_vec(),
            rtype: typed.rtype().to_int(),
            ttl: typed.ttl().as_secs(),
            data,
        });
    }
    Some(records)
}

/// A name on the wire, from text; `None` when it is none.
pub fn name_wire(text: &str) -> Option<Vec<u8>> {
    let bare = text.strip_suffix('.').unwrap_or(text);
    if bare.is_empty() {
        return Some(vec![0]);
    }
    let mut wire = Vec::with_capacity(bare.len() + 2);
    for label in bare.split('.') {
        if label.is_empty() || label.len() > 63 {
            return None;
        }
        wire.push(label.len() as u8);
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    (wire.len() <= 255).then_some(wire)
}

/// A name as text with its final dot, in lower case.
pub fn name_text(wire: &[u8]) -> String {
    match Name::from_octets(wire) {
        Ok(name) if wire.len() == 1 => {
            let _ = name;
            ".".to_owned()
        }
        Ok(name) => format!("{name}.").to_ascii_lowercase(),
        Err(_) => String::new(),
    }
}

/// A query for another name, type and class, otherwise as `query`.
pub fn asked_instead(query: &Query<'_>, name: &[u8], qtype: u16, qclass: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 + name.len());
    bytes.extend_from_slice(&query.bytes[..4]);
    bytes.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, u8::from(query.edns.is_some())]);
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(&qtype.to_be_bytes());
    bytes.extend_from_slice(&qclass.to_be_bytes());
    if let Some(edns) = query.edns {
        let [high, low] = edns.size.to_be_bytes();
        let flags = if edns.dnssec_ok { 0x80 } else { 0 };
        bytes.extend_from_slice(&[0, 0, 41, high, low, 0, 0, flags, 0, 0, 0]);
    }
    bytes
}
