//! JSONPath as `kubectl` and printer columns have it: fields, indexes, slices, unions, wildcards, filters, descent.
//!
//! Invariant: work is bounded. An expression has at most [`NODES_MAX`] parts and gives at most [`RESULTS_MAX`] values;
//! more is an error, as is whatever upstream refuses to evaluate. Absent: `range` and `end`, which make no sense in a cell.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::value::show_number;

const NODES_MAX: usize = 256;
const DEPTH_MAX: usize = 16;
const RESULTS_MAX: usize = 16_384;

/// A compiled expression.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath {
    nodes: Vec<Node>,
}

/// Why an expression is none, or gives nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The syntax is wrong.
    #[error("{0}")]
    Syntax(String),
    /// It does not fit the value.
    #[error("{0}")]
    Value(&'static str),
    /// It gives too much.
    #[error("too many results")]
    TooMany,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(String),
    Field(String),
    Wildcard,
    Recursive,
    Slice(Option<i64>, End, Option<i64>),
    Union(Vec<Vec<Node>>),
    Filter(Vec<Node>, Operator, Vec<Node>),
    Literal(Value),
    /// A word that upstream does not know; an error when evaluated.
    Word,
}

/// Where a slice ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// At the end of the list.
    Open,
    /// Before that place.
    At(i64),
    /// Behind the one place that was asked for.
    Single(i64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    Exists,
    Less,
    Greater,
    Equal,
    NotEqual,
    LessEqual,
    GreaterEqual,
    Unknown,
}

impl JsonPath {
    /// Compiles an expression without its braces: `.spec.replicas`.
    pub fn parse(text: &str) -> Result<JsonPath, Error> {
        let mut nodes = 0;
        let nodes = action(text, 0, &mut nodes)?;
        Ok(JsonPath { nodes })
    }

    /// The first value that it gives.
    pub fn first<'v>(&self, value: &'v Value) -> Result<Option<Cow<'v, Value>>, Error> {
        let found = walk(&self.nodes, vec![Cow::Borrowed(value)])?;
        Ok(found.into_iter().next())
    }

    /// All values that it gives.
    pub fn find<'v>(&self, value: &'v Value) -> Result<Vec<Cow<'v, Value>>, Error> {
        walk(&self.nodes, vec![Cow::Borrowed(value)])
    }
}

/// A value as text, as `kubectl` prints it.
pub fn print(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => show_number(number),
        other => other.to_string(),
    }
}

fn syntax<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::Syntax(text.into()))
}

/// Parses what stands between braces.
fn action(text: &str, depth: usize, count: &mut usize) -> Result<Vec<Node>, Error> {
    if depth > DEPTH_MAX {
        return syntax("expression nests too deep");
    }
    let mut parser = Parser {
        text,
        at: 0,
        depth,
        count,
        nodes: Vec::new(),
    };
    while !parser.rest().is_empty() {
        parser.step()?;
        *parser.count += 1;
        if *parser.count > NODES_MAX {
            return syntax("expression is too long");
        }
    }
    Ok(parser.nodes)
}

struct Parser<'a, 'c> {
    text: &'a str,
    at: usize,
    depth: usize,
    count: &'c mut usize,
    nodes: Vec<Node>,
}

fn ends_field(c: char) -> bool {
    matches!(
        c,
        ' ' | '\t' | '\r' | '\n' | '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}'
    )
}

impl<'a> Parser<'a, '_> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn step(&mut self) -> Result<(), Error> {
        let rest = self.rest();
        if rest.starts_with("[?(") {
            return self.filter();
        }
        if rest.starts_with("..") {
            return self.recursive();
        }
        let Some(c) = rest.chars().next() else {
            return Ok(());
        };
        match c {
            '\r' | '\n' => syntax("unclosed action"),
            ' ' | '@' | '$' => {
                self.at += 1;
                Ok(())
            }
            '[' => self.array(),
            '"' | '\'' => self.quoted(c),
            '.' => {
                self.at += 1;
                self.field();
                Ok(())
            }
            '+' | '-' => self.number(),
            c if c.is_numeric() => self.number(),
            c if c == '_' || c.is_alphabetic() => {
                let word = self.take_until(ends_field);
                self.nodes.push(match word {
                    "true" => Node::Literal(Value::Bool(true)),
                    "false" => Node::Literal(Value::Bool(false)),
                    _ => Node::Word,
                });
                Ok(())
            }
            c => syntax(format!(
                "unrecognized character in action: U+{:04X} '{c}'",
                c as u32
            )),
        }
    }

    fn take_until(&mut self, ends: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(ends).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// A member's name; a backslash takes the next character as it is.
    fn field(&mut self) {
        let mut name = String::new();
        let mut chars = self.rest().chars();
        let mut length = 0;
        while let Some(c) = chars.next() {
            if c == '\\' {
                length += 1;
                if let Some(next) = chars.next() {
                    length += next.len_utf8();
                    name.push(next);
                }
                continue;
            }
            if ends_field(c) {
                break;
            }
            length += c.len_utf8();
            name.push(c);
        }
        self.at += length;
        self.nodes.push(match &*name {
            "*" => Node::Wildcard,
            _ => Node::Field(name),
        });
    }

    fn recursive(&mut self) -> Result<(), Error> {
        if self.nodes.last() == Some(&Node::Recursive) {
            return syntax("invalid multiple recursive descent");
        }
        self.at += 2;
        self.nodes.push(Node::Recursive);
        if self
            .rest()
            .starts_with(|c: char| c == '_' || c.is_alphanumeric())
        {
            self.field();
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Error> {
        let rest = self.rest();
        let sign = usize::from(rest.starts_with(['+', '-']));
        let digits = rest[sign..].find(|c: char| c != '.' && !c.is_numeric());
        let length = digits.map_or(rest.len(), |n| n + sign);
        let text = &rest[..length];
        self.at += length;
        let value = match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(i), _) => Some(Value::from(i)),
            (_, Ok(f)) => Number::from_f64(f).map(Value::Number),
            _ => None,
        };
        match value {
            Some(value) => self.nodes.push(Node::Literal(value)),
            None => return syntax(format!("cannot parse number {text}")),
        }
        Ok(())
    }

    fn quoted(&mut self, quote: char) -> Result<(), Error> {
        let inner = &self.rest()[1..];
        let mut text = String::new();
        let mut chars = inner.char_indices();
        while let Some((i, c)) = chars.next() {
            match c {
                '\n' => break,
                '\\' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, other)) => text.push(other),
                    None => break,
                },
                c if c == quote => {
                    self.at += 1 + i + 1;
                    self.nodes.push(Node::Text(text));
                    return Ok(());
                }
                c => text.push(c),
            }
        }
        syntax("unterminated quoted string")
    }

    fn array(&mut self) -> Result<(), Error> {
        let rest = self.rest();
        let end = rest
            .find([']', '\n'])
            .filter(|end| rest[*end..].starts_with(']'));
        let Some(end) = end else {
            return syntax("unterminated array");
        };
        let text = &rest[1..end];
        self.at += end + 1;
        let node = match text {
            "*" => Node::Slice(None, End::Open, None),
            text if text.contains(',') => {
                let parts = text.split(',').map(|part| {
                    action(
                        &format!("[{}]", part.trim_matches(' ')),
                        self.depth + 1,
                        self.count,
                    )
                });
                Node::Union(parts.collect::<Result<_, _>>()?)
            }
            text => match dictionary_key(text) {
                Some(key) => {
                    let inner = action(&format!(".{key}"), self.depth + 1, self.count)?;
                    self.nodes.extend(inner);
                    return Ok(());
                }
                None => slice(text)?,
            },
        };
        self.nodes.push(node);
        Ok(())
    }

    fn filter(&mut self) -> Result<(), Error> {
        let inner = &self.rest()[3..];
        let (mut quote, mut closed, mut before) = (None, false, ' ');
        let mut end = None;
        for (i, c) in inner.char_indices() {
            match c {
                '\n' => break,
                '"' | '\'' if quote.is_none() => quote = Some(c),
                c if Some(c) == quote && before != '\\' => closed = true,
                ')' if quote.is_some() == closed => {
                    end = Some(i);
                    break;
                }
                _ => {}
            }
            before = c;
        }
        let Some(end) = end else {
            return syntax("unterminated filter");
        };
        if !inner[end + 1..].starts_with(']') {
            return syntax("unclosed array expect ]");
        }
        self.at += 3 + end + 2;
        let text = &inner[..end];
        let (left, operator, right) = split_filter(text);
        let left = action(left, self.depth + 1, self.count)?;
        let right = action(right, self.depth + 1, self.count)?;
        self.nodes.push(Node::Filter(left, operator, right));
        Ok(())
    }
}

/// `'key'`: a member in brackets.
fn dictionary_key(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('\'')?.strip_suffix('\'')?;
    (!inner.contains('\'')).then_some(inner)
}

/// The two sides of a comparison; without one, whether the left side exists.
fn split_filter(text: &str) -> (&str, Operator, &str) {
    let is_operator = |c: char| matches!(c, '!' | '<' | '>' | '=');
    let Some(start) = text.find(is_operator).filter(|start| *start > 0) else {
        return (text, Operator::Exists, "");
    };
    let behind = &text[start..];
    let length = behind
        .find(|c: char| !is_operator(c))
        .unwrap_or(behind.len());
    if length == behind.len() {
        return (text, Operator::Exists, "");
    }
    let operator = match &behind[..length] {
        "<" => Operator::Less,
        ">" => Operator::Greater,
        "==" => Operator::Equal,
        "!=" => Operator::NotEqual,
        "<=" => Operator::LessEqual,
        ">=" => Operator::GreaterEqual,
        _ => Operator::Unknown,
    };
    (&text[..start], operator, &behind[length..])
}

fn slice(text: &str) -> Result<Node, Error> {
    let wrong = || Error::Syntax(format!("invalid array index {text}"));
    let number = |part: &str| match part {
        "" => Ok(None),
        digits => digits.parse::<i64>().map(Some).map_err(|_| wrong()),
    };
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 {
        return Err(wrong());
    }
    let start = number(parts[0])?;
    let end = match parts.get(1) {
        None => End::Single(start.ok_or_else(wrong)?),
        Some(part) => number(part)?.map_or(End::Open, End::At),
    };
    let step = parts.get(2).map_or(Ok(None), |part| number(part))?;
    Ok(Node::Slice(start, end, step))
}

type Found<'v> = Vec<Cow<'v, Value>>;

fn walk<'v>(nodes: &[Node], mut values: Found<'v>) -> Result<Found<'v>, Error> {
    for node in nodes {
        values = visit(node, values)?;
        if values.len() > RESULTS_MAX {
            return Err(Error::TooMany);
        }
    }
    Ok(values)
}

fn visit<'v>(node: &Node, values: Found<'v>) -> Result<Found<'v>, Error> {
    match node {
        Node::Text(text) => Ok(vec![Cow::Owned(Value::from(&**text))]),
        Node::Literal(literal) => Ok(values.iter().map(|_| Cow::Owned(literal.clone())).collect()),
        Node::Word => Err(Error::Value("unrecognized identifier")),
        Node::Field(name) => Ok(values
            .into_iter()
            .filter_map(|value| match value {
                Cow::Borrowed(value) => value.get(&**name).map(Cow::Borrowed),
                Cow::Owned(value) => value.get(&**name).cloned().map(Cow::Owned),
            })
            .collect()),
        Node::Wildcard => Ok(values.into_iter().flat_map(children).collect()),
        Node::Recursive => {
            let mut found = Vec::new();
            for value in values {
                descend(value, &mut found)?;
            }
            Ok(found)
        }
        Node::Slice(start, end, step) => {
            let mut found = Vec::new();
            for value in values.into_iter().filter(|v| !v.is_null()) {
                found.extend(cut(value, *start, *end, *step)?);
            }
            Ok(found)
        }
        Node::Union(lists) => {
            let mut found = Vec::new();
            for list in lists {
                found.extend(walk(list, values.clone())?);
            }
            Ok(found)
        }
        Node::Filter(left, operator, right) => {
            let mut found = Vec::new();
            for value in values {
                if !value.is_array() {
                    return Err(Error::Value("not an array and cannot be filtered"));
                }
                for item in children(value) {
                    if passes(&item, left, *operator, right)? {
                        found.push(item);
                    }
                }
            }
            Ok(found)
        }
    }
}

/// The items of a list, or the values of an object.
fn children(value: Cow<'_, Value>) -> Found<'_> {
    match value {
        Cow::Borrowed(Value::Array(items)) => items.iter().map(Cow::Borrowed).collect(),
        Cow::Borrowed(Value::Object(members)) => members.values().map(Cow::Borrowed).collect(),
        Cow::Owned(Value::Array(items)) => items.into_iter().map(Cow::Owned).collect(),
        Cow::Owned(Value::Object(members)) => {
            members.into_iter().map(|(_, v)| Cow::Owned(v)).collect()
        }
        _ => Vec::new(),
    }
}

fn descend<'v>(value: Cow<'v, Value>, found: &mut Found<'v>) -> Result<(), Error> {
    let inner = children(value.clone());
    if inner.is_empty() {
        return Ok(());
    }
    found.push(value);
    if found.len() > RESULTS_MAX {
        return Err(Error::TooMany);
    }
    inner.into_iter().try_for_each(|v| descend(v, found))
}

fn cut(
    value: Cow<'_, Value>,
    start: Option<i64>,
    end: End,
    step: Option<i64>,
) -> Result<Found<'_>, Error> {
    let Some(length) = value.as_array().map(|items| items.len() as i64) else {
        return Err(Error::Value("not an array"));
    };
    let from_end = |n: i64| if n < 0 { n + length } else { n };
    let start = from_end(start.unwrap_or(0));
    let end = match end {
        End::Open => length,
        End::At(end) => from_end(end),
        // The place behind the last one is written as zero, since it is minus one and one.
        End::Single(-1) => length,
        End::Single(at) => from_end(at.saturating_add(1)),
    };
    if start == end {
        return Ok(Vec::new());
    }
    if !(0..length).contains(&start) || !(0..=length).contains(&end) || start > end {
        return Err(Error::Value("array index out of bounds"));
    }
    let step = step.unwrap_or(1);
    if step <= 0 {
        return Err(Error::Value("step must be > 0"));
    }
    let kept = |i: i64| (start..end).contains(&i) && (i - start) % step == 0;
    let items = children(value).into_iter().zip(0..);
    Ok(items
        .filter(|(_, i)| kept(*i))
        .map(|(item, _)| item)
        .collect())
}

fn passes(item: &Value, left: &[Node], operator: Operator, right: &[Node]) -> Result<bool, Error> {
    let one = |nodes: &[Node]| -> Result<Option<Value>, Error> {
        let found = walk(nodes, vec![Cow::Borrowed(item)])?;
        match &found[..] {
            [] => Ok(None),
            [one] => Ok(Some(one.clone().into_owned())),
            _ => Err(Error::Value("can only compare one element at a time")),
        }
    };
    if operator == Operator::Exists {
        return Ok(walk(left, vec![Cow::Borrowed(item)]).is_ok_and(|found| !found.is_empty()));
    }
    let Some(left) = one(left)? else {
        return Ok(false);
    };
    let Some(right) = one(right)? else {
        return Ok(false);
    };
    let ordering = compare(&left, &right)?;
    Ok(match operator {
        Operator::Less => ordering == Ordering::Less,
        Operator::Greater => ordering == Ordering::Greater,
        Operator::Equal => ordering == Ordering::Equal,
        Operator::NotEqual => ordering != Ordering::Equal,
        Operator::LessEqual => ordering != Ordering::Greater,
        Operator::GreaterEqual => ordering != Ordering::Less,
        Operator::Exists | Operator::Unknown => {
            return Err(Error::Value("unrecognized filter operator"));
        }
    })
}

/// Values of one basic type can be compared.
fn compare(left: &Value, right: &Value) -> Result<Ordering, Error> {
    let incompatible = Err(Error::Value("incompatible types for comparison"));
    match (left, right) {
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Ok(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Ok(a.cmp(&b)),
            (None, None) => a.as_f64().partial_cmp(&b.as_f64()).map_or(incompatible, Ok),
            _ => incompatible,
        },
        _ => incompatible,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn first(path: &str, value: &Value) -> Option<Value> {
        let path = JsonPath::parse(path).expect(path);
        path.first(value).ok().flatten().map(Cow::into_owned)
    }

    #[test]
    fn paths_find_what_kubectl_finds() {
        let object = json!({"metadata": {"annotations": {"a.b/c": "x"}}, "spec": {"n": 2, "list": [1, 2, 3, 4],
            "items": [{"name": "a", "v": 1}, {"name": "b", "v": 2, "ready": true}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]}});
        let table = [
            (".spec.n", Some(json!(2))),
            ("$.spec.n", Some(json!(2))),
            (".spec.none", None),
            (".spec.list[0]", Some(json!(1))),
            (".spec.list[-1]", Some(json!(4))),
            (".spec.list[-2:]", Some(json!(3))),
            (".spec.list[1:3:2]", Some(json!(2))),
            (".spec.list[9]", None),
            (".spec.list[*]", Some(json!(1))),
            (".spec['n']", Some(json!(2))),
            (".metadata.annotations.a\\.b/c", Some(json!("x"))),
            (".metadata.annotations['a\\.b/c']", Some(json!("x"))),
            (
                ".status.conditions[?(@.type==\"Ready\")].status",
                Some(json!("True")),
            ),
            (
                ".status.conditions[?(@.type=='Other')].status",
                Some(json!("False")),
            ),
            (
                ".status.conditions[?(@.type!=\"Ready\")].status",
                Some(json!("False")),
            ),
            (".spec.items[?(@.v>1)].name", Some(json!("b"))),
            (".spec.items[?(@.ready)].name", Some(json!("b"))),
            (".spec.items[*].name", Some(json!("a"))),
            (".spec.list[0,2]", Some(json!(1))),
            ("..name", Some(json!("a"))),
            (".spec.n[0]", None),
        ];
        for (path, expected) in table {
            assert_eq!(first(path, &object), expected, "{path}");
        }
    }

    #[test]
    fn wrong_paths_are_refused() {
        for path in ["[", "[?(@.a==1", ".a[x]", "....", "'a", "#"] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn any_text_is_parsed_and_evaluated_in_bounds(text in "[-.a-c0-2\\[\\]*,:?()@'\"=<>$ \\\\]{0,32}") {
            let value = json!({"a": [{"b": 1, "c": [1, 2]}, {"b": "x"}], "b": {"a": {"a": [[1]]}}});
            if let Ok(path) = JsonPath::parse(&text) {
                let _ = path.find(&value);
            }
        }
    }
}
