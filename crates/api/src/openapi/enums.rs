//! The values of members that are enumerations, with upstream's texts (`data/enums.tsv`).

use std::collections::HashMap;

use serde_json::Value;

use super::descriptions::unescape;

/// What is said of one member.
pub(super) struct Enum {
    /// Whether it is a list, whose items have the values.
    pub(super) items: bool,
    pub(super) values: Value,
    /// What each of them means; empty when upstream does not say.
    pub(super) text: String,
}

/// Enumerations by the OpenAPI name of a type and the JSON name of a member.
pub(super) struct Enums(HashMap<(&'static str, &'static str), Enum>);

impl Enums {
    pub(super) fn read() -> Enums {
        let mut enums = HashMap::new();
        let mut model = "";
        let lines = include_str!("../data/enums.tsv").lines();
        for line in lines.filter(|l| !l.starts_with('#')) {
            let Some(member) = line.strip_prefix(' ') else {
                model = line;
                continue;
            };
            let mut columns = member.split('\t');
            let mut next = || columns.next().unwrap_or_default();
            let (name, place, values, text) = (next(), next(), next(), next());
            let entry = Enum {
                items: place == "items",
                values: serde_json::from_str(values).unwrap_or_default(),
                text: unescape(text).into_owned(),
            };
            enums.insert((model, name), entry);
        }
        Enums(enums)
    }

    pub(super) fn get<'e>(&'e self, model: &'e str, member: &'e str) -> Option<&'e Enum> {
        self.0.get(&(model, member))
    }
}
