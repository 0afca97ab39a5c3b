//! JSON, with the errors that Go's scanner gives.
//!
//! Invariant: nesting is bounded by [`MAX_DEPTH`], so that neither reading nor dropping a document can exhaust a stack.

use std::borrow::Cow;

use super::node::Node;

/// How deep lists and objects may nest.
///
/// DEVIATION: upstream allows 10,000. Objects are walked and dropped by recursion, and `serde_json`, which reads them
/// back from the store, wrapped into lists and events, stops at 128. No Kubernetes object comes near this bound.
pub const MAX_DEPTH: usize = 100;

/// What is wrong with a document's syntax.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// The document stops inside a value.
    #[error("unexpected end of JSON input")]
    End,
    /// A character that can't stand where it does.
    #[error("invalid character {} {context}", quote(*.character))]
    Character {
        /// The byte that was seen.
        character: u8,
        /// What was expected there, in Go's words.
        context: Cow<'static, str>,
    },
}

/// Reads one document.
pub fn parse(bytes: &[u8]) -> Result<Node<'_>, SyntaxError> {
    let mut parser = Parser { bytes, at: 0 };
    parser.blanks();
    let node = parser.value(0)?;
    parser.blanks();
    match parser.peek() {
        None => Ok(node),
        Some(_) => Err(parser.unexpected("after top-level value")),
    }
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// The error for the byte here.
    fn unexpected(&self, context: impl Into<Cow<'static, str>>) -> SyntaxError {
        match self.peek() {
            None => SyntaxError::End,
            Some(character) => SyntaxError::Character {
                character,
                context: context.into(),
            },
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node<'a>, SyntaxError> {
        match self.peek() {
            Some(b'{' | b'[') if depth >= MAX_DEPTH => Err(self.unexpected("exceeded max depth")),
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string().map(Node::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(Node::Number),
            Some(b't') => self.literal("true", Node::Bool(true)),
            Some(b'f') => self.literal("false", Node::Bool(false)),
            Some(b'n') => self.literal("null", Node::Null),
            _ => Err(self.unexpected("looking for beginning of value")),
        }
    }

    fn literal(&mut self, word: &'static str, node: Node<'a>) -> Result<Node<'a>, SyntaxError> {
        for expected in word.bytes() {
            if self.peek() != Some(expected) {
                return Err(
                    self.unexpected(format!("in literal {word} (expecting {})", quote(expected)))
                );
            }
            self.at += 1;
        }
        Ok(node)
    }

    fn object(&mut self, depth: usize) -> Result<Node<'a>, SyntaxError> {
        let mut members = Vec::new();
        self.at += 1;
        self.blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Node::Object(members));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            let name = self.string()?;
            self.blanks();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("after object key"));
            }
            self.at += 1;
            self.blanks();
            members.push((name, self.value(depth)?));
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Node::Object(members));
                }
                _ => return Err(self.unexpected("after object key:value pair")),
            }
            self.blanks();
        }
    }

    fn array(&mut self, depth: usize) -> Result<Node<'a>, SyntaxError> {
        let mut items = Vec::new();
        self.at += 1;
        self.blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Node::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Node::Array(items));
                }
                _ => return Err(self.unexpected("after array element")),
            }
            self.blanks();
        }
    }

    fn digits(&mut self, context: &'static str) -> Result<(), SyntaxError> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.unexpected(context));
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Cow<'a, str>, SyntaxError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits("in numeric literal")?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(String::from_utf8_lossy(&self.bytes[start..self.at]))
    }

    /// A string without escapes is borrowed.
    fn string(&mut self) -> Result<Cow<'a, str>, SyntaxError> {
        self.at += 1;
        let start = self.at;
        let mut owned: Option<String> = None;
        let mut chunk = start;
        loop {
            match self.peek() {
                None => return Err(SyntaxError::End),
                Some(b'"') => {
                    let rest = String::from_utf8_lossy(&self.bytes[chunk..self.at]);
                    self.at += 1;
                    return Ok(match owned {
                        None => rest,
                        Some(text) => Cow::Owned(text + &rest),
                    });
                }
                Some(b'\\') => {
                    let text = owned.get_or_insert_default();
                    text.push_str(&String::from_utf8_lossy(&self.bytes[chunk..self.at]));
                    self.at += 1;
                    self.escape(owned.get_or_insert_default())?;
                    chunk = self.at;
                }
                Some(0..0x20) => return Err(self.unexpected("in string literal")),
                Some(_) => self.at += 1,
            }
        }
    }

    /// After a backslash.
    fn escape(&mut self, text: &mut String) -> Result<(), SyntaxError> {
        let plain = match self.peek() {
            Some(b'u') => {
                self.at += 1;
                return self.unicode(text);
            }
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            _ => return Err(self.unexpected("in string escape code")),
        };
        text.push(plain);
        self.at += 1;
        Ok(())
    }

    /// After `\u`. A surrogate without its other half becomes U+FFFD, as in Go.
    fn unicode(&mut self, text: &mut String) -> Result<(), SyntaxError> {
        let unit = self.hex()?;
        let pair = (0xd800..0xdc00).contains(&unit) && self.bytes[self.at..].starts_with(b"\\u");
        if pair {
            let before = self.at;
            self.at += 2;
            let low = self.hex()?;
            if (0xdc00..0xe000).contains(&low) {
                let c = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                text.push(char::from_u32(c).unwrap_or(char::REPLACEMENT_CHARACTER));
                return Ok(());
            }
            self.at = before;
        }
        text.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
        Ok(())
    }

    fn hex(&mut self) -> Result<u32, SyntaxError> {
        let mut unit = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|c| char::from(c).to_digit(16)) else {
                return Err(self.unexpected("in \\u hexadecimal character escape"));
            };
            unit = unit * 16 + digit;
            self.at += 1;
        }
        Ok(unit)
    }
}

/// A byte as Go's scanner shows it: taken for a code point, quoted and escaped.
fn quote(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        0x07 => r"'\a'".to_owned(),
        0x08 => r"'\b'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        0x0b => r"'\v'".to_owned(),
        0x0c => r"'\f'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        0..0x20 | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..=0xa0 | 0xad => format!("'\\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_errors_are_gos() {
        for (text, error) in [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            (
                "nope",
                "invalid character 'o' in literal null (expecting 'u')",
            ),
            ("{} trailing", "invalid character 't' after top-level value"),
            (
                "{a:1}",
                "invalid character 'a' looking for beginning of object key string",
            ),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            (
                "{\"a\":01}",
                "invalid character '1' after object key:value pair",
            ),
            ("[1 2]", "invalid character '2' after array element"),
            (
                "[1,]",
                "invalid character ']' looking for beginning of value",
            ),
            ("-x", "invalid character 'x' in numeric literal"),
            (
                "1.x",
                "invalid character 'x' after decimal point in numeric literal",
            ),
            (
                "1e'",
                "invalid character '\\'' in exponent of numeric literal",
            ),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            (
                "\"\\u12g4\"",
                "invalid character 'g' in \\u hexadecimal character escape",
            ),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            (
                "\u{8e}",
                "invalid character 'Â' looking for beginning of value",
            ),
        ] {
            assert_eq!(
                parse(text.as_bytes()).expect_err(text).to_string(),
                error,
                "{text}"
            );
        }
        assert_eq!(quote(0x8e), "'\\u008e'");
    }

    #[test]
    fn depth_is_bounded() {
        let deep = "[".repeat(100_000);
        assert_eq!(
            parse(deep.as_bytes()).expect_err("too deep").to_string(),
            "invalid character '[' exceeded max depth"
        );
        let fits = format!("{}1{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert!(parse(fits.as_bytes()).is_ok());
    }

    #[test]
    fn order_duplicates_numbers_and_escapes_survive() {
        let node = parse(br#"{"b":1.0,"a":"\ud83d\ude00\t\ud83d!","b":[null,true]}"#)
            .expect("well formed");
        let Node::Object(members) = &node else {
            panic!("an object")
        };
        assert_eq!(members.len(), 3);
        assert_eq!(members[0].1, Node::Number("1.0".into()));
        assert_eq!(members[1].1, Node::String("😀\t\u{fffd}!".into()));
        assert_eq!(
            node.to_value(),
            serde_json::json!({"a": "😀\t\u{fffd}!", "b": [null, true]})
        );
    }
}
