//! The `template` plugin's options: patterns, and records with holes.
//!
//! Of Go's templates, what DNS templates use is understood: `{{ .Name }}`, `.Zone`, `.Class`, `.Type`, `.Remote`,
//! `{{ .Group.NAME }}`, `{{ index .Match N }}`; anything else is refused.

use regex::Regex;

use super::super::Error;
use super::super::syntax::Directive;
use super::{Fallthrough, Words, ZoneName, rewrite, zones};

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// As it stands.
    Text(String),
    /// The name asked for, with its final dot.
    Name,
    /// The zone that matched.
    Zone,
    /// The class asked for.
    Class,
    /// The type asked for.
    Type,
    /// The asker's address.
    Remote,
    /// A group of the pattern by name.
    Group(String),
    /// A group by number; 0 is all.
    Match(usize),
}

/// A record with holes.
pub type TemplateText = Vec<Segment>;

/// A filled record, as a line of a zone file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub owner: String,
    /// Seconds that it lives.
    pub ttl: u32,
    /// Its type and data.
    pub data: Rdata,
}

/// The data that a template can make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rdata {
    /// A or AAAA.
    Address(std::net::IpAddr),
    /// CNAME (5), PTR (12) or NS (2).
    Name(u16, String),
    /// TXT.
    Txt(Vec<String>),
    /// MX: preference and host.
    Mx(u16, String),
    /// SRV: priority, weight, port and target.
    Srv(u16, u16, u16, String),
    /// SOA: server, mailbox and the five numbers.
    Soa(String, String, [u32; 5]),
}

/// `template CLASS TYPE [ZONES…] { … }`.
#[derive(Clone, Debug)]
pub struct Template {
    /// The class; 255 is any.
    pub class: u16,
    /// The type; 255 is any.
    pub rtype: u16,
    /// Names concerned.
    pub zones: Vec<ZoneName>,
    /// One of these must match the name.
    pub patterns: Vec<Regex>,
    /// Records of each section.
    pub answer: Vec<TemplateText>,
    /// Further ones.
    pub authority: Vec<TemplateText>,
    /// Further ones.
    pub additional: Vec<TemplateText>,
    /// The answer's code.
    pub rcode: u8,
    /// Names that the next plugin may try when no pattern matches.
    pub fallthrough: Fallthrough,
}

pub fn read(directive: &Directive, own: &[ZoneName]) -> Result<Template, Error> {
    let mut words = Words::of(directive);
    let class = match words.need("class")? {
        "ANY" => 255,
        "IN" => 1,
        "CH" => 3,
        other => return Err(words.error(format!("invalid query class {other}"))),
    };
    let rtype = words.need("type")?;
    let rtype = match rtype.parse::<domain::base::iana::Rtype>() {
        Ok(rtype) => rtype.to_int(),
        Err(_) => return Err(words.error(format!("invalid RR class {rtype}"))),
    };
    let mut template = Template {
        class,
        rtype,
        zones: zones::given(words.rest(), own, directive.line)?,
        patterns: Vec::new(),
        answer: Vec::new(),
        authority: Vec::new(),
        additional: Vec::new(),
        rcode: 0,
        fallthrough: Fallthrough::default(),
    };
    for inner in &directive.block {
        property(&mut template, inner)?;
    }
    if template.patterns.is_empty() {
        let all = rewrite::pattern(".*").map_err(|message| words.error(message))?;
        template.patterns.push(all);
    }
    Ok(template)
}

fn property(template: &mut Template, inner: &Directive) -> Result<(), Error> {
    let mut words = Words::of(inner);
    let texts = |words: &mut Words<'_>| -> Result<Vec<TemplateText>, Error> {
        let given = words.rest();
        if given.is_empty() {
            return Err(words.error("a record is missing"));
        }
        let compiled = given.iter().map(|text| segments(text));
        compiled
            .collect::<Result<_, _>>()
            .map_err(|message| words.error(message))
    };
    match inner.name.as_str() {
        "match" => {
            let patterns = words.rest();
            if patterns.is_empty() {
                return Err(words.error("a pattern is missing"));
            }
            for text in patterns {
                let pattern = rewrite::pattern(text).map_err(|message| words.error(message))?;
                template.patterns.push(pattern);
            }
        }
        "answer" => template.answer.extend(texts(&mut words)?),
        "authority" => template.authority.extend(texts(&mut words)?),
        "additional" => template.additional.extend(texts(&mut words)?),
        "rcode" => {
            let word = words.need("rcode")?;
            template.rcode = super::forward::rcode(word)
                .ok_or_else(|| words.error(format!("unknown rcode {word}")))?;
        }
        "fallthrough" => {
            template.fallthrough = Fallthrough::read(inner)?;
            words.rest();
        }
        _ => return Err(words.unknown()),
    }
    words.end()
}

fn segments(text: &str) -> Result<TemplateText, String> {
    let mut segments = Vec::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once("{{") {
        let (inside, after) = from
            .split_once("}}")
            .ok_or_else(|| format!("{text:?}: {{{{ does not end"))?;
        if !before.is_empty() {
            segments.push(Segment::Text(before.to_owned()));
        }
        let inside = inside.trim_matches('-').trim();
        segments.push(hole(inside).ok_or_else(|| format!("{{{{ {inside} }}}} is not supported"))?);
        rest = after;
    }
    if !rest.is_empty() {
        segments.push(Segment::Text(rest.to_owned()));
    }
    Ok(segments)
}

fn hole(inside: &str) -> Option<Segment> {
    Some(match inside {
        ".Name" | ".Question.Name" => Segment::Name,
        ".Zone" => Segment::Zone,
        ".Class" => Segment::Class,
        ".Type" => Segment::Type,
        ".Remote" => Segment::Remote,
        other => {
            if let Some(group) = other.strip_prefix(".Group.") {
                let plain = group.chars().all(|c| c.is_alphanumeric() || c == '_');
                return plain.then(|| Segment::Group(group.to_owned()));
            }
            let mut words = other.split_whitespace();
            let (index, list, number) = (words.next()?, words.next()?, words.next()?);
            if index != "index" || words.next().is_some() {
                return None;
            }
            match list {
                ".Match" => Segment::Match(number.parse().ok()?),
                ".Group" => Segment::Group(number.trim_matches('"').to_owned()),
                _ => return None,
            }
        }
    })
}

impl Record {
    /// Reads `owner ttl [class] type data…`, as a zone file has it; the TTL may be left out.
    pub fn parse(line: &str) -> Option<Record> {
        let mut words = line.split_whitespace().peekable();
        let owner = words.next()?.to_owned();
        let ttl = words.peek()?.parse().ok();
        if ttl.is_some() {
            words.next();
        }
        let class = words.peek()?.eq_ignore_ascii_case("IN");
        if class {
            words.next();
        }
        let kind = words.next()?.to_ascii_uppercase();
        let data = match kind.as_str() {
            "TXT" => Rdata::Txt(strings(line, &kind)?),
            kind => rdata(kind, &mut words)?,
        };
        let ttl = ttl.unwrap_or(3600);
        Some(Record { owner, ttl, data })
    }
}

fn rdata<'a>(kind: &str, words: &mut impl Iterator<Item = &'a str>) -> Option<Rdata> {
    let data = match kind {
        "A" => Rdata::Address(words.next()?.parse::<std::net::Ipv4Addr>().ok()?.into()),
        "AAAA" => Rdata::Address(words.next()?.parse::<std::net::Ipv6Addr>().ok()?.into()),
        "CNAME" => Rdata::Name(5, words.next()?.to_owned()),
        "PTR" => Rdata::Name(12, words.next()?.to_owned()),
        "NS" => Rdata::Name(2, words.next()?.to_owned()),
        "MX" => Rdata::Mx(words.next()?.parse().ok()?, words.next()?.to_owned()),
        "SRV" => {
            let mut number = || words.next()?.parse().ok();
            let (priority, weight, port) = (number()?, number()?, number()?);
            Rdata::Srv(priority, weight, port, words.next()?.to_owned())
        }
        "SOA" => {
            let (server, mailbox) = (words.next()?.to_owned(), words.next()?.to_owned());
            let mut numbers = [0; 5];
            for number in &mut numbers {
                *number = words.next()?.trim_matches(['(', ')']).parse().ok()?;
            }
            Rdata::Soa(server, mailbox, numbers)
        }
        _ => return None,
    };
    words.next().is_none().then_some(data)
}

/// The strings of a TXT record, in quotes or bare.
fn strings(line: &str, kind: &str) -> Option<Vec<String>> {
    let at = line.to_ascii_uppercase().find(&format!(" {kind} "))?;
    let mut rest = line[at + kind.len() + 2..].trim();
    let mut strings = Vec::new();
    while !rest.is_empty() {
        let (string, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        if string.len() > 255 {
            return None;
        }
        strings.push(string.to_owned());
        rest = after.trim_start();
    }
    (!strings.is_empty()).then_some(strings)
}
