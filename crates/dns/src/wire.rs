//! One query's bytes, read in place.
//!
//! Pure, and without allocation. Bounded by the message: names are never followed through pointers, since a question
//! has none and everything else is only stepped over.

use std::ops::Range;

use crate::zone::Lowered;

/// Octets of the header.
pub const HEADER: usize = 12;
/// The record type of EDNS (RFC 6891).
const OPT: u16 = 41;

/// Response codes that are used here.
pub mod rcode {
    /// Fine, also NODATA.
    pub const NOERROR: u8 = 0;
    /// The query is malformed.
    pub const FORMERR: u8 = 1;
    /// Nobody could answer.
    pub const SERVFAIL: u8 = 2;
    /// The name does not exist.
    pub const NXDOMAIN: u8 = 3;
    /// The operation is not supported.
    pub const NOTIMP: u8 = 4;
    /// The operation is not allowed.
    pub const REFUSED: u8 = 5;
    /// EDNS of a later version; the upper bits stand in the OPT record.
    pub const BADVERS: u16 = 16;
}

/// Record types that are used here.
pub mod rtype {
    /// IPv4 address.
    pub const A: u16 = 1;
    /// Name server.
    pub const NS: u16 = 2;
    /// Alias.
    pub const CNAME: u16 = 5;
    /// Start of authority.
    pub const SOA: u16 = 6;
    /// Name of an address.
    pub const PTR: u16 = 12;
    /// Host, here RFC 8482's.
    pub const HINFO: u16 = 13;
    /// Mail exchange.
    pub const MX: u16 = 15;
    /// Text.
    pub const TXT: u16 = 16;
    /// IPv6 address.
    pub const AAAA: u16 = 28;
    /// Service.
    pub const SRV: u16 = 33;
    /// EDNS.
    pub const OPT: u16 = super::OPT;
    /// Signature.
    pub const RRSIG: u16 = 46;
    /// Incremental transfer.
    pub const IXFR: u16 = 251;
    /// Transfer.
    pub const AXFR: u16 = 252;
    /// Everything.
    pub const ANY: u16 = 255;
}

/// The class of the internet.
pub const IN: u16 = 1;

/// How the query came, which bounds the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// A stream with two octets of length.
    Tcp,
}

/// The asker's EDNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// The largest datagram that it takes.
    pub size: u16,
    /// Its version.
    pub version: u8,
    /// It wants DNSSEC's records.
    pub dnssec_ok: bool,
}

/// A query of one question.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The whole message.
    pub bytes: &'a [u8],
    /// The name asked for, lowered.
    pub name: Lowered,
    /// The type asked for.
    pub qtype: u16,
    /// The class asked for.
    pub qclass: u16,
    /// The asker's EDNS.
    pub edns: Option<Edns>,
    name_len: usize,
}

/// A message that is not answered as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Odd {
    /// Not a query: nothing is said.
    Silence,
    /// This code is said.
    Code(u8),
}

impl<'a> Query<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// What is not a plain query, and what to say to it.
    pub fn read(bytes: &'a [u8]) -> Result<Query<'a>, Odd> {
        if bytes.len() < HEADER || bytes[2] & 0x80 != 0 {
            return Err(Odd::Silence);
        }
        if bytes[2] >> 3 & 0xf != 0 {
            return Err(Odd::Code(rcode::NOTIMP));
        }
        let malformed = Odd::Code(rcode::FORMERR);
        let [questions, answers, authority, additional] =
            [4, 6, 8, 10].map(|at| u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        // A query has no records but an SOA (IXFR), OPT and a signature (SIG(0), TSIG).
        if questions != 1 || answers > 1 || authority > 1 || additional > 3 {
            return Err(malformed);
        }
        let (name, name_len) = Lowered::read(&bytes[HEADER..]).ok_or(malformed)?;
        let mut at = HEADER + name_len;
        let qtype = number(bytes, at).ok_or(malformed)?;
        let qclass = number(bytes, at + 2).ok_or(malformed)?;
        at += 4;
        for _ in 0..answers + authority {
            at = skip(bytes, at).ok_or(malformed)?.end;
        }
        let mut edns = None;
        for _ in 0..additional {
            let record = skip(bytes, at).ok_or(malformed)?;
            if number(bytes, record.fixed) == Some(OPT) {
                // The root as owner, and once (RFC 6891, 6.1.1).
                if record.fixed != at + 1 || edns.is_some() {
                    return Err(malformed);
                }
                edns = Some(options(bytes, &record).ok_or(malformed)?);
            }
            at = record.end;
        }
        Ok(Query {
            bytes,
            name,
            qtype,
            qclass,
            edns,
            name_len,
        })
    }

    /// The message's number.
    pub fn id(&self) -> u16 {
        u16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    /// Recursion is asked for.
    pub fn recursion(&self) -> bool {
        self.bytes[2] & 1 != 0
    }

    /// DNSSEC shall not be checked.
    pub fn checking_disabled(&self) -> bool {
        self.bytes[3] & 0x10 != 0
    }

    /// The asker understands the bit that says that DNSSEC was checked.
    pub fn authentic_data(&self) -> bool {
        self.bytes[3] & 0x20 != 0
    }

    /// DNSSEC's records are wanted.
    pub fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    /// The name asked for, as it is on the wire.
    pub fn name_wire(&self) -> &'a [u8] {
        &self.bytes[HEADER..HEADER + self.name_len]
    }

    /// The question, as it is on the wire.
    pub fn question(&self) -> &'a [u8] {
        &self.bytes[HEADER..HEADER + self.name_len + 4]
    }
}

/// Where the parts of a record lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where its type stands.
    pub fixed: usize,
    /// Its data.
    pub data: Range<usize>,
    /// Where the next one begins.
    pub end: usize,
}

/// Steps over a record.
pub fn skip(bytes: &[u8], at: usize) -> Option<Place> {
    let fixed = skip_name(bytes, at)?;
    let length = usize::from(number(bytes, fixed + 8)?);
    let begin = fixed + 10;
    let end = begin + length;
    (end <= bytes.len()).then_some(Place {
        fixed,
        data: begin..end,
        end,
    })
}

/// Steps over a name, which may end in a pointer.
pub fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let len = usize::from(*bytes.get(at)?);
        match len >> 6 {
            0 if len == 0 => return Some(at + 1),
            0 => at += 1 + len,
            3 => return (at + 2 <= bytes.len()).then_some(at + 2),
            _ => return None,
        }
    }
}

/// The number of two octets at `at`.
pub fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([two[0], two[1]]))
}

/// The options' lengths must add up; none of them has a meaning here (a cookie is a client's to send and ours to
/// ignore, RFC 7873, 5.2).
fn options(bytes: &[u8], record: &Place) -> Option<Edns> {
    let mut at = record.data.start;
    while at < record.data.end {
        at += 4 + usize::from(number(bytes, at + 2)?);
    }
    if at != record.data.end {
        return None;
    }
    Some(Edns {
        size: number(bytes, record.fixed + 2)?,
        version: bytes[record.fixed + 5],
        dnssec_ok: bytes[record.fixed + 6] & 0x80 != 0,
    })
}

/// A question by itself: what is asked of upstreams, and kept answers are found by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lookup {
    /// The name on the wire, lowered.
    pub name: Box<[u8]>,
    /// The type.
    pub qtype: u16,
    /// The class.
    pub qclass: u16,
    /// DNSSEC's records are wanted.
    pub dnssec_ok: bool,
    /// DNSSEC shall not be checked.
    pub checking_disabled: bool,
    /// Whether DNSSEC was checked shall be said.
    pub authentic_data: bool,
}

impl Lookup {
    /// What `query` asks for.
    pub fn of(query: &Query<'_>) -> Lookup {
        Lookup {
            name: query.name_wire().to_ascii_lowercase().into(),
            qtype: query.qtype,
            qclass: query.qclass,
            dnssec_ok: query.dnssec_ok(),
            checking_disabled: query.checking_disabled(),
            authentic_data: query.authentic_data() || query.dnssec_ok(),
        }
    }

    /// The same of another name.
    pub fn of_name(&self, name: &[u8]) -> Lookup {
        Lookup {
            name: name.to_ascii_lowercase().into(),
            ..self.clone()
        }
    }

    /// The query that an upstream is sent under `id`: nothing of the asker's but its question and DNSSEC bits.
    pub fn query(&self, id: u16, recursion: bool) -> Vec<u8> {
        let mut query = Vec::with_capacity(HEADER + self.name.len() + 15);
        query.extend_from_slice(&id.to_be_bytes());
        let authentic = if self.authentic_data { 0x20 } else { 0 };
        let unchecked = if self.checking_disabled { 0x10 } else { 0 };
        query.extend_from_slice(&[u8::from(recursion), authentic | unchecked]);
        query.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 1]);
        query.extend_from_slice(&self.name);
        query.extend_from_slice(&self.qtype.to_be_bytes());
        query.extend_from_slice(&self.qclass.to_be_bytes());
        let [high, low] = crate::reply::UDP_SAFE.to_be_bytes();
        let flags = if self.dnssec_ok { 0x80 } else { 0 };
        query.extend_from_slice(&[0, 0, OPT as u8, high, low, 0, 0, flags, 0, 0, 0]);
        query
    }

    /// The name as text, lowered.
    pub fn lowered(&self) -> Option<Lowered> {
        Lowered::read(&self.name).map(|(name, _)| name)
    }
}
