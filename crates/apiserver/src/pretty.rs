//! JSON for people, as Go's `json.Indent` writes it. Members keep their order, so it works on bytes.

/// Breaks compact JSON into lines.
pub fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    let mut bytes = json.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if quoted {
            out.push(byte);
            (quoted, escaped) = match byte {
                _ if escaped => (true, false),
                b'\\' => (true, true),
                b'"' => (false, false),
                _ => (true, false),
            };
            continue;
        }
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                if bytes.peek().is_some_and(|next| matches!(next, b'}' | b']')) {
                    out.extend(bytes.next());
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            byte if byte.is_ascii_whitespace() => {}
            byte => {
                quoted = byte == b'"';
                out.push(byte);
            }
        }
    }
    out
}

fn line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.resize(out.len() + depth * 2, b' ');
}

#[cfg(test)]
mod tests {
    use super::indent;

    #[test]
    fn lines_are_gos() {
        let rows = [
            (
                r#"{"a":1,"b":[],"c":{}}"#,
                "{\n  \"a\": 1,\n  \"b\": [],\n  \"c\": {}\n}",
            ),
            (r#"["x,{\"y\":",2]"#, "[\n  \"x,{\\\"y\\\":\",\n  2\n]"),
        ];
        for (compact, lines) in rows {
            assert_eq!(
                String::from_utf8(indent(compact.as_bytes())).as_deref(),
                Ok(lines)
            );
        }
    }
}
