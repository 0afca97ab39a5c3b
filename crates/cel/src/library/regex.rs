//! Patterns, in the syntax of Go's `regexp` (RE2). Matching takes linear time.
//!
//! Rust's `regex` is of the same family; where its syntax reads otherwise (`\d`, `\w`, `\s` and `\b` are ASCII
//! in Go; `&&`, `--` and `~~` in classes are plain), the pattern is rewritten.

use regex::{Regex, RegexBuilder};

use super::{LIST_MAX, Native, failed, ok, text, texts};
use crate::cost::Meter;
use crate::value::{EvalError, Evaluated, Value};

/// The largest compiled pattern, in bytes.
const SIZE_MAX: usize = 4 << 20;

/// Compiles a pattern; the error is the text of Go's compiler as far as it can be told.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(&translate(pattern))
        .size_limit(SIZE_MAX)
        .nest_limit(250)
        .build()
        .map_err(|err| {
            let reason = match &err {
                regex::Error::CompiledTooBig(_) => "expression too large".to_owned(),
                _ => "invalid or unsupported syntax".to_owned(),
            };
            format!("error parsing regexp: {reason}: `{pattern}`")
        })
}

/// The pattern in Rust's syntax.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars().peekable();
    // Inside a class: whether anything was read yet.
    let mut class: Option<bool> = None;
    while let Some(c) = chars.next() {
        match (c, class) {
            ('\\', _) => match chars.next() {
                Some('Q') => quoted(&mut chars, &mut out),
                Some(next) => escaped(next, class.is_some(), &mut out),
                None => out.push('\\'),
            },
            ('[', None) => {
                out.push('[');
                if chars.peek() == Some(&'^') {
                    chars.next();
                    out.push('^');
                }
                if chars.peek() == Some(&']') {
                    chars.next();
                    out.push_str("\\]");
                }
                class = Some(false);
            }
            ('[', Some(_)) if chars.peek() == Some(&':') => out.push('['),
            (']', Some(_)) => {
                let posix = out.ends_with(':') && out[..out.len() - 1].contains("[:");
                out.push(']');
                if !posix {
                    class = None;
                }
            }
            ('[' | '&' | '~', Some(_)) => {
                out.push('\\');
                out.push(c);
            }
            ('-', Some(_)) if chars.peek() == Some(&'-') => out.push_str("\\-"),
            _ => out.push(c),
        }
    }
    out
}

fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    let mut literal = String::new();
    while let Some(c) = chars.next() {
        if c == '\\' && chars.peek() == Some(&'E') {
            chars.next();
            break;
        }
        literal.push(c);
    }
    out.push_str(&regex::escape(&literal));
}

fn escaped(c: char, in_class: bool, out: &mut String) {
    let ascii = match (c, in_class) {
        ('d', false) => "[0-9]",
        ('d', true) => "0-9",
        ('D', _) => "[^0-9]",
        ('w', false) => "[0-9A-Za-z_]",
        ('w', true) => "0-9A-Za-z_",
        ('W', _) => "[^0-9A-Za-z_]",
        ('s', false) => r"[\t\n\f\r ]",
        ('s', true) => r"\t\n\f\r ",
        ('S', _) => r"[^\t\n\f\r ]",
        ('b', false) => r"(?-u:\b)",
        ('B', false) => r"(?-u:\B)",
        ('<' | '>', _) => return out.push(c),
        _ => {
            out.push('\\');
            return out.push(c);
        }
    };
    out.push_str(ascii);
}

/// A function of this module.
pub fn native(name: &str) -> Option<Native> {
    Some(match name {
        "matches" => |meter, args| match args {
            [Value::String(text), Value::String(pattern)] => match meter.pattern(pattern) {
                Ok(regex) => ok(Value::Bool(regex.is_match(text))),
                Err(error) => failed(error),
            },
            [Value::String(_), _] => Some(Err(EvalError::no_such_overload())),
            _ => None,
        },
        "find" => |meter, args| match args {
            [Value::String(whole), Value::String(pattern)] => match meter.pattern(pattern) {
                Ok(regex) => text(
                    regex
                        .find(whole)
                        .map_or(String::new(), |found| found.as_str().to_owned()),
                ),
                Err(error) => failed(format!("Illegal regex: {error}")),
            },
            _ => None,
        },
        "findAll" => find_all,
        _ => return None,
    })
}

fn find_all<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let (whole, pattern, most) = match args {
        [Value::String(whole), Value::String(pattern)] => (whole, pattern, -1),
        [
            Value::String(whole),
            Value::String(pattern),
            Value::Int(most),
        ] => (whole, pattern, *most),
        _ => return None,
    };
    let regex = match meter.pattern(pattern) {
        Ok(regex) => regex,
        Err(error) => return failed(format!("Illegal regex: {error}")),
    };
    let most = usize::try_from(most).unwrap_or(LIST_MAX);
    ok(texts(
        regex
            .find_iter(whole)
            .take(most.min(LIST_MAX))
            .map(|found| found.as_str()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        for (pattern, text, want) in [
            (r"^\d+$", "12", true),
            (r"^\d+$", "١٢", false),
            (r"^[\w.]+$", "a_1.", true),
            (r"^[]a]$", "]", true),
            (r"^[a&&b]+$", "&a", true),
            (r"^[[:alpha:]-]+$", "a-b", true),
            (r"\Qa.b\E", "a.b", true),
            (r"\Qa.b\E", "axb", false),
            (r"^\w+\b", "abc", true),
            (r"(?i)ABC", "xabcx", true),
            ("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "a-b", true),
            (r"^[+\--/]$", "-", true),
        ] {
            let regex = compile(pattern).unwrap_or_else(|err| panic!("{pattern}: {err}"));
            assert_eq!(regex.is_match(text), want, "{pattern} {text}");
        }
        for pattern in ["(", "a**b(", r"(?=x)", r"\1", "a{1001}{1001}"] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }
}
