//! Regular expressions in Go's syntax (RE2), compiled by the `regex` crate.
//!
//! Both are automata with bounded time; their syntaxes differ in small things: what `\d`, `\w`, `\s` and `\b` mean beyond
//! ASCII, sets inside of classes, and braces that are no repetition. A pattern is translated, and what Go refuses is
//! refused with Go's text.

use regex::{Regex, RegexBuilder};

/// How much memory a compiled pattern may take.
const SIZE_MAX: usize = 4 << 20;
/// Go's bound of repetitions.
const REPEAT_MAX: u32 = 1000;

/// A compiled pattern with its text.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    compiled: Result<Regex, String>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Pattern {
    /// Compiles a pattern; a wrong one says so when asked ([`Pattern::error`]).
    pub fn new(text: &str) -> Pattern {
        let compiled = translate(text).and_then(|translated| {
            RegexBuilder::new(&translated)
                .size_limit(SIZE_MAX)
                .build()
                .map_err(|_| format!("expression too large: `{text}`"))
        });
        Pattern {
            text: text.to_owned(),
            compiled,
        }
    }

    /// The pattern as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Go's text on a pattern that is none.
    pub fn error(&self) -> Option<String> {
        self.compiled
            .as_ref()
            .err()
            .map(|why| format!("error parsing regexp: {why}"))
    }

    /// Whether it occurs in a text. A wrong pattern occurs nowhere.
    pub fn matches(&self, text: &str) -> bool {
        self.compiled.as_ref().is_ok_and(|r| r.is_match(text))
    }
}

/// The same expression in the syntax of the `regex` crate, or what Go says is wrong.
fn translate(pattern: &str) -> Result<String, String> {
    let mut reader = Reader {
        text: pattern,
        at: 0,
        out: String::with_capacity(pattern.len() + 8),
        open: 0,
        repeatable: false,
        repeated_from: None,
    };
    while reader.at < pattern.len() {
        reader.item()?;
    }
    match reader.open {
        0 => Ok(reader.out),
        _ => Err(format!("missing closing ): `{pattern}`")),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    out: String,
    /// Groups that are not closed yet.
    open: usize,
    /// Whether there is something that a repetition can apply to.
    repeatable: bool,
    /// Where the repetition began that ends here.
    repeated_from: Option<usize>,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Copies the next `n` bytes.
    fn copy(&mut self, n: usize) {
        self.out.push_str(&self.rest()[..n]);
        self.at += n;
    }

    fn atom(&mut self) {
        self.repeatable = true;
        self.repeated_from = None;
    }

    fn item(&mut self) -> Result<(), String> {
        let Some(c) = self.rest().chars().next() else {
            return Ok(());
        };
        match c {
            '(' => self.group(),
            ')' => {
                if self.open == 0 {
                    return Err(format!("unexpected ): `{}`", self.text));
                }
                self.open -= 1;
                self.copy(1);
                self.atom();
                Ok(())
            }
            '|' => {
                self.copy(1);
                self.repeatable = false;
                self.repeated_from = None;
                Ok(())
            }
            '*' | '+' | '?' => self.repetition(1),
            '{' => match repeat(self.rest()) {
                Some((length, least, most)) => {
                    let too_many = |n: Option<u32>| n.is_none_or(|n| n > REPEAT_MAX);
                    let wrong = too_many(least) || most.is_some_and(|m| too_many(m) || m < least);
                    if wrong {
                        return Err(format!(
                            "invalid repeat count: `{}`",
                            &self.rest()[..length]
                        ));
                    }
                    self.repetition(length)
                }
                None => {
                    self.out.push_str("\\{");
                    self.at += 1;
                    self.atom();
                    Ok(())
                }
            },
            '}' => {
                self.out.push_str("\\}");
                self.at += 1;
                self.atom();
                Ok(())
            }
            '[' => self.class(),
            '\\' => self.escape(),
            c => {
                self.copy(c.len_utf8());
                self.atom();
                Ok(())
            }
        }
    }

    fn repetition(&mut self, length: usize) -> Result<(), String> {
        let operator = &self.rest()[..length];
        if let Some(from) = self.repeated_from {
            // One `?` behind a repetition makes it lazy.
            return Err(format!(
                "invalid nested repetition operator: `{}`",
                &self.text[from..self.at + length]
            ));
        }
        if !self.repeatable {
            return Err(format!(
                "missing argument to repetition operator: `{operator}`"
            ));
        }
        self.repeated_from = Some(self.at);
        self.copy(length);
        if self.rest().starts_with('?') {
            self.copy(1);
        }
        Ok(())
    }

    fn group(&mut self) -> Result<(), String> {
        self.open += 1;
        self.repeatable = false;
        self.repeated_from = None;
        let Some(inner) = self.rest().strip_prefix("(?") else {
            self.copy(1);
            return Ok(());
        };
        let named = inner.strip_prefix("P<").or_else(|| {
            let lookbehind = inner.starts_with("<=") || inner.starts_with("<!");
            inner.strip_prefix('<').filter(|_| !lookbehind)
        });
        if let Some(name) = named {
            let end = name
                .find('>')
                .ok_or_else(|| format!("invalid named capture: `{}`", self.rest()))?;
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let length = self.rest().len() - name.len() + end + 1;
            if name[..end].is_empty() || !name[..end].chars().all(word) {
                return Err(format!(
                    "invalid named capture: `{}`",
                    &self.rest()[..length]
                ));
            }
            // Names don't matter to whoever only asks whether there is a match.
            self.out.push('(');
            self.at += length;
            return Ok(());
        }
        self.flags(inner)
    }

    /// `(?i)`, `(?i:`: flags are `imsU` in Go.
    fn flags(&mut self, inner: &str) -> Result<(), String> {
        let unsupported = |n: usize| {
            format!(
                "invalid or unsupported Perl syntax: `{}`",
                self.rest().get(..2 + n).unwrap_or(self.rest())
            )
        };
        let end = inner
            .find(|c: char| !matches!(c, 'i' | 'm' | 's' | 'U' | '-'))
            .ok_or_else(|| format!("missing argument to repetition operator: `{}`", "?"))?;
        match inner[end..].chars().next() {
            Some(':') => self.copy(2 + end + 1),
            Some(')') => {
                self.open -= 1;
                self.copy(2 + end + 1);
            }
            other => return Err(unsupported(end + other.map_or(0, char::len_utf8))),
        }
        Ok(())
    }

    fn escape(&mut self) -> Result<(), String> {
        let escaped = self.rest()[1..]
            .chars()
            .next()
            .ok_or_else(|| "trailing backslash at end of expression: ``".to_owned())?;
        let plain = |class: &'static str| Some(class);
        let class = match escaped {
            'd' => plain("[0-9]"),
            'D' => plain("[^0-9]"),
            'w' => plain("[0-9A-Za-z_]"),
            'W' => plain("[^0-9A-Za-z_]"),
            's' => plain("[\\t\\n\\f\\r ]"),
            'S' => plain("[^\\t\\n\\f\\r ]"),
            'b' => plain("(?-u:\\b)"),
            'B' => plain("\\B"),
            'A' => plain("\\A"),
            'z' => plain("\\z"),
            _ => None,
        };
        if let Some(class) = class {
            self.out.push_str(class);
            self.at += 2;
        } else if escaped == 'Q' {
            let quoted = &self.rest()[2..];
            let (literal, length) = match quoted.find("\\E") {
                Some(end) => (&quoted[..end], end + 2),
                None => (quoted, quoted.len()),
            };
            self.out.push_str(&regex::escape(literal));
            self.at += 2 + length;
        } else {
            let literal = self.literal()?;
            self.out.push_str(&literal);
        }
        self.atom();
        Ok(())
    }

    /// An escape that stands for one character or a Unicode class, inside of classes and outside; consumes it.
    fn literal(&mut self) -> Result<String, String> {
        let rest = self.rest();
        let escaped = rest[1..].chars().next().unwrap_or('\\');
        let end = 1 + escaped.len_utf8();
        let invalid = |length: usize| {
            Err(format!(
                "invalid escape sequence: `{}`",
                rest.get(..length).unwrap_or(rest)
            ))
        };
        let (text, length) = match escaped {
            'p' | 'P' => {
                let inner = &rest[end..];
                let length = match inner.strip_prefix('{') {
                    Some(name) => name.find('}').map(|n| n + 2),
                    None => inner.chars().next().map(char::len_utf8),
                };
                let Some(length) = length else {
                    return Err(format!("invalid character class range: `{rest}`"));
                };
                let whole = &rest[..end + length];
                if Regex::new(whole).is_err() {
                    return Err(format!("invalid character class range: `{whole}`"));
                }
                (whole.to_owned(), end + length)
            }
            'x' => {
                let inner = &rest[end..];
                let (digits, length) = match inner.strip_prefix('{') {
                    Some(digits) => match digits.find('}') {
                        Some(n) => (&digits[..n], n + 2),
                        None => return invalid(rest.len()),
                    },
                    None => (inner.get(..2).unwrap_or_default(), 2),
                };
                let code = u32::from_str_radix(digits, 16)
                    .ok()
                    .and_then(char::from_u32);
                match code {
                    Some(c) => (format!("\\x{{{:x}}}", c as u32), end + length),
                    None => return invalid(end + length),
                }
            }
            'a' | 'f' | 't' | 'n' | 'r' | 'v' => (rest[..end].to_owned(), end),
            '0'..='7' => {
                let digits: String = rest[1..]
                    .chars()
                    .take(3)
                    .take_while(|c| ('0'..='7').contains(c))
                    .collect();
                // A single digit but zero would be a reference backwards.
                if escaped != '0' && digits.len() == 1 {
                    return invalid(end);
                }
                let code = u32::from_str_radix(&digits, 8).unwrap_or_default();
                (format!("\\x{{{code:x}}}"), 1 + digits.len())
            }
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => (regex::escape(&c.to_string()), end),
            _ => return invalid(end),
        };
        self.at += length;
        Ok(text)
    }

    fn class(&mut self) -> Result<(), String> {
        let missing = format!("missing closing ]: `{}`", self.rest());
        self.copy(1);
        if self.rest().starts_with('^') {
            self.copy(1);
        }
        let mut first = true;
        loop {
            let rest = self.rest();
            let Some(c) = rest.chars().next() else {
                return Err(missing);
            };
            if c == ']' && !first {
                self.copy(1);
                break;
            }
            first = false;
            if rest.starts_with("[:")
                && let Some(end) = rest.find(":]")
            {
                let whole = &rest[..end + 2];
                if Regex::new(&format!("[{whole}]")).is_err() {
                    return Err(format!("invalid character class range: `{whole}`"));
                }
                self.copy(end + 2);
                continue;
            }
            self.class_range()?;
        }
        self.atom();
        Ok(())
    }

    /// One character, range or Perl class inside of a class.
    fn class_range(&mut self) -> Result<(), String> {
        let from = self.at;
        let (low, is_set) = self.class_member()?;
        self.out.push_str(&low);
        let dash = self.rest().starts_with('-') && !self.rest().starts_with("-]");
        if !dash || is_set || self.rest().len() < 2 {
            return Ok(());
        }
        self.at += 1;
        let (high, is_set) = self.class_member()?;
        let range = format!("{low}-{high}");
        if is_set || Regex::new(&format!("[{range}]")).is_err() {
            return Err(format!(
                "invalid character class range: `{}`",
                &self.text[from..self.at]
            ));
        }
        self.out.push('-');
        self.out.push_str(&high);
        Ok(())
    }

    /// The translation of one member, and whether it stands for many characters.
    fn class_member(&mut self) -> Result<(String, bool), String> {
        let rest = self.rest();
        let Some(c) = rest.chars().next() else {
            return Err(format!("missing closing ]: `{}`", self.text));
        };
        if c != '\\' {
            self.at += c.len_utf8();
            // What Go takes literally here, the other syntax may not.
            return Ok((
                match c.is_ascii_punctuation() {
                    true => format!("\\x{{{:x}}}", c as u32),
                    false => c.to_string(),
                },
                false,
            ));
        }
        let set = match rest[1..].chars().next() {
            None => return Err("trailing backslash at end of expression: ``".to_owned()),
            Some('d') => "0-9",
            Some('D') => "[^0-9]",
            Some('w') => "0-9A-Za-z_",
            Some('W') => "[^0-9A-Za-z_]",
            Some('s') => "\\t\\n\\f\\r ",
            Some('S') => "[^\\t\\n\\f\\r ]",
            Some(c) => {
                let many = matches!(c, 'p' | 'P');
                return Ok((self.literal()?, many));
            }
        };
        self.at += 2;
        Ok((set.to_owned(), true))
    }
}

/// `{n}`, `{n,}`, `{n,m}`: its length, and the numbers; the second is absent for `{n}`, and its inner is for `{n,}`.
/// Numbers that don't fit are absent, too.
fn repeat(text: &str) -> Option<(usize, Option<u32>, Option<Option<u32>>)> {
    let end = text.find('}')?;
    let inner = &text[1..end];
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    match inner.split_once(',') {
        None if digits(inner) => Some((end + 1, inner.parse().ok(), None)),
        Some((least, "")) if digits(least) => Some((end + 1, least.parse().ok(), None)),
        Some((least, most)) if digits(least) && digits(most) => {
            Some((end + 1, least.parse().ok(), Some(most.parse().ok())))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        let table = [
            (r"^[a-z]+$", "abc", true),
            (r"^\d+$", "١", false),
            (r"^[\d.]+$", "1.2", true),
            (r"^[[]$", "[", true),
            (r"^[a&&b]$", "&", true),
            (r"^[^\s]+$", "a b", false),
            (r"^a{$", "a{", true),
            (r"^a{2,3}$", "aaa", true),
            (r"^[]a]$", "]", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^(?i)abc$", "ABC", true),
            (r"^(?P<x>a)(?<y>b)$", "ab", true),
            (r"^[-a]+$", "-a", true),
            (r"^[a-]+$", "-a", true),
            (r"^\/\-\_$", "/-_", true),
            (r"^[\w\-.]+$", "a-b.c_1", true),
            (r"\bfoo\b", "a foo b", true),
            (r"^\pL+$", "é", true),
            (r"^[[:alpha:]]+$", "ab", true),
            (r"a*?b", "aab", true),
        ];
        for (pattern, text, expected) in table {
            let compiled = Pattern::new(pattern);
            assert_eq!(compiled.error(), None, "{pattern}");
            assert_eq!(compiled.matches(text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn wrong_patterns_have_gos_texts() {
        let table = [
            ("[", "missing closing ]: `[`"),
            ("a[b", "missing closing ]: `[b`"),
            ("(a", "missing closing ): `(a`"),
            ("a)", "unexpected ): `a)`"),
            ("*a", "missing argument to repetition operator: `*`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("a\\", "trailing backslash at end of expression: ``"),
            ("[z-a]", "invalid character class range: `z-a`"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
            ("\\y", "invalid escape sequence: `\\y`"),
            ("\\1", "invalid escape sequence: `\\1`"),
        ];
        for (pattern, text) in table {
            let expected = format!("error parsing regexp: {text}");
            assert_eq!(Pattern::new(pattern).error(), Some(expected), "{pattern}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn any_text_is_a_pattern_or_an_error(text in "[\\\\a-c0-9(){}\\[\\]*+?|^$.,:<>P=!-]{0,24}") {
            let pattern = Pattern::new(&text);
            prop_assert!(pattern.error().is_none() || !pattern.matches("abc"));
        }
    }
}
