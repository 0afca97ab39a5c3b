//! PEM blocks (RFC 7468) as Go's `encoding/pem` finds them: whatever is between blocks, and blocks that can't be read,
//! are passed over.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// What it says that it holds: `CERTIFICATE`.
    pub kind: String,
    /// Whether it begins with headers (RFC 1421).
    pub headers: bool,
    /// What it holds.
    pub bytes: Vec<u8>,
}

fn marker<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    line.trim_end().strip_prefix(word)?.strip_suffix("-----")
}

/// The blocks of a text, in order.
pub(crate) fn blocks(text: &[u8]) -> Vec<Block> {
    let text = String::from_utf8_lossy(text);
    let mut blocks = Vec::new();
    let mut open: Option<(&str, Vec<&str>)> = None;
    for line in text.lines() {
        if let Some(kind) = marker(line, "-----BEGIN ") {
            open = Some((kind, Vec::new()));
        } else if let Some(kind) = marker(line, "-----END ") {
            let begun = open.take().filter(|(begun, _)| *begun == kind);
            blocks.extend(begun.and_then(|(kind, lines)| block(kind, &lines)));
        } else if let Some((_, lines)) = &mut open {
            lines.push(line);
        }
    }
    blocks
}

fn block(kind: &str, lines: &[&str]) -> Option<Block> {
    let count = lines.iter().take_while(|line| line.contains(':')).count();
    let body: String = lines[count..]
        .iter()
        .flat_map(|line| line.split_whitespace())
        .collect();
    Some(Block {
        kind: kind.to_owned(),
        headers: count > 0,
        bytes: STANDARD.decode(body).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_between_other_words() {
        let text = "hello\n-----BEGIN A-----\nQUJD\n-----END A-----\n-----BEGIN B-----\n!\n-----END B-----\n\
                    -----BEGIN C-----\nX: y\n\nQQ==\n-----END C-----\n";
        let found = blocks(text.as_bytes());
        let seen: Vec<_> = found
            .iter()
            .map(|b| (b.kind.as_str(), b.headers, &b.bytes[..]))
            .collect();
        assert_eq!(seen, [("A", false, &b"ABC"[..]), ("C", true, b"A")]);
    }
}
