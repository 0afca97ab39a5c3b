//! Answers made up by patterns.

use std::net::IpAddr;

use crate::corefile::plan::{Rdata, Record as Line, Segment, Template, TemplateText};
use crate::metrics::type_name;
use crate::said::{Record, Said, name_wire};
use crate::wire::{Query, rcode, rtype};

/// What a template says to a question.
#[derive(Debug)]
pub enum Outcome {
    /// It does not concern it.
    Other,
    /// This.
    Said(Said),
}

/// Whether a template concerns the question at all.
pub fn concerns(template: &Template, query: &Query<'_>) -> bool {
    let is = |own: u16, asked: u16| own == 255 || own == asked;
    is(template.class, query.qclass)
        && is(template.rtype, query.qtype)
        && template
            .zones
            .iter()
            .any(|zone| zone.covers(query.name.as_str()))
}

/// Answers by the first pattern that matches. Without one, the name does not exist, unless others may be asked.
pub fn answer(template: &Template, query: &Query<'_>, asker: IpAddr) -> Outcome {
    let name = format!("{}.", query.name.as_str());
    let covering = template
        .zones
        .iter()
        .filter(|zone| zone.covers(query.name.as_str()));
    let zone = covering.max_by_key(|zone| zone.as_str().len());
    let zone = zone.map(ToString::to_string).unwrap_or_default();
    let found = template
        .patterns
        .iter()
        .find_map(|pattern| pattern.captures(&name));
    let Some(found) = found else {
        // As CoreDNS: no match goes on to the next plugin.
        return Outcome::Other;
    };
    let fill = |texts: &[TemplateText]| -> Option<Vec<Record>> {
        texts
            .iter()
            .map(|text| {
                let line = filled(text, &name, &zone, query, asker, &found);
                record(&Line::parse(&line)?)
            })
            .collect()
    };
    let sections = (
        fill(&template.answer),
        fill(&template.authority),
        fill(&template.additional),
    );
    let (Some(answer), Some(authority), Some(additional)) = sections else {
        return Outcome::Said(Said::code(rcode::SERVFAIL));
    };
    Outcome::Said(Said {
        rcode: template.rcode,
        authoritative: true,
        authentic: false,
        answer,
        authority,
        additional,
    })
}

fn filled(
    text: &TemplateText,
    name: &str,
    zone: &str,
    query: &Query<'_>,
    asker: IpAddr,
    found: &regex::Captures<'_>,
) -> String {
    let mut line = String::new();
    for segment in text {
        match segment {
            Segment::Text(text) => line.push_str(text),
            Segment::Name => line.push_str(name),
            Segment::Zone => line.push_str(zone),
            Segment::Class => line.push_str(if query.qclass == 3 { "CH" } else { "IN" }),
            Segment::Type => line.push_str(type_name(query.qtype)),
            Segment::Remote => line.push_str(&asker.to_string()),
            Segment::Group(group) => {
                line.push_str(found.name(group).map_or("", |group| group.as_str()));
            }
            Segment::Match(at) => line.push_str(found.get(*at).map_or("", |group| group.as_str())),
        }
    }
    line
}

fn record(line: &Line) -> Option<Record> {
    let (rtype, data) = match &line.data {
        Rdata::Address(IpAddr::V4(v4)) => (rtype::A, v4.octets().to_vec()),
        Rdata::Address(IpAddr::V6(v6)) => (rtype::AAAA, v6.octets().to_vec()),
        Rdata::Name(rtype, name) => (*rtype, name_wire(name)?),
        Rdata::Txt(strings) => {
            let mut data = Vec::new();
            for string in strings {
                data.push(u8::try_from(string.len()).ok()?);
                data.extend_from_slice(string.as_bytes());
            }
            (rtype::TXT, data)
        }
        Rdata::Mx(preference, host) => {
            let name = name_wire(host)?;
            (rtype::MX, [&preference.to_be_bytes()[..], &name].concat())
        }
        Rdata::Srv(priority, weight, port, target) => {
            let mut data = Vec::new();
            for number in [priority, weight, port] {
                data.extend_from_slice(&number.to_be_bytes());
            }
            data.extend_from_slice(&name_wire(target)?);
            (rtype::SRV, data)
        }
        Rdata::Soa(server, mailbox, numbers) => {
            let mut data = [name_wire(server)?, name_wire(mailbox)?].concat();
            for number in numbers {
                data.extend_from_slice(&number.to_be_bytes());
            }
            (rtype::SOA, data)
        }
    };
    Some(Record {
        owner: name_wire(&line.owner)?,
        rtype,
        ttl: line.ttl,
        data,
    })
}
