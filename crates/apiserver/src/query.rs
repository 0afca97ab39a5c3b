//! The parameters behind the question mark.

use karve_api::field;
use karve_api::status::Status;

use crate::answer::Refusal;
use crate::path::percent_decode;

/// Parameters, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the part of a URI behind `?`.
    pub fn parse(text: Option<&str>) -> Query {
        let pairs = text
            .unwrap_or_default()
            .split('&')
            .filter(|p| !p.is_empty());
        Query(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(k, v)| (percent_decode(k, true), percent_decode(v, true)))
                .collect(),
        )
    }

    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.as_str())
    }

    /// The first value of a parameter, empty when it is absent.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// All values of a parameter.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(k, _)| k == name)
            .map(|(_, v)| v.as_str())
    }

    /// A boolean as upstream's conversion reads it: anything but an explicit no is yes.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|v| v != "0" && !v.eq_ignore_ascii_case("false"))
    }

    /// A number; 400 with Go's text when it is none. An empty one is none, either.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        text.parse().map(Some).map_err(|_| {
            let why = if whole {
                "value out of range"
            } else {
                "invalid syntax"
            };
            let quoted = field::quote(text);
            Status::bad_request(format!("strconv.ParseInt: parsing {quoted}: {why}")).into()
        })
    }

    /// Whether the write is only tried: `dryRun=All`. Any other value is wrong.
    pub fn dry_run(&self, options: &str) -> Result<bool, Refusal> {
        let given: Vec<&str> = self.all("dryRun").collect();
        dry_run(&given, options)
    }
}

/// Checks the values of `dryRun` wherever they came from.
pub fn dry_run(given: &[&str], options: &str) -> Result<bool, Refusal> {
    let path = field::Path::root("dryRun");
    if given.iter().all(|v| *v == "All") {
        return Ok(!given.is_empty());
    }
    let error = field::Error::not_supported(&path, serde_json::json!(given), &["All"]);
    Err(Status::invalid("meta.k8s.io", options, "", &[error]).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bools_and_numbers_are_gos() {
        let flags = [
            ("a", true),
            ("a=", true),
            ("a=0", false),
            ("a=FALSE", false),
            ("a=no", true),
            ("b", false),
        ];
        for (text, want) in flags {
            assert_eq!(Query::parse(Some(text)).flag("a"), want, "{text}");
        }
        let message = |text: &str| {
            let refusal = Query::parse(Some(text)).number("n").expect_err("no number");
            refusal.status().message.clone()
        };
        assert_eq!(
            message("n="),
            "strconv.ParseInt: parsing \"\": invalid syntax"
        );
        assert_eq!(
            message("n=1x"),
            "strconv.ParseInt: parsing \"1x\": invalid syntax"
        );
        assert_eq!(
            message("n=9223372036854775808"),
            "strconv.ParseInt: parsing \"9223372036854775808\": value out of range"
        );
        assert!(matches!(
            Query::parse(Some("n=-7")).number("n"),
            Ok(Some(-7))
        ));
    }

    proptest! {
        #[test]
        fn any_text_is_a_query(text in "\\PC{0,60}|[a-z%&=+0-9]{0,60}") {
            let query = Query::parse(Some(&text));
            for name in ["a", "limit", "watch"] {
                let _ = (query.flag(name), query.number(name), query.text(name).len());
            }
        }
    }
}
