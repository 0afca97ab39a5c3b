//! Questions changed before they are answered, and answers changed back.

use regex::Regex;

use crate::corefile::plan::{Action, AnswerRule, Matcher, Rule, Subject};
use crate::said::{Record, Said, name_text, name_wire};
use crate::wire::rtype;

/// A question as rules see it: the name as text with its final dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The name, lowered.
    pub name: String,
    /// The type.
    pub qtype: u16,
    /// The class.
    pub qclass: u16,
}

/// How an answer is turned back.
#[derive(Clone, Debug)]
enum Back {
    /// This whole name is that one.
    Name(String, String),
    /// Names that end in this end in that.
    Suffix(String, String),
    /// By rules.
    Rules(Vec<AnswerRule>),
    /// TTLs lie between.
    Ttl(u32, u32),
}

/// What rules made of a question.
#[derive(Debug, Default)]
pub struct Rewritten {
    backs: Vec<Back>,
}

/// Whether any rule concerns the question.
pub fn concerns(rules: &[Rule], asked: &Asked) -> bool {
    rules.iter().any(|rule| match &rule.subject {
        Subject::Name { matcher, .. } | Subject::Ttl(matcher, ..) => {
            replaced(matcher, "", &asked.name).is_some()
        }
        Subject::Type(from, _) => *from == asked.qtype,
        Subject::Class(from, _) => *from == asked.qclass,
    })
}

/// Applies the rules in order. A name that they make and that is none leaves the question as it was.
pub fn apply(rules: &[Rule], asked: &mut Asked) -> Rewritten {
    let mut rewritten = Rewritten::default();
    for rule in rules {
        if one(rule, asked, &mut rewritten.backs) && rule.action == Action::Stop {
            break;
        }
    }
    rewritten
}

fn one(rule: &Rule, asked: &mut Asked, backs: &mut Vec<Back>) -> bool {
    match &rule.subject {
        Subject::Type(from, to) => {
            let hit = asked.qtype == *from;
            asked.qtype = if hit { *to } else { asked.qtype };
            hit
        }
        Subject::Class(from, to) => {
            let hit = asked.qclass == *from;
            asked.qclass = if hit { *to } else { asked.qclass };
            hit
        }
        Subject::Ttl(matcher, least, most) => {
            let hit = replaced(matcher, "", &asked.name).is_some();
            if hit {
                backs.push(Back::Ttl(*least, *most));
            }
            hit
        }
        Subject::Name {
            matcher,
            replacement,
            auto,
            answers,
        } => {
            let Some(name) = replaced(matcher, replacement, &asked.name) else {
                return false;
            };
            let name = if name.ends_with('.') {
                name
            } else {
                name + "."
            };
            if name_wire(&name).is_none() {
                return false;
            }
            match (matcher, auto) {
                (Matcher::Suffix(suffix), true) => {
                    backs.push(Back::Suffix(replacement.clone(), suffix.clone()));
                }
                (_, true) => backs.push(Back::Name(name.clone(), asked.name.clone())),
                (_, false) => {}
            }
            if !answers.is_empty() {
                backs.push(Back::Rules(answers.clone()));
            }
            asked.name = name;
            true
        }
    }
}

fn replaced(matcher: &Matcher, to: &str, name: &str) -> Option<String> {
    match matcher {
        Matcher::Exact(from) => (from == name).then(|| to.to_owned()),
        Matcher::Prefix(from) => name
            .strip_prefix(from.as_str())
            .map(|rest| format!("{to}{rest}")),
        Matcher::Suffix(from) => name
            .strip_suffix(from.as_str())
            .map(|rest| format!("{rest}{to}")),
        Matcher::Substring(from) => name.contains(from.as_str()).then(|| name.replace(from, to)),
        Matcher::Regex(pattern) => expanded(pattern, to, name),
    }
}

/// `{1}` in `to` is the first group of the match.
fn expanded(pattern: &Regex, to: &str, name: &str) -> Option<String> {
    let found = pattern.captures(name)?;
    let mut text = to.to_owned();
    for (at, group) in found.iter().enumerate() {
        let group = group.map_or("", |group| group.as_str());
        text = text.replace(&format!("{{{at}}}"), group);
    }
    Some(text)
}

impl Rewritten {
    /// Turns an answer back.
    pub fn turn_back(&self, said: &mut Said) {
        for back in self.backs.iter().rev() {
            let records = said
                .answer
                .iter_mut()
                .chain(&mut said.authority)
                .chain(&mut said.additional);
            for record in records {
                turn_one(back, record);
            }
        }
    }
}

fn turn_one(back: &Back, record: &mut Record) {
    if let Back::Ttl(least, most) = back {
        record.ttl = record.ttl.clamp(*least, *most);
        return;
    }
    let owner = name_text(&record.owner);
    if let Some(wire) = turned(back, &owner, false).and_then(|name| name_wire(&name)) {
        record.owner = wire;
    }
    // The name in the data of the types that end in one.
    let at = match record.rtype {
        rtype::CNAME | rtype::PTR | rtype::NS => 0,
        rtype::MX => 2,
        rtype::SRV => 6,
        _ => return,
    };
    let Some(value) = record.data.get(at..).map(name_text) else {
        return;
    };
    if let Some(wire) = turned(back, &value, true).and_then(|name| name_wire(&name)) {
        record.data.truncate(at);
        record.data.extend_from_slice(&wire);
    }
}

fn turned(back: &Back, name: &str, value: bool) -> Option<String> {
    match back {
        Back::Name(from, to) => (name == from).then(|| to.clone()),
        Back::Suffix(from, to) => name
            .strip_suffix(from.as_str())
            .map(|rest| format!("{rest}{to}")),
        Back::Rules(rules) => rules.iter().find_map(|rule| match rule {
            AnswerRule::Name(pattern, to) if !value => expanded(pattern, to, name),
            AnswerRule::Value(pattern, to) if value => expanded(pattern, to, name),
            _ => None,
        }),
        Back::Ttl(..) => None,
    }
}
