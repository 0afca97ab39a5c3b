//! What upstream's comments say of types and members, for `kubectl explain`.
//!
//! The texts are read from the table (`data/descriptions.tsv`, made by `cargo xtask schema`) for each document anew and
//! are not kept: few clients ever ask, and the table costs no memory while nobody does.

use std::borrow::Cow;
use std::collections::HashMap;

/// Texts by the OpenAPI name of a type and the JSON name of a member; the type's own text has no member.
pub(super) struct Descriptions(HashMap<(&'static str, &'static str), &'static str>);

impl Descriptions {
    pub(super) fn read() -> Descriptions {
        let mut texts = HashMap::new();
        let mut model = "";
        let tables = [
            include_str!("../data/descriptions.tsv"),
            include_str!("../data/scalar_descriptions.tsv"),
        ];
        for line in tables
            .into_iter()
            .flat_map(str::lines)
            .filter(|l| !l.starts_with('#'))
        {
            let Some((name, text)) = line.split_once('\t') else {
                continue;
            };
            let member = match name.strip_prefix(' ') {
                Some(member) => member,
                None => {
                    model = name;
                    ""
                }
            };
            texts.insert((model, member), text);
        }
        Descriptions(texts)
    }

    /// The text of a type or of one of its members.
    pub(super) fn get(&self, model: &str, member: &str) -> Option<Cow<'static, str>> {
        self.0
            .get(&(model, member))
            .filter(|text| !text.is_empty())
            .map(|text| unescape(text))
    }
}

pub(super) fn unescape(text: &'static str) -> Cow<'static, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        plain.push(match c {
            '\\' => match characters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some(other) => other,
                None => c,
            },
            c => c,
        });
    }
    Cow::Owned(plain)
}
