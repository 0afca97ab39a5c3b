//! Reads the table of columns.

use crate::resource::Name;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::OnceLock;

/// One column of a Table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// What stands over it.
    pub name: Name,
    /// `string`, `integer`, `boolean`, `date`.
    #[serde(rename = "type")]
    pub kind: Name,
    /// `name` for the first, mostly empty.
    pub format: Name,
    /// A text for people.
    pub description: String,
    /// 0: always shown; 1: only in wide output.
    pub priority: i32,
}

type Columns = HashMap<(&'static str, &'static str, &'static str), Vec<Column>>;

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => {}
            },
            c => out.push(c),
        }
    }
    out
}

fn load(text: &'static str) -> Columns {
    let mut shared = Vec::new();
    let mut columns = Columns::new();
    let mut key = ("", "", "");
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        if let Some(rest) = line.strip_prefix('$') {
            shared.push(unescape(rest.split_once('\t').map_or("", |(_, t)| t)));
        } else if let Some(rest) = line.strip_prefix('@') {
            let mut parts = rest.splitn(3, '/');
            let mut next = || parts.next().unwrap_or("");
            key = (next(), next(), next());
            if key.0 == "core" {
                key.0 = "";
            }
        } else if let Some(rest) = line.strip_prefix(' ') {
            let mut fields = rest.splitn(5, '\t');
            let mut next = || fields.next().unwrap_or("");
            let (name, kind, format, priority, description) =
                (next(), next(), next(), next(), next());
            let common = description
                .strip_prefix('$')
                .and_then(|n| n.parse::<usize>().ok());
            columns.entry(key).or_default().push(Column {
                name: name.into(),
                kind: kind.into(),
                format: format.into(),
                description: match common.and_then(|n| shared.get(n)) {
                    Some(text) => text.clone(),
                    None => unescape(description),
                },
                priority: priority.parse().unwrap_or(0),
            });
        }
    }
    columns
}

pub(super) fn of(group: &str, version: &str, plural: &str) -> &'static [Column] {
    static TABLE: OnceLock<Columns> = OnceLock::new();
    let table = TABLE.get_or_init(|| load(include_str!("columns.tsv")));
    let own = table
        .iter()
        .find(|((g, v, p), _)| *g == group && *v == version && *p == plural);
    match own {
        Some((_, columns)) => columns,
        // As the default printer: the columns of Roles are these two.
        None => table
            .get(&("rbac.authorization.k8s.io", "v1", "roles"))
            .map_or(&[], Vec::as_slice),
    }
}
