//! The words of label selector texts.

/// A word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Bang,
    Close,
    Comma,
    DoubleEquals,
    End,
    Equals,
    Error(&'a str),
    Greater,
    Identifier(&'a str),
    In,
    Less,
    NotEquals,
    NotIn,
    Open,
}

impl<'a> Token<'a> {
    /// The word as it is shown in texts of errors.
    pub(super) fn literal(self) -> String {
        match self {
            Token::Identifier(text) => text.to_owned(),
            Token::Error(text) => format!("error expected: keyword found '{text}'"),
            Token::Bang => "!".to_owned(),
            Token::Close => ")".to_owned(),
            Token::Comma => ",".to_owned(),
            Token::DoubleEquals => "==".to_owned(),
            Token::End => String::new(),
            Token::Equals => "=".to_owned(),
            Token::Greater => ">".to_owned(),
            Token::In => "in".to_owned(),
            Token::Less => "<".to_owned(),
            Token::NotEquals => "!=".to_owned(),
            Token::NotIn => "notin".to_owned(),
            Token::Open => "(".to_owned(),
        }
    }

    /// `in` and `notin` are words only where an operator may be.
    pub(super) fn as_value(self) -> Token<'a> {
        match self {
            Token::In => Token::Identifier("in"),
            Token::NotIn => Token::Identifier("notin"),
            other => other,
        }
    }
}

fn is_special(b: u8) -> bool {
    matches!(b, b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<')
}

fn special(text: &str) -> Option<Token<'static>> {
    Some(match text {
        ")" => Token::Close,
        "," => Token::Comma,
        "!" => Token::Bang,
        "==" => Token::DoubleEquals,
        ">" => Token::Greater,
        "=" => Token::Equals,
        "<" => Token::Less,
        "!=" => Token::NotEquals,
        "(" => Token::Open,
        _ => return None,
    })
}

/// Splits a text into words.
pub(super) fn next(text: &str) -> (Token<'_>, &str) {
    let text = text.trim_start_matches([' ', '\t', '\r', '\n']);
    let bytes = text.as_bytes();
    let Some(first) = bytes.first() else {
        return (Token::End, "");
    };
    if !is_special(*first) {
        let end = bytes
            .iter()
            .position(|b| is_special(*b) || matches!(b, b' ' | b'\t' | b'\r' | b'\n'))
            .unwrap_or(bytes.len());
        let (word, rest) = text.split_at(end);
        return match word {
            "in" => (Token::In, rest),
            "notin" => (Token::NotIn, rest),
            _ => (Token::Identifier(word), rest),
        };
    }
    // The longest run of special characters that is a word.
    let mut found = None;
    let mut end = 0;
    while end < bytes.len() && is_special(bytes[end]) {
        end += 1;
        match special(&text[..end]) {
            Some(token) => found = Some((token, end)),
            None if found.is_some() => break,
            None => {}
        }
    }
    match found {
        Some((token, end)) => (token, &text[end..]),
        None => (Token::Error(&text[..end]), &text[end..]),
    }
}
