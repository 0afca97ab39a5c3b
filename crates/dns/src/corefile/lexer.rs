//! Text to tokens, by the rules of Caddy's Caddyfile, which a Corefile is.
//!
//! Blanks part tokens; `"…"` holds blanks and line ends, with `\"` for a quote; `#` at the start of a token begins a
//! comment; a backslash before a line end continues the line; `{$NAME}` and `{%NAME%}` stand for the environment.

use super::{Error, TEXT_MAX};

/// The most tokens of a Corefile.
const TOKENS_MAX: usize = 65_536;

/// One word of a Corefile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its text, without quotes.
    pub text: String,
    /// The line where it begins, from 1.
    pub line: u32,
    /// The line that it counts to: a continued line counts as the one it continues.
    pub row: u32,
}

/// Splits `text`.
///
/// # Errors
/// A quote that does not end, or more text than [`TEXT_MAX`].
pub fn tokens(
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Token>, Error> {
    if text.len() > TEXT_MAX {
        return Err(Error::at(
            1,
            format!("the Corefile is larger than {TEXT_MAX} bytes"),
        ));
    }
    let mut lexer = Lexer {
        rest: text.strip_prefix('\u{feff}').unwrap_or(text).chars(),
        line: 1,
        continued: 0,
    };
    let mut tokens = Vec::new();
    while let Some(mut token) = lexer.next()? {
        if tokens.len() == TOKENS_MAX {
            return Err(Error::at(token.line, "the Corefile has too many words"));
        }
        token.text = substituted(token.text, environment);
        tokens.push(token);
    }
    Ok(tokens)
}

struct Lexer<'a> {
    rest: std::str::Chars<'a>,
    line: u32,
    /// Line ends that did not count.
    continued: u32,
}

impl Lexer<'_> {
    fn next(&mut self) -> Result<Option<Token>, Error> {
        let first = loop {
            match self.rest.next() {
                None => return Ok(None),
                Some('\n') => {
                    self.line += 1;
                    self.continued = 0;
                }
                Some('#') => self.comment(),
                Some('\\') if self.continues() => {}
                Some(c) if c.is_whitespace() => {}
                Some(c) => break c,
            }
        };
        let (line, row) = (self.line, self.line - self.continued);
        let text = match first {
            '"' => self.quoted(line)?,
            first => self.plain(first),
        };
        Ok(Some(Token { text, line, row }))
    }

    fn comment(&mut self) {
        let rest = self.rest.as_str();
        let end = rest.find('\n').unwrap_or(rest.len());
        self.rest = rest[end..].chars();
    }

    /// A backslash at the end of a line: the next line belongs to this one.
    fn continues(&mut self) -> bool {
        let rest = self.rest.as_str();
        let after = rest
            .strip_prefix("\r\n")
            .or_else(|| rest.strip_prefix('\n'));
        let Some(after) = after else { return false };
        self.rest = after.chars();
        self.line += 1;
        self.continued += 1;
        true
    }

    fn quoted(&mut self, line: u32) -> Result<String, Error> {
        let mut text = String::new();
        loop {
            match self.rest.next() {
                None => return Err(Error::at(line, "a quote does not end")),
                Some('"') => return Ok(text),
                Some('\\') if self.rest.as_str().starts_with('"') => {
                    self.rest.next();
                    text.push('"');
                }
                Some('\n') => {
                    self.line += 1;
                    self.continued += 1;
                    text.push('\n');
                }
                Some(c) => text.push(c),
            }
        }
    }

    fn plain(&mut self, first: char) -> String {
        let mut text = String::from(first);
        while let Some(c) = self.rest.as_str().chars().next() {
            if c.is_whitespace() {
                break;
            }
            self.rest.next();
            text.push(c);
        }
        text
    }
}

/// `{$NAME}` and `{%NAME%}`; a variable that is not set is empty.
fn substituted(text: String, environment: &dyn Fn(&str) -> Option<String>) -> String {
    let mut text = text;
    for (open, close) in [("{$", "}"), ("{%", "%}")] {
        let mut done = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(open) {
            let (before, from) = rest.split_at(at);
            let inside = &from[open.len()..];
            let Some(end) = inside.find(close) else { break };
            done.push_str(before);
            done.push_str(&environment(&inside[..end]).unwrap_or_default());
            rest = &inside[end + close.len()..];
        }
        done.push_str(rest);
        text = done;
    }
    text
}
