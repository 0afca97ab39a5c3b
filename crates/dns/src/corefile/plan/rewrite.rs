//! The `rewrite` plugin's rules.

use regex::Regex;

use super::super::Error;
use super::super::syntax::Directive;
use super::{Words, normalize};

/// How long a pattern may be, as CoreDNS.
pub(super) const PATTERN_MAX: usize = 10_000;
/// How much memory a pattern may compile to.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// What happens after a rule that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// No further rule is tried.
    Stop,
    /// The next rule is.
    Continue,
}

/// Which names a rule concerns, and how. Names are lowered and end in a dot.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// This name.
    Exact(String),
    /// Names that begin so.
    Prefix(String),
    /// Names that end so.
    Suffix(String),
    /// Names that hold this.
    Substring(String),
    /// Names that match.
    Regex(Regex),
}

/// What is changed in answers.
#[derive(Clone, Debug)]
pub enum AnswerRule {
    /// The owner's name.
    Name(Regex, String),
    /// Names in the data.
    Value(Regex, String),
}

/// What a rule changes.
#[derive(Clone, Debug)]
pub enum Subject {
    /// The name asked for.
    Name {
        /// Names concerned.
        matcher: Matcher,
        /// What replaces the match; `{1}` is a group.
        replacement: String,
        /// Answers are turned back.
        auto: bool,
        /// Further changes of answers.
        answers: Vec<AnswerRule>,
    },
    /// The type asked for.
    Type(u16, u16),
    /// The class asked for.
    Class(u16, u16),
    /// The TTLs of answers: at least and at most.
    Ttl(Matcher, u32, u32),
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What follows.
    pub action: Action,
    /// What it does.
    pub subject: Subject,
}

pub fn read(directive: &Directive) -> Result<Vec<Rule>, Error> {
    let mut words = Words::of(directive);
    let action = match words.peek() {
        Some("stop") => Some(Action::Stop),
        Some("continue") => Some(Action::Continue),
        _ => None,
    };
    if action.is_some() {
        words.next();
    }
    let mut all: Vec<&str> = words.rest().iter().map(String::as_str).collect();
    // A block holds the parts of one rule, a line each.
    for inner in &directive.block {
        all.push(&inner.name);
        all.extend(inner.arguments.iter().map(String::as_str));
        Words::of(inner).no_block()?;
    }
    let action = action.unwrap_or(Action::Stop);
    let subject = subject(&all).map_err(|message| words.error(message))?;
    Ok(vec![Rule { action, subject }])
}

fn subject(words: &[&str]) -> Result<Subject, String> {
    match words {
        ["name", rest @ ..] => name(rest),
        ["type", from, to] => Ok(Subject::Type(rtype(from)?, rtype(to)?)),
        ["class", from, to] => Ok(Subject::Class(class(from)?, class(to)?)),
        ["ttl", rest @ ..] => ttl(rest),
        ["answer", ..] => Err("response rewrites must begin with a name rule".to_owned()),
        [kind @ ("edns0" | "cname" | "rcode"), ..] => {
            Err(format!("{kind} rules are not supported"))
        }
        ["type" | "class", ..] => Err("two arguments are needed".to_owned()),
        [other, ..] => Err(format!("invalid rule type {other:?}")),
        [] => Err("a rule is missing".to_owned()),
    }
}

fn rtype(word: &str) -> Result<u16, String> {
    use domain::base::iana::Rtype;
    let known: Result<Rtype, _> = word.parse();
    known
        .map(Rtype::to_int)
        .map_err(|_| format!("{word:?} is no type"))
}

fn class(word: &str) -> Result<u16, String> {
    use domain::base::iana::Class;
    let known: Result<Class, _> = word.parse();
    known
        .map(Class::to_int)
        .map_err(|_| format!("{word:?} is no class"))
}

fn name(words: &[&str]) -> Result<Subject, String> {
    let (kind, from, to, rest) = match words {
        [from, to] => ("exact", *from, *to, &[][..]),
        [kind, from, to, rest @ ..] => (*kind, *from, *to, rest),
        _ => return Err("too few arguments for a name rule".to_owned()),
    };
    let matcher = matcher(kind, from)?;
    let replacement = match kind {
        "exact" | "suffix" => dotted(to),
        _ => to.to_ascii_lowercase(),
    };
    let (mut auto, answers) = answers(rest)?;
    // As CoreDNS: a name that is replaced whole is always turned back.
    auto |= kind == "exact";
    Ok(Subject::Name {
        matcher,
        replacement,
        auto,
        answers,
    })
}

fn matcher(kind: &str, from: &str) -> Result<Matcher, String> {
    Ok(match kind {
        "exact" => Matcher::Exact(dotted(from)),
        "prefix" => Matcher::Prefix(from.to_ascii_lowercase()),
        "suffix" => Matcher::Suffix(dotted(from)),
        "substring" if !from.is_empty() => Matcher::Substring(from.to_ascii_lowercase()),
        "regex" => Matcher::Regex(pattern(from)?),
        other => {
            return Err(format!(
                "name rules match exact, prefix, suffix, substring or regex, not {other:?}"
            ));
        }
    })
}

fn dotted(name: &str) -> String {
    match normalize(name) {
        Some(zone) => zone.to_string(),
        None => format!("{}.", name.trim_end_matches('.').to_ascii_lowercase()),
    }
}

/// A pattern of bounded size.
pub(super) fn pattern(text: &str) -> Result<Regex, String> {
    if text.len() > PATTERN_MAX {
        return Err(format!(
            "regex pattern too long: {} > {PATTERN_MAX}",
            text.len()
        ));
    }
    regex::RegexBuilder::new(text)
        .size_limit(PATTERN_BYTES_MAX)
        .build()
        .map_err(|_| format!("could not parse regex: {text}"))
}

fn answers(words: &[&str]) -> Result<(bool, Vec<AnswerRule>), String> {
    let (mut auto, mut rules) = (false, Vec::new());
    let mut rest = words;
    while !rest.is_empty() {
        rest = match rest {
            ["answer", "auto", rest @ ..] => {
                auto = true;
                rest
            }
            ["answer", "name", from, to, rest @ ..] => {
                rules.push(AnswerRule::Name(pattern(from)?, to.to_ascii_lowercase()));
                rest
            }
            ["answer", "value", from, to, rest @ ..] => {
                rules.push(AnswerRule::Value(pattern(from)?, to.to_ascii_lowercase()));
                rest
            }
            // As CoreDNS' tests have it: `answer` itself may be left out.
            [first, ..] => return Err(format!("unexpected {first:?}")),
            [] => rest,
        };
    }
    let names = rules
        .iter()
        .any(|rule| matches!(rule, AnswerRule::Name(..)));
    if auto && names {
        return Err("answer auto cannot be combined with rules for names of answers".to_owned());
    }
    Ok((auto, rules))
}

/// `ttl [KIND] NAME SECONDS`, `MIN-MAX`, `MIN-` or `-MAX`.
fn ttl(words: &[&str]) -> Result<Subject, String> {
    let (kind, from, seconds) = match words {
        [from, seconds] => ("exact", from, seconds),
        [kind, from, seconds] => (*kind, from, seconds),
        _ => return Err("a name and a number of seconds are needed".to_owned()),
    };
    let bound = |text: &str, default| match text {
        "" => Ok(default),
        text => text
            .parse()
            .map_err(|_| format!("{text:?} is no number of seconds")),
    };
    let (min, max) = match seconds.split_once('-') {
        Some((min, max)) => (bound(min, 0)?, bound(max, u32::MAX)?),
        None => {
            let exact = bound(seconds, 0)?;
            (exact, exact)
        }
    };
    if min > max {
        return Err("the least TTL exceeds the greatest".to_owned());
    }
    Ok(Subject::Ttl(matcher(kind, from)?, min, max))
}
