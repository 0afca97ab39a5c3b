//! One query's bytes in, one reply's bytes out.
//!
//! Pure. The reply carries the question in the asker's own spelling (0x20), compresses owner names
//! into it, and never exceeds what the asker can take.

use std::net::IpAddr;

use domain::base::iana::{Class, Opcode, OptRcode, Rcode, Rtype};
use domain::base::message_builder::{AdditionalBuilder, AnswerBuilder, PushError};
use domain::base::record::ComposeRecord;
use domain::base::wire::Composer;
use domain::base::{
    CharStr, Message, MessageBuilder, ParsedName, Question, Serial, StaticCompressor, ToName, Ttl,
};
use domain::rdata::{A, Aaaa, AllRecordData, Cname, Hinfo, Ns, Ptr, Soa, Srv, Txt};

use crate::zone::{Data, Lowered, OwnedName, Verdict, Want, Zone};

/// Seconds that a resolver may keep an answer, and a negative one (CoreDNS' default for the latter).
const TTL: Ttl = Ttl::from_secs(5);

/// The datagram that crosses any sane path whole (DNS flag day 2020).
const UDP_SAFE: u16 = 1232;

/// Octets of our OPT record: root name, type, class, TTL, empty data.
const OPT_LEN: usize = 11;

/// How the query came, which bounds the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// A stream with two octets of length.
    Tcp,
}

/// What is to be done with a query.
#[derive(Debug)]
pub enum Step {
    /// Send this.
    Reply(Vec<u8>),
    /// Ask an upstream and send what it says.
    Forward,
    /// An ExternalName outside the zone: ask an upstream for the target, then [`finish_alias`].
    Chase(OwnedName),
    /// Not a query: say nothing.
    Drop,
}

type Target = StaticCompressor<Vec<u8>>;
type Asked<'a> = Question<ParsedName<&'a [u8]>>;

/// Decides about one query.
pub fn respond(query: &[u8], zone: &Zone, transport: Transport) -> Step {
    let Ok(message) = Message::from_octets(query) else {
        return Step::Drop;
    };
    if message.header().qr() {
        return Step::Drop;
    }
    let reply = Reply {
        message: &message,
        transport,
    };
    if message.header().opcode() != Opcode::QUERY {
        return reply.error(Rcode::NOTIMP);
    }
    let Ok(question) = message.sole_question() else {
        return reply.error(Rcode::FORMERR);
    };
    if message.opt().is_some_and(|opt| opt.version() > 0) {
        return reply.bad_version();
    }
    if question.qclass() != Class::IN {
        return reply.error(Rcode::REFUSED);
    }
    reply.look_up(&question, zone)
}

/// SERVFAIL or REFUSED for a query that nobody could answer.
pub fn fail(query: &[u8], transport: Transport, rcode: Rcode) -> Option<Vec<u8>> {
    let message = Message::from_octets(query).ok()?;
    let reply = Reply {
        message: &message,
        transport,
    };
    match reply.error(rcode) {
        Step::Reply(bytes) => Some(bytes),
        _ => None,
    }
}

/// The reply to a query for an ExternalName: the alias, then whatever `upstream` said of the target.
pub fn finish_alias(
    query: &[u8],
    target: &OwnedName,
    upstream: Option<&[u8]>,
    transport: Transport,
) -> Option<Vec<u8>> {
    let message = Message::from_octets(query).ok()?;
    let question = message.sole_question().ok()?;
    let reply = Reply {
        message: &message,
        transport,
    };
    let upstream = upstream.and_then(|bytes| Message::from_octets(bytes).ok());
    let rcode = match &upstream {
        Some(upstream) => upstream.header().rcode(),
        None => Rcode::SERVFAIL,
    };
    match reply.write(rcode, |answer| {
        answer.push((question.qname(), Class::IN, TTL, Cname::new(target)))?;
        let Some(Ok(records)) = upstream.as_ref().map(Message::answer) else {
            return Ok(());
        };
        for record in records
            .limit_to::<AllRecordData<_, ParsedName<_>>>()
            .flatten()
        {
            answer.push(record)?;
        }
        Ok(())
    }) {
        Step::Reply(bytes) => Some(bytes),
        _ => None,
    }
}

/// A query for `name` with `like`'s type, to be sent to an upstream under `id`.
pub fn query_for(like: &[u8], name: &OwnedName, id: u16) -> Option<Vec<u8>> {
    let like = Message::from_octets(like).ok()?;
    let qtype = like.sole_question().ok()?.qtype();
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(true);
    let mut question = builder.question();
    question.push((name, qtype)).ok()?;
    Some(question.finish())
}

struct Reply<'a> {
    message: &'a Message<&'a [u8]>,
    transport: Transport,
}

impl Reply<'_> {
    /// The most octets that the asker takes, our OPT record included.
    fn limit(&self) -> usize {
        let offered = self.message.opt().map_or(512, |opt| opt.udp_payload_size());
        match self.transport {
            Transport::Udp => usize::from(offered.clamp(512, UDP_SAFE)),
            Transport::Tcp => usize::from(u16::MAX),
        }
    }

    fn look_up(&self, question: &Asked<'_>, zone: &Zone) -> Step {
        let name = Lowered::new(question.qname());
        let want = want(question.qtype());
        match zone.look_up(&name, want) {
            Verdict::Elsewhere => Step::Forward,
            Verdict::NotSynced => self.error(Rcode::SERVFAIL),
            Verdict::NoSuchName => self.negative(zone, Rcode::NXDOMAIN),
            Verdict::Alias(target) => self.alias(question, target, zone),
            Verdict::Records { .. } if question.qtype() == Rtype::ANY => self.any(question),
            Verdict::Records { records, .. } if records.is_empty() => {
                self.negative(zone, Rcode::NOERROR)
            }
            Verdict::Records {
                records,
                additional,
            } => self.positive(question, zone, &records, &additional),
        }
    }

    fn positive(
        &self,
        question: &Asked<'_>,
        zone: &Zone,
        records: &[Data],
        additional: &[(OwnedName, IpAddr)],
    ) -> Step {
        // Each query begins at another record, so that clients which take the first one spread.
        let first = usize::from(self.message.header().id()) % records.len();
        let (head, tail) = records.split_at(first);
        self.write_with_additional(
            |answer| {
                for data in tail.iter().chain(head) {
                    push(answer, question.qname(), data, zone)?;
                }
                Ok(())
            },
            additional,
        )
    }

    /// An ExternalName: its target is followed here when it lies in the zone, outside by the caller.
    fn alias(&self, question: &Asked<'_>, target: OwnedName, zone: &Zone) -> Step {
        let alias = |answer: &mut AnswerBuilder<Target>| {
            answer.push((question.qname(), Class::IN, TTL, Cname::new(&target)))
        };
        if question.qtype() == Rtype::CNAME {
            return self.write(Rcode::NOERROR, alias);
        }
        match zone.look_up(&Lowered::new(&target), want(question.qtype())) {
            Verdict::Elsewhere if self.message.header().rd() => Step::Chase(target),
            Verdict::NoSuchName => self.write(Rcode::NXDOMAIN, alias),
            Verdict::Records { records, .. } => self.write(Rcode::NOERROR, |answer| {
                alias(answer)?;
                for data in &records {
                    push(answer, &target, data, zone)?;
                }
                Ok(())
            }),
            // A second alias is left to the asker: a chain of them could be a loop.
            Verdict::Elsewhere | Verdict::Alias(_) | Verdict::NotSynced => {
                self.write(Rcode::NOERROR, alias)
            }
        }
    }

    /// RFC 8482: one synthetic record instead of everything.
    fn any(&self, question: &Asked<'_>) -> Step {
        self.write(Rcode::NOERROR, |answer| {
            let cpu = CharStr::from_octets(b"RFC8482".as_slice()).expect("seven octets fit");
            let os = CharStr::from_octets(b"".as_slice()).expect("no octets fit");
            answer.push((question.qname(), Class::IN, TTL, Hinfo::new(cpu, os)))
        })
    }

    /// NXDOMAIN or NODATA, with the SOA that lets resolvers keep it (RFC 2308).
    fn negative(&self, zone: &Zone, rcode: Rcode) -> Step {
        let answer = match self.start(rcode) {
            Ok(answer) => answer,
            Err(_) => return Step::Drop,
        };
        let mut authority = answer.authority();
        if push_soa_record(&mut authority, zone.origin(), zone).is_err() {
            authority.rewind();
        }
        self.finish(authority.additional())
    }

    fn error(&self, rcode: Rcode) -> Step {
        match self.start(rcode) {
            Ok(mut answer) => {
                answer.header_mut().set_aa(false);
                self.finish(answer.additional())
            }
            Err(_) => Step::Drop,
        }
    }

    /// RFC 6891, 6.1.3.
    fn bad_version(&self) -> Step {
        let Ok(answer) = self.start(Rcode::NOERROR) else {
            return Step::Drop;
        };
        let mut additional = answer.additional();
        additional.clear_push_limit();
        let pushed = additional.opt(|opt| {
            opt.set_udp_payload_size(UDP_SAFE);
            opt.set_rcode(OptRcode::BADVERS);
            Ok(())
        });
        match pushed {
            Ok(()) => Step::Reply(additional.finish().into_target()),
            Err(_) => Step::Drop,
        }
    }

    fn write(
        &self,
        rcode: Rcode,
        fill: impl FnOnce(&mut AnswerBuilder<Target>) -> Result<(), PushError>,
    ) -> Step {
        let Ok(mut answer) = self.start(rcode) else {
            return Step::Drop;
        };
        let answer = match fill(&mut answer) {
            Ok(()) => answer,
            // What does not fit is asked for again over TCP (RFC 2181, 9).
            Err(_) => answer.tc_rewind_into_answer(),
        };
        self.finish(answer.additional())
    }

    fn write_with_additional(
        &self,
        fill: impl FnOnce(&mut AnswerBuilder<Target>) -> Result<(), PushError>,
        addresses: &[(OwnedName, IpAddr)],
    ) -> Step {
        let Ok(mut answer) = self.start(Rcode::NOERROR) else {
            return Step::Drop;
        };
        if fill(&mut answer).is_err() {
            return self.finish(answer.tc_rewind_into_answer().additional());
        }
        let mut additional = answer.additional();
        for (name, address) in addresses {
            // The additional section is a courtesy: what doesn't fit is left out without a word.
            if push(&mut additional, name, &Data::Address(*address), None).is_err() {
                break;
            }
        }
        self.finish(additional)
    }

    fn start(&self, rcode: Rcode) -> Result<AnswerBuilder<Target>, PushError> {
        let target = StaticCompressor::new(Vec::with_capacity(512));
        let mut builder = MessageBuilder::from_target(target).expect("a Vec grows");
        let reserved = match self.message.opt() {
            Some(_) => OPT_LEN,
            None => 0,
        };
        builder.set_push_limit(self.limit() - reserved);
        let mut answer = builder.start_answer(self.message, rcode)?;
        answer.header_mut().set_aa(true);
        answer.header_mut().set_ra(true);
        Ok(answer)
    }

    fn finish(&self, mut additional: AdditionalBuilder<Target>) -> Step {
        if self.message.opt().is_some() {
            additional.clear_push_limit();
            let pushed = additional.opt(|opt| {
                opt.set_udp_payload_size(UDP_SAFE);
                Ok(())
            });
            if pushed.is_err() {
                return Step::Drop;
            }
        }
        Step::Reply(additional.finish().into_target())
    }
}

/// The answer section emptied and marked as truncated.
trait Truncated {
    fn tc_rewind_into_answer(self) -> Self;
}

impl Truncated for AnswerBuilder<Target> {
    fn tc_rewind_into_answer(mut self) -> Self {
        self.rewind();
        self.header_mut().set_tc(true);
        self
    }
}

/// A section that takes records.
trait Section {
    fn push_record(&mut self, record: impl ComposeRecord) -> Result<(), PushError>;
}

impl<T: Composer> Section for AnswerBuilder<T> {
    fn push_record(&mut self, record: impl ComposeRecord) -> Result<(), PushError> {
        self.push(record)
    }
}

impl<T: Composer> Section for domain::base::message_builder::AuthorityBuilder<T> {
    fn push_record(&mut self, record: impl ComposeRecord) -> Result<(), PushError> {
        self.push(record)
    }
}

impl<T: Composer> Section for AdditionalBuilder<T> {
    fn push_record(&mut self, record: impl ComposeRecord) -> Result<(), PushError> {
        self.push(record)
    }
}

fn push<'z>(
    section: &mut impl Section,
    owner: &impl ToName,
    data: &Data,
    zone: impl Into<Option<&'z Zone>>,
) -> Result<(), PushError> {
    match data {
        Data::Address(IpAddr::V4(ip)) => section.push_record((owner, Class::IN, TTL, A::new(*ip))),
        Data::Address(IpAddr::V6(ip)) => {
            section.push_record((owner, Class::IN, TTL, Aaaa::new(*ip)))
        }
        Data::Srv {
            port,
            weight,
            target,
        } => section.push_record((owner, Class::IN, TTL, Srv::new(0, *weight, *port, target))),
        Data::Ptr(name) => section.push_record((owner, Class::IN, TTL, Ptr::new(name))),
        Data::Ns(name) => section.push_record((owner, Class::IN, TTL, Ns::new(name))),
        Data::Txt(text) => {
            let text = Txt::<Vec<u8>>::build_from_slice(text.as_bytes()).expect("short texts fit");
            section.push_record((owner, Class::IN, TTL, text))
        }
        Data::Soa => match zone.into() {
            Some(zone) => push_soa_record(section, owner, zone),
            None => Ok(()),
        },
    }
}

fn push_soa_record(
    section: &mut impl Section,
    owner: &impl ToName,
    zone: &Zone,
) -> Result<(), PushError> {
    let server = zone.name_server();
    // The serial never moves: nobody transfers this zone.
    let soa = Soa::new(
        &server,
        zone.origin(),
        Serial(1),
        Ttl::from_secs(7200),
        Ttl::from_secs(1800),
        Ttl::from_secs(86400),
        TTL,
    );
    section.push_record((owner, Class::IN, TTL, soa))
}

fn want(qtype: Rtype) -> Want {
    match qtype {
        Rtype::A => Want::A,
        Rtype::AAAA => Want::Aaaa,
        Rtype::SRV => Want::Srv,
        Rtype::PTR => Want::Ptr,
        Rtype::TXT => Want::Txt,
        Rtype::NS => Want::Ns,
        Rtype::SOA => Want::Soa,
        _ => Want::Other,
    }
}
