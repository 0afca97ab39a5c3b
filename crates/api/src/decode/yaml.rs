//! YAML 1.1 as upstream reads it: to JSON first, so that names are sorted and every name is a text.
//!
//! `y`, `yes`, `on` are bools, `010` is eight, `1e3` a number; times stay texts. Only the first document counts.
//! Invariant: aliases can't make a document much larger or deeper than it is.
//!
//! DEVIATION: syntax errors other than unclosed lists and maps have this parser's words behind `yaml: line N:`, not
//! libyaml's.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use granit_parser::{
    ErrorKind, Event, Options, Parser, ScalarStyle, ScanError, Span, StrInput, Tag,
};

use super::json::MAX_DEPTH;
use super::node::Node;

/// How many values aliases may add to a document.
const ALIASED_MAX: usize = 100_000;

/// Why a text is no YAML document that can be JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum YamlError {
    /// The text is no YAML.
    #[error("yaml: line {line}: {what}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: Cow<'static, str>,
    },
    /// Aliases repeat too much.
    #[error("yaml: document contains excessive aliasing")]
    Aliasing,
    /// It nests deeper than [`MAX_DEPTH`].
    #[error("yaml: exceeded max depth")]
    Depth,
    /// A name that JSON can't have.
    #[error("error converting YAML to JSON: yaml: invalid map key")]
    Key,
    /// A number that JSON can't have.
    #[error("json: unsupported value: {0}")]
    Number(&'static str),
    /// `!!binary` with something else than base64.
    #[error("yaml: !!binary value contains invalid base64 data")]
    Binary,
    /// `<<` with something else than maps.
    #[error("yaml: map merge requires map or sequence of maps as the value")]
    Merge,
}

/// A document.
#[derive(Debug, Clone, PartialEq)]
pub struct Yaml {
    /// With sorted members and without duplicates.
    pub node: Node<'static>,
    /// `line 8: key "a" already set in map`
    pub duplicates: Vec<String>,
}

impl Yaml {
    /// What strict decoding complains of, if anything: one text for all duplicates.
    pub fn strict(&self) -> Option<String> {
        let lines = self.duplicates.join("\n  ");
        (!lines.is_empty()).then(|| format!("yaml: unmarshal errors:\n  {lines}"))
    }
}

/// Reads the first document of a text.
pub fn parse(bytes: &[u8]) -> Result<Yaml, YamlError> {
    let text = String::from_utf8_lossy(bytes);
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    let mut reader = Reader {
        events: Parser::new_from_str_with_options(&text, options),
        anchors: HashMap::new(),
        aliased: 0,
        duplicates: Vec::new(),
        open_ended: text.trim_end().ends_with(['[', '{', ',']),
    };
    let node = reader.document()?;
    Ok(Yaml {
        node,
        duplicates: reader.duplicates,
    })
}

/// A node with its depth and the number of its values.
#[derive(Clone)]
struct Built {
    node: Node<'static>,
    depth: usize,
    size: usize,
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Built>,
    aliased: usize,
    duplicates: Vec<String>,
    /// Whether the text ends where a value must follow.
    open_ended: bool,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, YamlError> {
        self.events
            .next_event()
            .transpose()
            .map_err(|e| syntax(&e, self.open_ended))
    }

    fn document(&mut self) -> Result<Node<'static>, YamlError> {
        while let Some((event, span)) = self.next()? {
            match event {
                Event::StreamStart | Event::DocumentStart(..) => {}
                Event::StreamEnd | Event::DocumentEnd => break,
                event => {
                    let built = self.build(event, span)?;
                    // The rest of the document must be well formed, too.
                    while self.next()?.is_some_and(|(event, _)| {
                        !matches!(event, Event::DocumentEnd | Event::StreamEnd)
                    }) {}
                    return Ok(built.node);
                }
            }
        }
        Ok(Node::Null)
    }

    fn build(&mut self, event: Event<'a>, span: Span) -> Result<Built, YamlError> {
        let (anchor, built) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let node = scalar(text, style, tag.as_deref())?;
                (
                    anchor,
                    Built {
                        node,
                        depth: 0,
                        size: 1,
                    },
                )
            }
            Event::SequenceStart(_, anchor, _) => (anchor, self.sequence()?),
            Event::MappingStart(_, anchor, _) => (anchor, self.mapping()?),
            Event::Alias(id) => return self.alias(id),
            _ => {
                let what = Cow::Borrowed("did not find expected node content");
                return Err(YamlError::Syntax {
                    line: span.start.line(),
                    what,
                });
            }
        };
        if built.depth > MAX_DEPTH {
            return Err(YamlError::Depth);
        }
        if anchor != 0 {
            self.anchors.insert(anchor, built.clone());
        }
        Ok(built)
    }

    fn alias(&mut self, id: usize) -> Result<Built, YamlError> {
        let built = self.anchors.get(&id).cloned().ok_or(YamlError::Aliasing)?;
        self.aliased += built.size;
        if self.aliased > ALIASED_MAX {
            Err(YamlError::Aliasing)
        } else {
            Ok(built)
        }
    }

    fn sequence(&mut self) -> Result<Built, YamlError> {
        let (mut items, mut depth, mut size) = (Vec::new(), 0, 1);
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            let item = self.build(event, span)?;
            depth = depth.max(item.depth);
            size += item.size;
            items.push(item.node);
        }
        Ok(Built {
            node: Node::Array(items),
            depth: depth + 1,
            size,
        })
    }

    fn mapping(&mut self) -> Result<Built, YamlError> {
        let (mut members, mut merged) = (BTreeMap::new(), Vec::new());
        let (mut depth, mut size) = (0, 1);
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let line = span.start.line();
            let merge =
                matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, _) if text == "<<");
            let key = self.build(event, span)?;
            let Some((event, span)) = self.next()? else {
                break;
            };
            let value = self.build(event, span)?;
            depth = depth.max(value.depth);
            size += value.size + 1;
            if merge {
                merge_into(&mut merged, value.node)?;
                continue;
            }
            let name = name(&key.node)?;
            if members.contains_key(&name) {
                let shown = if matches!(key.node, Node::String(_)) {
                    format!("{name:?}")
                } else {
                    name.clone()
                };
                self.duplicates
                    .push(format!("line {line}: key {shown} already set in map"));
            }
            members.insert(name, value.node);
        }
        for (name, node) in merged {
            members.entry(name).or_insert(node);
        }
        let node = Node::Object(
            members
                .into_iter()
                .map(|(name, node)| (Cow::Owned(name), node))
                .collect(),
        );
        Ok(Built {
            node,
            depth: depth + 1,
            size,
        })
    }
}

/// The members that `<<` brings; of several maps the first wins.
fn merge_into(
    merged: &mut Vec<(String, Node<'static>)>,
    node: Node<'static>,
) -> Result<(), YamlError> {
    match node {
        Node::Object(members) => {
            merged.extend(
                members
                    .into_iter()
                    .map(|(name, node)| (name.into_owned(), node)),
            );
            Ok(())
        }
        Node::Array(items) if items.iter().all(|i| matches!(i, Node::Object(_))) => items
            .into_iter()
            .try_for_each(|item| merge_into(merged, item)),
        _ => Err(YamlError::Merge),
    }
}

fn name(key: &Node<'_>) -> Result<String, YamlError> {
    match key {
        Node::String(text) | Node::Number(text) => Ok(text.to_string()),
        Node::Bool(b) => Ok(b.to_string()),
        Node::Null | Node::Array(_) | Node::Object(_) => Err(YamlError::Key),
    }
}

fn scalar(
    text: Cow<'_, str>,
    style: ScalarStyle,
    tag: Option<&Tag>,
) -> Result<Node<'static>, YamlError> {
    match tag
        .and_then(|t| t.suffix_in_namespace("tag:yaml.org,2002:"))
        .as_deref()
    {
        Some("str") => return Ok(Node::String(Cow::Owned(text.into_owned()))),
        Some("binary") => {
            let joined: String = text.split_whitespace().collect();
            let data = STANDARD.decode(joined).map_err(|_| YamlError::Binary)?;
            return Ok(Node::String(Cow::Owned(
                String::from_utf8_lossy(&data).into_owned(),
            )));
        }
        _ => {}
    }
    match style {
        ScalarStyle::Plain => plain(&text),
        _ => Ok(Node::String(Cow::Owned(text.into_owned()))),
    }
}

/// The rules of YAML 1.1 for a scalar without quotes.
fn plain(text: &str) -> Result<Node<'static>, YamlError> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Node::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Ok(Node::Bool(true));
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Ok(Node::Bool(false));
        }
        ".nan" | ".NaN" | ".NAN" => return Err(YamlError::Number("NaN")),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Err(YamlError::Number("+Inf"));
        }
        "-.inf" | "-.Inf" | "-.INF" => return Err(YamlError::Number("-Inf")),
        _ => {}
    }
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    let number = if numeric {
        integer(text).or_else(|| float(text))
    } else {
        None
    };
    Ok(match number {
        Some(number) => Node::Number(Cow::Owned(number)),
        None => Node::String(Cow::Owned(text.to_owned())),
    })
}

/// As Go's `strconv.ParseInt(text, 0, 64)` after underscores are dropped.
fn integer(text: &str) -> Option<String> {
    let text = text.replace('_', "");
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, &*text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let value = sign * i128::from_str_radix(digits, radix).ok()?;
    let fits = i64::try_from(value).is_ok() || u64::try_from(value).is_ok();
    fits.then(|| value.to_string())
}

fn float(text: &str) -> Option<String> {
    let text = text.replace('_', "");
    let well_formed = text
        .chars()
        .all(|c| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E'));
    let value: f64 = text
        .parse()
        .ok()
        .filter(|f: &f64| well_formed && f.is_finite())?;
    // Go's JSON uses exponents only outside this range.
    let plain = value == 0.0 || (1e-6..1e21).contains(&value.abs());
    Some(if plain {
        format!("{value}")
    } else {
        format!("{value:e}")
    })
}

fn syntax(error: &ScanError, open_ended: bool) -> YamlError {
    let what = match error.kind() {
        ErrorKind::UnclosedFlowCollection { .. } if open_ended => {
            Cow::Borrowed("did not find expected node content")
        }
        ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::ExpectedFlowSequenceSeparator
        | ErrorKind::UnclosedFlowCollection { open: '[' } => {
            Cow::Borrowed("did not find expected ',' or ']'")
        }
        ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping
        | ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::UnclosedFlowCollection { open: '{' } => {
            Cow::Borrowed("did not find expected ',' or '}'")
        }
        other => Cow::Owned(other.to_string()),
    };
    YamlError::Syntax {
        line: error.marker().line(),
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn value(text: &str) -> serde_json::Value {
        parse(text.as_bytes())
            .unwrap_or_else(|e| panic!("{text}: {e}"))
            .node
            .to_value()
    }

    #[test]
    fn scalars_follow_yaml_1_1() {
        for (text, expected) in [
            ("y", json!(true)),
            ("No", json!(false)),
            ("'y'", json!("y")),
            ("~", json!(null)),
            ("010", json!(8)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("1_000", json!(1000)),
            ("1.0", json!(1)),
            ("1e3", json!(1000)),
            (".5", json!(0.5)),
            ("08", json!(8)),
            ("2001-01-01", json!("2001-01-01")),
            ("12:30:45", json!("12:30:45")),
            ("1.2.3", json!("1.2.3")),
            ("-", json!([null])),
            ("!!str 5", json!("5")),
            ("!!binary aGk=", json!("hi")),
            (
                "18446744073709551615",
                json!(18_446_744_073_709_551_615_u64),
            ),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn names_are_texts_and_merges_do_not_override() {
        assert_eq!(value("n: 1\n5: 2\n"), json!({"false": 1, "5": 2}));
        let merged = "base: &b {a: 1, b: 2}\nx:\n  <<: *b\n  b: 3\n";
        assert_eq!(value(merged)["x"], json!({"a": 1, "b": 3}));
        assert_eq!(value("---\na: 1\n---\nb: 2\n"), json!({"a": 1}));
        assert_eq!(value(""), json!(null));
    }

    #[test]
    fn duplicates_are_named_by_line() {
        let yaml = parse(b"a: 1\nb:\n  c: 1\n  c: 2\na: 3\n").expect("well formed");
        assert_eq!(
            yaml.duplicates,
            [
                "line 4: key \"c\" already set in map",
                "line 5: key \"a\" already set in map"
            ]
        );
        assert_eq!(
            parse(b"{y: 1, y: 2}").expect("well formed").duplicates,
            ["line 1: key true already set in map"]
        );
        assert_eq!(yaml.node.to_value(), json!({"a": 3, "b": {"c": 2}}));
    }

    #[test]
    fn bombs_are_refused() {
        let mut bomb = "a0: &a0 [x, x]\n".to_owned();
        for i in 1..40 {
            bomb += &format!("a{i}: &a{i} [*a{}, *a{}]\n", i - 1, i - 1);
        }
        assert_eq!(parse(bomb.as_bytes()), Err(YamlError::Aliasing));
        let mut tower = "a0: &a0 [x]\n".to_owned();
        for i in 1..2000 {
            tower += &format!("a{i}: &a{i} [*a{}]\n", i - 1);
        }
        assert!(matches!(
            parse(tower.as_bytes()),
            Err(YamlError::Depth | YamlError::Aliasing)
        ));
        assert!(parse("[".repeat(10_000).as_bytes()).is_err());
    }

    #[test]
    fn unclosed_lists_have_libyamls_words() {
        assert_eq!(
            parse(b"a: [").expect_err("unclosed").to_string(),
            "yaml: line 1: did not find expected node content"
        );
        assert_eq!(
            parse(b"a: [b").expect_err("unclosed").to_string(),
            "yaml: line 1: did not find expected ',' or ']'"
        );
    }
}
