//! The value of a string or bytes literal from its text, quotes and prefix included.

/// Why a literal has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnescapeError {
    /// The quotes or an escape sequence are wrong.
    #[error("unable to unescape string")]
    Malformed,
    /// A surrogate, or beyond the last code point.
    #[error("invalid unicode code point")]
    CodePoint,
}

/// Unquotes a string.
pub fn string(text: &str) -> Result<String, UnescapeError> {
    let bytes = unquote(text, false)?;
    String::from_utf8(bytes).map_err(|_| UnescapeError::CodePoint)
}

/// Unquotes bytes, whose prefix `b` is gone already.
pub fn bytes(text: &str) -> Result<Vec<u8>, UnescapeError> {
    unquote(text, true)
}

fn unquote(text: &str, is_bytes: bool) -> Result<Vec<u8>, UnescapeError> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (raw, quoted) = match text.strip_prefix(['r', 'R']) {
        Some(rest) => (true, rest),
        None => (false, text.as_str()),
    };
    let body = ["\"\"\"", "'''", "\"", "'"]
        .iter()
        .find_map(|quote| {
            let long_enough = quoted.len() >= 2 * quote.len();
            long_enough
                .then(|| quoted.strip_prefix(quote)?.strip_suffix(quote))
                .flatten()
        })
        .ok_or(UnescapeError::Malformed)?;
    if raw {
        return Ok(body.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(body.len());
    let mut chars = body.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            escape(&mut chars, is_bytes, &mut out)?;
        } else {
            push(c, &mut out);
        }
    }
    Ok(out)
}

fn push(c: char, out: &mut Vec<u8>) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

fn escape(
    chars: &mut std::str::Chars<'_>,
    is_bytes: bool,
    out: &mut Vec<u8>,
) -> Result<(), UnescapeError> {
    let code = chars.next().ok_or(UnescapeError::Malformed)?;
    let simple = match code {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' | '\'' | '"' | '`' | '?' => code as u8,
        'x' | 'X' => return number(chars, 16, 2, 0, is_bytes, out),
        'u' if !is_bytes => return number(chars, 16, 4, 0, false, out),
        'U' if !is_bytes => return number(chars, 16, 8, 0, false, out),
        '0'..='3' => return number(chars, 8, 2, code as u32 - '0' as u32, is_bytes, out),
        _ => return Err(UnescapeError::Malformed),
    };
    out.push(simple);
    Ok(())
}

fn number(
    chars: &mut std::str::Chars<'_>,
    radix: u32,
    digits: usize,
    first: u32,
    is_bytes: bool,
    out: &mut Vec<u8>,
) -> Result<(), UnescapeError> {
    let mut value = first;
    for _ in 0..digits {
        let digit = chars.next().and_then(|c| c.to_digit(radix));
        let digit = digit.ok_or(UnescapeError::Malformed)?;
        value = value.wrapping_mul(radix).wrapping_add(digit);
    }
    match u8::try_from(value) {
        Ok(byte) if is_bytes => out.push(byte),
        _ => push(char::from_u32(value).ok_or(UnescapeError::CodePoint)?, out),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_have_their_values() {
        for (text, want) in [
            (r#""a\nb""#, "a\nb"),
            (r"'\x41\u00e9\101'", "AéA"),
            (r#"r"\n""#, r"\n"),
            ("'''a'b'''", "a'b"),
            ("''", ""),
            ("''''''", ""),
        ] {
            assert_eq!(string(text).as_deref(), Ok(want), "{text}");
        }
        assert_eq!(bytes(r"'\xff\377'"), Ok(vec![0xff, 0xff]));
        assert_eq!(string(r"'\ud800'"), Err(UnescapeError::CodePoint));
        assert_eq!(bytes(r"'\u0041'"), Err(UnescapeError::Malformed));
    }
}
