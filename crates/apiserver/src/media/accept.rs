//! The clauses of an `Accept` header, in the order in which upstream tries them.

/// One media type with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Clause<'a> {
    kind: &'a str,
    subkind: &'a str,
    weight: f32,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Clause<'a> {
    /// A parameter; of several the last one counts.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let mut found = self.parameters.iter().rev().filter(|(k, _)| *k == name);
        found.next().map(|(_, v)| *v)
    }

    /// Whether a media type fits.
    pub fn admits(&self, media_type: &str) -> bool {
        let (kind, subkind) = media_type.split_once('/').unwrap_or((media_type, ""));
        match (self.kind, self.subkind) {
            ("*", "*") => true,
            (own, "*") => own == kind,
            (own, sub) => own == kind && sub == subkind,
        }
    }

    fn parse(text: &'a str) -> Option<Clause<'a>> {
        let text = text.trim_matches(' ');
        let (range, rest) = text.split_once(';').unwrap_or((text, ""));
        let (kind, subkind) = range.split_once('/').unwrap_or((range, ""));
        let kind = kind.trim_matches(' ');
        let subkind = match subkind {
            "" if kind == "*" => "*",
            "" => return None,
            sub if sub.trim_end_matches('/').contains('/') => return None,
            sub => sub.split('/').next().unwrap_or_default().trim_matches(' '),
        };
        let mut clause = Clause {
            kind,
            subkind,
            weight: 1.0,
            parameters: Vec::new(),
        };
        for parameter in rest.split(';') {
            let Some((name, value)) = parameter.split_once('=').filter(|(_, v)| !v.is_empty())
            else {
                continue;
            };
            let (value, more) = value.split_once('=').unwrap_or((value, ""));
            match name.trim_matches(' ') {
                _ if !more.is_empty() => {}
                // What is no number weighs nothing.
                "q" => clause.weight = value.parse().unwrap_or(0.0),
                name => clause.parameters.push((name, value.trim_matches(' '))),
            }
        }
        Some(clause)
    }

    /// Whether it is tried before another one. Not an order: upstream's isn't one either.
    fn before(&self, other: &Clause<'_>) -> bool {
        self.weight > other.weight
            || self.kind != "*" && other.kind == "*"
            || self.subkind != "*" && other.subkind == "*"
    }
}

/// More clauses than any client has; the rest is not looked at.
const CLAUSES_MAX: usize = 64;

/// Reads a header. Go sorts so few clauses by insertion, which decides where the comparison is no order.
pub fn parse(header: &str) -> Vec<Clause<'_>> {
    let parts = header.split(',').take(CLAUSES_MAX);
    let mut clauses: Vec<Clause<'_>> = parts.filter_map(Clause::parse).collect();
    for i in 1..clauses.len() {
        for j in (1..=i).rev() {
            if !clauses[j].before(&clauses[j - 1]) {
                break;
            }
            clauses.swap(j, j - 1);
        }
    }
    clauses
}
