//! Field names that are no identifiers, and the identifiers that stand for them.
//!
//! `__` becomes `__underscores__`, `.` `__dot__`, `-` `__dash__`, `/` `__slash__`; a name that is a keyword
//! gets two underscores on each side.

/// The words that are keywords of CEL.
pub const KEYWORDS: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The identifier for a field's name; none, when the name can't be used in expressions.
pub fn escape(name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if KEYWORDS.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("__") {
            out += "__underscores__";
            rest = after;
            continue;
        }
        match c {
            '.' => out += "__dot__",
            '-' => out += "__dash__",
            '/' => out += "__slash__",
            c if c.is_ascii_alphanumeric() || c == '_' => out.push(c),
            _ => return None,
        }
        rest = &rest[c.len_utf8()..];
    }
    Some(out)
}

/// The field's name for an identifier; none, when the identifier has a sequence that stands for nothing.
pub fn unescape(identifier: &str) -> Option<String> {
    let mut out = String::with_capacity(identifier.len());
    let mut rest = identifier;
    while let Some(at) = rest.find("__") {
        let Some((word, after)) = sequence(&rest[at..]) else {
            // Not a sequence: the first underscore stands for itself.
            out += &rest[..=at];
            rest = &rest[at + 1..];
            continue;
        };
        out += &rest[..at];
        out += match word {
            "underscores" => "__",
            "dot" => ".",
            "dash" => "-",
            "slash" => "/",
            word if KEYWORDS.contains(&word) && word.len() + 4 == identifier.len() => word,
            _ => return None,
        };
        rest = after;
    }
    out += rest;
    Some(out)
}

/// The word of a sequence `__word__` that begins here, and what follows.
fn sequence(text: &str) -> Option<(&str, &str)> {
    let body = text.strip_prefix("__")?;
    let end = body.find('_')?;
    let after = body[end..].strip_prefix("__")?;
    (end > 0).then_some((&body[..end], after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_back() {
        for (name, escaped) in [
            ("a", "a"),
            ("a-b", "a__dash__b"),
            ("a.b/c", "a__dot__b__slash__c"),
            ("a__b", "a__underscores__b"),
            ("__a", "__underscores__a"),
            ("namespace", "__namespace__"),
            ("a_b", "a_b"),
            ("a___b", "a__underscores___b"),
        ] {
            assert_eq!(escape(name).as_deref(), Some(escaped), "{name}");
            assert_eq!(unescape(escaped).as_deref(), Some(name), "{escaped}");
        }
        for name in ["", "1a", "a b", "é", "$x"] {
            assert_eq!(escape(name), None, "{name}");
        }
        assert_eq!(unescape("__nothing__"), None);
        assert_eq!(unescape("a__if__"), None);
    }
}
