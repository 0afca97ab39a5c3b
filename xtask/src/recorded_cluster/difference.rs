//! A difference, by the name under which a scenario may call it loose; and where two documents differ.

use serde_json::Value;

/// What differs, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `final:Pod/a:/status/phase`
    pub id: String,
    /// What was wanted, and what is there.
    pub text: String,
}

impl Difference {
    pub fn new(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            text: text.into(),
        }
    }

    /// Whether a loose name covers it: the name itself, what is below it, or what begins like it (`history:Node/n*`).
    pub fn is_covered_by(&self, loose: &str) -> bool {
        if let Some(start) = loose.strip_suffix('*') {
            return self.id.starts_with(start);
        }
        self.id
            .strip_prefix(loose)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
    }
}

/// Where a document differs from the recorded one, both ways; `id` names the document.
pub fn documents(id: &str, want: &Value, have: &Value) -> Vec<Difference> {
    let mut out = Vec::new();
    walk(&format!("{id}:"), want, have, &mut out);
    out
}

fn walk(id: &str, want: &Value, have: &Value, out: &mut Vec<Difference>) {
    match (want, have) {
        (Value::Object(want), Value::Object(have)) => {
            for (name, value) in want {
                let id = format!("{id}/{}", escaped(name));
                match have.get(name) {
                    Some(other) => walk(&id, value, other, out),
                    None => out.push(Difference::new(id, format!("missing, want {value}"))),
                }
            }
            for (name, value) in have.iter().filter(|(name, _)| !want.contains_key(*name)) {
                let id = format!("{id}/{}", escaped(name));
                out.push(Difference::new(id, format!("not wanted: {value}")));
            }
        }
        (Value::Array(want), Value::Array(have)) => {
            for (number, value) in want.iter().enumerate() {
                let id = format!("{id}/{number}");
                match have.get(number) {
                    Some(other) => walk(&id, value, other, out),
                    None => out.push(Difference::new(id, format!("missing, want {value}"))),
                }
            }
            for (number, value) in have.iter().enumerate().skip(want.len()) {
                out.push(Difference::new(
                    format!("{id}/{number}"),
                    format!("not wanted: {value}"),
                ));
            }
        }
        (want, have) if want == have => {}
        (want, have) => out.push(Difference::new(id, format!("want {want}, have {have}"))),
    }
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_differ_both_ways() {
        let want = json!({"a": 1, "b": [1, {"c": 2}], "x/y": 1});
        let have = json!({"a": 1, "b": [1, {"c": 3}, 4], "d": null});
        let ids: Vec<String> = documents("final:Pod/a", &want, &have)
            .into_iter()
            .map(|difference| difference.id)
            .collect();
        assert_eq!(
            ids,
            [
                "final:Pod/a:/b/1/c",
                "final:Pod/a:/b/2",
                "final:Pod/a:/x~1y",
                "final:Pod/a:/d"
            ]
        );
    }

    #[test]
    fn loose_names() {
        let cases = [
            ("final:Pod/a", true),
            ("final:Pod/a:/status", true),
            ("final:Pod/a:/sta", false),
            ("final:Pod/a:/sta*", true),
            ("final:Pod/ab", false),
        ];
        let difference = Difference::new("final:Pod/a:/status/phase", "");
        for (loose, expected) in cases {
            assert_eq!(difference.is_covered_by(loose), expected, "{loose}");
        }
    }
}
