//! Continue tokens: upstream's own, so that either server could go on with a list of the other.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose::URL_SAFE_NO_PAD};
use karve_api::decode::json;
use karve_api::decode::node::Node;
use karve_api::status::Status;
use serde_json::json;

use crate::answer::Refusal;

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The revision of the first page; negative: whatever is newest.
    pub revision: i64,
    /// The first key that is wanted, without the prefix of the list.
    pub start: String,
}

/// More than any key is long.
const TEXT_MAX: usize = 4096;

fn invalid(why: impl std::fmt::Display) -> Refusal {
    Status::bad_request(format!(
        "invalid continue token: continue key is not valid: {why}"
    ))
    .into()
}

impl Token {
    /// Goes on behind a key.
    pub fn behind(key: &str, revision: i64) -> Token {
        Token {
            revision,
            start: format!("{key}\0"),
        }
    }

    /// The text for clients.
    pub fn encode(&self) -> String {
        let (rv, start) = (self.revision, &self.start);
        // Go writes the members in this order.
        let text = format!(
            r#"{{"v":"meta.k8s.io/v1","rv":{rv},"start":{}}}"#,
            json!(start)
        );
        URL_SAFE_NO_PAD.encode(text)
    }

    /// Reads a text of a client; 400 with upstream's texts when it is none.
    pub fn decode(text: &str) -> Result<Token, Refusal> {
        // Go minds neither line ends nor bits that are left over.
        let config = GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::RequireNone)
            .with_decode_allow_trailing_bits(true);
        let engine = GeneralPurpose::new(&URL_SAFE, config);
        let bare: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        let bytes = match text.len() <= TEXT_MAX {
            true => engine.decode(&bare).ok(),
            false => None,
        };
        let bytes = bytes.ok_or_else(|| {
            let at = illegal_at(text);
            invalid(format!("illegal base64 data at input byte {at}"))
        })?;
        let node = json::parse(&bytes).map_err(invalid)?;
        Token::read(&node)
    }

    fn read(node: &Node<'_>) -> Result<Token, Refusal> {
        let wrong = |node: &Node<'_>, member: &str, ty: &str| {
            let place = match member.is_empty() {
                true => "Go value".to_owned(),
                false => format!("Go struct field continueToken.{member}"),
            };
            let word = match node {
                Node::Number(digits) if ty == "int64" => format!("number {digits}"),
                node => node.go_word().to_owned(),
            };
            invalid(format!(
                "json: cannot unmarshal {word} into {place} of type {ty}"
            ))
        };
        let text = |member: &str| match node.get(member) {
            None | Some(Node::Null) => Ok(String::new()),
            Some(Node::String(text)) => Ok(text.to_string()),
            Some(other) => Err(wrong(other, member, "string")),
        };
        match node {
            Node::Object(_) | Node::Null => {}
            other => return Err(wrong(other, "", "storage.continueToken")),
        }
        let version = text("v")?;
        let revision = match node.get("rv") {
            None | Some(Node::Null) => 0,
            Some(Node::Number(digits)) if digits.parse::<i64>().is_ok() => {
                digits.parse().unwrap_or_default()
            }
            Some(other) => return Err(wrong(other, "rv", "int64")),
        };
        let start = text("start")?;
        if version != "meta.k8s.io/v1" {
            return Err(invalid(format!(
                "server does not recognize this encoded version {version}"
            )));
        }
        if revision == 0 {
            return Err(invalid(
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ));
        }
        if start.is_empty() {
            return Err(invalid("encoded start key empty (version meta.k8s.io/v1)"));
        }
        match is_clean(&start) {
            true => Ok(Token {
                revision,
                start: start.trim_start_matches('/').to_owned(),
            }),
            false => Err(invalid(start)),
        }
    }
}

/// Whether a path leads nowhere but down: what Go's `path.Clean` leaves as it is.
fn is_clean(path: &str) -> bool {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.is_empty() || path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Where Go's decoder stops.
fn illegal_at(text: &str) -> usize {
    let alphabet = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'\r' | b'\n');
    let at = text.bytes().position(|b| !alphabet(&b));
    at.unwrap_or(text.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    fn message(text: &str) -> String {
        Token::decode(text)
            .expect_err("no token")
            .status()
            .message
            .clone()
    }

    #[test]
    fn token_is_upstreams() {
        let text = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhXHUwMDAwIn0";
        let token = Token::behind("a", 1);
        assert_eq!(Token::decode(text).expect("valid"), token);
        assert_eq!(token.encode(), text);
    }

    #[test]
    fn texts_are_upstreams() {
        let prefix = "invalid continue token: continue key is not valid: ";
        let rows = [
            (
                "junk",
                "invalid character '\\u008e' looking for beginning of value",
            ),
            ("a=b", "illegal base64 data at input byte 1"),
            ("abcde", "illegal base64 data at input byte 4"),
        ];
        for (text, want) in rows {
            assert_eq!(message(text), format!("{prefix}{want}"), "{text}");
        }
        let rows = [
            ("{}", "server does not recognize this encoded version "),
            (
                r#"{"v":"v2"}"#,
                "server does not recognize this encoded version v2",
            ),
            (
                r#"{"v":"meta.k8s.io/v1"}"#,
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ),
            (
                r#"{"v":"meta.k8s.io/v1","rv":1}"#,
                "encoded start key empty (version meta.k8s.io/v1)",
            ),
            (r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../a"}"#, "../a"),
            (r#"{"v":"meta.k8s.io/v1","rv":1,"start":"a//b"}"#, "a//b"),
            (
                "[]",
                "json: cannot unmarshal array into Go value of type storage.continueToken",
            ),
            (
                r#"{"rv":"1"}"#,
                "json: cannot unmarshal string into Go struct field continueToken.rv of type int64",
            ),
            (
                r#"{"rv":1.5}"#,
                "json: cannot unmarshal number 1.5 into Go struct field continueToken.rv of type int64",
            ),
            (
                r#"{"v":1}"#,
                "json: cannot unmarshal number into Go struct field continueToken.v of type string",
            ),
        ];
        for (json, want) in rows {
            assert_eq!(
                message(&URL_SAFE_NO_PAD.encode(json)),
                format!("{prefix}{want}"),
                "{json}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_token_or_refused(text in "\\PC{0,80}") {
            let _ = Token::decode(&text);
        }

        #[test]
        fn any_json_is_a_token_or_refused(v in "\\PC{0,9}|meta.k8s.io/v1", rv in any::<i64>(), start in "[a-z./\\x00]{0,9}", cut in 0usize..60) {
            let json = json!({"v": v, "rv": rv, "start": start}).to_string();
            let cut = (0..=cut.min(json.len())).rev().find(|i| json.is_char_boundary(*i)).unwrap_or(0);
            let _ = Token::decode(&URL_SAFE_NO_PAD.encode(&json[..cut]));
            if let Ok(token) = Token::decode(&URL_SAFE_NO_PAD.encode(&json)) {
                prop_assert!(!token.start.contains("../") && !token.start.starts_with('/'));
                prop_assert_eq!(Token::decode(&token.encode()).ok(), Some(token));
            }
        }
    }
}
