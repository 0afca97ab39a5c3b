//! The container's log in the CRI's format: `TIME STREAM TAG CONTENT`, one line for each line of output.
//!
//! The tag is `F` for the end of a line, `P` for a part of one: of a line that is longer than
//! [`LINE_MAX`], or that was never ended.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;

/// Longest piece of a line (containerd's `max_container_log_line_size`).
const LINE_MAX: usize = 16 << 10;

/// The file that both streams write to.
#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
}

impl LogFile {
    /// Opens the file for appending, and makes its directory if need be.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            crate::files::make_private_dirs(parent)?;
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .open(path)?;
        Ok(Self { file })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.write_all(lines)
    }
}

/// One stream of output, cut into lines.
#[derive(Debug)]
pub(super) struct Stream {
    name: &'static str,
    /// The beginning of a line whose end has not arrived.
    pending: Vec<u8>,
}

impl Stream {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            pending: Vec::new(),
        }
    }

    /// Logs all lines that `bytes` ends, and keeps the rest.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        now: Timestamp,
        log: &mut LogFile,
    ) -> io::Result<()> {
        let mut lines = Vec::with_capacity(bytes.len() + 128);
        self.cut(bytes, now, &mut lines);
        if lines.is_empty() {
            Ok(())
        } else {
            log.write(&lines)
        }
    }

    /// Logs what is left of a line that never ended.
    pub(super) fn finish(&mut self, now: Timestamp, log: &mut LogFile) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        append(
            &mut lines,
            now,
            self.name,
            'P',
            &std::mem::take(&mut self.pending),
        );
        log.write(&lines)
    }

    fn cut(&mut self, mut bytes: &[u8], now: Timestamp, lines: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let room = LINE_MAX - self.pending.len();
            let end = bytes.iter().take(room + 1).position(|byte| *byte == b'\n');
            let (piece, tag, used) = match end {
                Some(end) => (&bytes[..end], Some('F'), end + 1),
                None if bytes.len() > room => (&bytes[..room], Some('P'), room),
                None => (bytes, None, bytes.len()),
            };
            self.pending.extend_from_slice(piece);
            if let Some(tag) = tag {
                append(lines, now, self.name, tag, &self.pending);
                self.pending.clear();
            }
            bytes = &bytes[used..];
        }
    }
}

fn append(lines: &mut Vec<u8>, now: Timestamp, stream: &str, tag: char, content: &[u8]) {
    // The CRI wants nine digits (RFC 3339 with nanoseconds).
    let _ = write!(lines, "{now:.9} {stream} {tag} ");
    lines.extend_from_slice(content);
    lines.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]]) -> (String, usize) {
        let mut stream = Stream::new("stdout");
        let mut lines = Vec::new();
        for piece in pieces {
            stream.cut(piece, Timestamp::UNIX_EPOCH, &mut lines);
        }
        (
            String::from_utf8(lines).expect("text"),
            stream.pending.len(),
        )
    }

    #[test]
    fn lines_are_put_together_from_pieces() {
        let (text, pending) = cut(&[b"one\ntw", b"o\n\nthree"]);
        let head = "1970-01-01T00:00:00.000000000Z stdout F ";
        assert_eq!(text, format!("{head}one\n{head}two\n{head}\n"));
        assert_eq!(pending, 5);
    }

    #[test]
    fn long_lines_come_in_parts() {
        let long = vec![b'x'; LINE_MAX + 10];
        let (text, pending) = cut(&[&long, b"\n"]);
        let tags: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split(' ').nth(2))
            .collect();
        assert_eq!(tags, ["P", "F"]);
        assert_eq!(pending, 0);
    }

    #[test]
    fn a_line_of_just_the_limit_is_whole() {
        let mut exact = vec![b'x'; LINE_MAX];
        exact.push(b'\n');
        let (text, _) = cut(&[&exact]);
        assert_eq!(
            text.lines()
                .filter_map(|line| line.split(' ').nth(2))
                .collect::<Vec<_>>(),
            ["F"]
        );
    }
}
