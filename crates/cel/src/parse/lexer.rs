//! Text to tokens, by the longest match.
//!
//! What can't begin or continue any token is an error; the lexer goes on behind it. Its text reaches
//! from the failed token's start up to and including the code point at which every reading of it failed.

use super::token::{Kind, Token};
use crate::source::Source;

/// All tokens, the last of which is the end. Blanks and comments are left out.
pub fn lex(source: &Source, mut failed: impl FnMut(u32, String)) -> Vec<Token> {
    let text = source.text();
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut before = String::new();
    while at < text.len() {
        if let Some(next) = skip(text, at) {
            before.extend(&text[at..next]);
            at = next;
            continue;
        }
        let mut scan = Scan {
            text,
            accepted: None,
            reached: at,
        };
        scan.token(at);
        match scan.accepted {
            Some((kind, end)) => {
                tokens.push(Token {
                    kind,
                    at: at as u32,
                    end: end as u32,
                    text: text[at..end].iter().collect(),
                    before: std::mem::take(&mut before),
                });
                at = end;
            }
            None => {
                let end = (scan.reached + 1).min(text.len());
                let part: String = text[at..end].iter().collect();
                failed(at as u32, format!("token recognition error at: '{part}'"));
                at = end;
            }
        }
    }
    tokens.push(Token {
        kind: Kind::End,
        at: text.len() as u32,
        end: text.len() as u32,
        text: "<EOF>".to_owned(),
        before,
    });
    tokens
}

/// The position behind a blank or a comment that begins at `at`.
fn skip(text: &[char], at: usize) -> Option<usize> {
    match text[at] {
        '\t' | ' ' | '\r' | '\n' | '\u{c}' => Some(at + 1),
        '/' if text.get(at + 1) == Some(&'/') => {
            let line = text[at..].iter().position(|c| *c == '\n');
            Some(line.map_or(text.len(), |length| at + length))
        }
        _ => None,
    }
}

/// One token's reading.
struct Scan<'a> {
    text: &'a [char],
    /// The longest token so far and its end.
    accepted: Option<(Kind, usize)>,
    /// The furthest position that was looked at.
    reached: usize,
}

impl Scan<'_> {
    fn peek(&mut self, at: usize) -> Option<char> {
        self.reached = self.reached.max(at);
        self.text.get(at).copied()
    }

    fn accept(&mut self, kind: Kind, end: usize) {
        if self.accepted.is_none_or(|(_, longest)| end > longest) {
            self.accepted = Some((kind, end));
        }
    }

    fn token(&mut self, at: usize) {
        let first = self.text[at];
        match first {
            'a'..='z' | 'A'..='Z' | '_' => self.word(at),
            '0'..='9' => self.number(at),
            '.' => {
                self.accept(Kind::Dot, at + 1);
                if self.peek(at + 1).is_some_and(|c| c.is_ascii_digit()) {
                    self.fraction(at);
                }
            }
            '"' | '\'' => self.quoted(at, Kind::String, false),
            '`' => self.escaped(at),
            _ => self.symbol(at, first),
        }
    }

    fn symbol(&mut self, at: usize, first: char) {
        let (alone, second, both) = match first {
            '[' => (Some(Kind::BracketOpen), None, None),
            ']' => (Some(Kind::BracketClose), None, None),
            '{' => (Some(Kind::BraceOpen), None, None),
            '}' => (Some(Kind::BraceClose), None, None),
            '(' => (Some(Kind::ParenOpen), None, None),
            ')' => (Some(Kind::ParenClose), None, None),
            ',' => (Some(Kind::Comma), None, None),
            '-' => (Some(Kind::Minus), None, None),
            '?' => (Some(Kind::Question), None, None),
            ':' => (Some(Kind::Colon), None, None),
            '+' => (Some(Kind::Plus), None, None),
            '*' => (Some(Kind::Star), None, None),
            '/' => (Some(Kind::Slash), None, None),
            '%' => (Some(Kind::Percent), None, None),
            '!' => (Some(Kind::Exclamation), Some('='), Some(Kind::NotEquals)),
            '<' => (Some(Kind::Less), Some('='), Some(Kind::LessEquals)),
            '>' => (Some(Kind::Greater), Some('='), Some(Kind::GreaterEquals)),
            '=' => (None, Some('='), Some(Kind::Equals)),
            '&' => (None, Some('&'), Some(Kind::And)),
            '|' => (None, Some('|'), Some(Kind::Or)),
            _ => (None, None, None),
        };
        if let Some(kind) = alone {
            self.accept(kind, at + 1);
        }
        if let (Some(second), Some(both)) = (second, both)
            && self.peek(at + 1) == Some(second)
        {
            self.accept(both, at + 2);
        }
    }

    fn word(&mut self, at: usize) {
        let mut end = at + 1;
        while self
            .peek(end)
            .is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        {
            end += 1;
        }
        let kind = match &self.text[at..end] {
            ['i', 'n'] => Kind::In,
            ['t', 'r', 'u', 'e'] => Kind::True,
            ['f', 'a', 'l', 's', 'e'] => Kind::False,
            ['n', 'u', 'l', 'l'] => Kind::Null,
            _ => Kind::Identifier,
        };
        self.accept(kind, end);
        let quote = |c: Option<char>| matches!(c, Some('"' | '\''));
        match (self.text[at], self.peek(at + 1)) {
            ('r' | 'R', next) if quote(next) => self.quoted(at + 1, Kind::String, true),
            ('b' | 'B', next) if quote(next) => self.quoted(at + 1, Kind::Bytes, false),
            ('b' | 'B', Some('r' | 'R')) if quote(self.peek(at + 2)) => {
                self.quoted(at + 2, Kind::Bytes, true)
            }
            _ => {}
        }
    }

    fn digits(&mut self, mut at: usize) -> usize {
        while self.peek(at).is_some_and(|c| c.is_ascii_digit()) {
            at += 1;
        }
        at
    }

    fn number(&mut self, at: usize) {
        let end = self.digits(at);
        self.accept(Kind::Int, end);
        match self.peek(end) {
            Some('u' | 'U') => self.accept(Kind::Uint, end + 1),
            Some('.') if self.peek(end + 1).is_some_and(|c| c.is_ascii_digit()) => {
                self.fraction(end)
            }
            Some('e' | 'E') => self.exponent(end),
            Some('x') if end == at + 1 && self.text[at] == '0' => {
                let mut last = end + 1;
                while self.peek(last).is_some_and(|c| c.is_ascii_hexdigit()) {
                    last += 1;
                }
                if last > end + 1 {
                    self.accept(Kind::Int, last);
                    if matches!(self.peek(last), Some('u' | 'U')) {
                        self.accept(Kind::Uint, last + 1);
                    }
                }
            }
            _ => {}
        }
    }

    /// A fraction, whose dot is at `dot`, with its exponent.
    fn fraction(&mut self, dot: usize) {
        let end = self.digits(dot + 1);
        self.accept(Kind::Double, end);
        if matches!(self.peek(end), Some('e' | 'E')) {
            self.exponent(end);
        }
    }

    fn exponent(&mut self, at: usize) {
        let sign = usize::from(matches!(self.peek(at + 1), Some('+' | '-')));
        let end = self.digits(at + 1 + sign);
        if end > at + 1 + sign {
            self.accept(Kind::Double, end);
        }
    }

    fn escaped(&mut self, at: usize) {
        let mut end = at + 1;
        while self
            .peek(end)
            .is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ' '))
        {
            end += 1;
        }
        if end > at + 1 && self.peek(end) == Some('`') {
            self.accept(Kind::EscapedIdentifier, end + 1);
        }
    }

    /// A string that opens at `open`, in each of its forms.
    fn quoted(&mut self, open: usize, kind: Kind, raw: bool) {
        let quote = self.text[open];
        let triple = self.peek(open + 1) == Some(quote) && self.peek(open + 2) == Some(quote);
        if triple {
            self.accept(kind, open + 2);
            self.body(open + 3, kind, raw, |scan, at| {
                (scan.peek(at) == Some(quote)
                    && scan.peek(at + 1) == Some(quote)
                    && scan.peek(at + 2) == Some(quote))
                .then_some(at + 3)
            });
            return;
        }
        let mut at = open + 1;
        loop {
            match self.peek(at) {
                None | Some('\n' | '\r') => return,
                Some(c) if c == quote => return self.accept(kind, at + 1),
                Some('\\') if !raw => match self.escape(at) {
                    Some(next) => at = next,
                    None => return,
                },
                Some(_) => at += 1,
            }
        }
    }

    fn body(
        &mut self,
        mut at: usize,
        kind: Kind,
        raw: bool,
        close: impl Fn(&mut Self, usize) -> Option<usize>,
    ) {
        loop {
            if let Some(end) = close(self, at) {
                return self.accept(kind, end);
            }
            match self.peek(at) {
                None => return,
                Some('\\') if !raw => match self.escape(at) {
                    Some(next) => at = next,
                    None => return,
                },
                Some(_) => at += 1,
            }
        }
    }

    /// The position behind the escape sequence at `at`.
    fn escape(&mut self, at: usize) -> Option<usize> {
        let hex = |scan: &mut Self, count: usize| {
            (0..count)
                .all(|digit| {
                    scan.peek(at + 2 + digit)
                        .is_some_and(|c| c.is_ascii_hexdigit())
                })
                .then_some(at + 2 + count)
        };
        match self.peek(at + 1)? {
            'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '"' | '\'' | '\\' | '?' | '`' => Some(at + 2),
            'x' | 'X' => hex(self, 2),
            'u' => hex(self, 4),
            'U' => hex(self, 8),
            '0'..='3' => (0..2)
                .all(|digit| matches!(self.peek(at + 2 + digit), Some('0'..='7')))
                .then_some(at + 4),
            _ => None,
        }
    }
}
