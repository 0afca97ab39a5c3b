//! Reads a log file in pieces, from a place near its end if so asked.

use std::io::SeekFrom;
use std::path::Path;

use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::Options;
use super::line::{Filter, LINE_MAX};

/// Bytes read, and looked at from the end, at a time.
const CHUNK: usize = 32 * 1024;

/// An open log.
#[derive(Debug)]
pub(super) struct Reader {
    file: File,
    filter: Filter,
    /// Where to end: what is written later is no part of a tail, unless it is followed.
    end: Option<u64>,
    at: u64,
    /// What was read of a line that has no end yet.
    rest: Vec<u8>,
}

impl Reader {
    pub(super) async fn open(path: &Path, options: &Options) -> std::io::Result<Reader> {
        let mut file = File::open(path).await?;
        let (mut at, mut end) = (0, None);
        if let Some(lines) = options.tail {
            let length = file.seek(SeekFrom::End(0)).await?;
            at = tail_start(&mut file, lines, length).await?;
            file.seek(SeekFrom::Start(at)).await?;
            end = Some(length).filter(|_| !options.follow);
        }
        Ok(Reader {
            file,
            end,
            at,
            filter: Filter::new(options.clone()),
            rest: Vec::new(),
        })
    }

    /// The next piece to send; empty at the end of the file as it is now.
    pub(super) async fn next(&mut self) -> std::io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut chunk = vec![0; CHUNK];
        while out.is_empty() {
            let left = self.end.map_or(u64::MAX, |end| end - self.at);
            let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let read = self.file.read(&mut chunk[..most]).await?;
            if read == 0 {
                break;
            }
            self.at += read as u64;
            self.rest.extend_from_slice(&chunk[..read]);
            self.take_lines(&mut out);
        }
        Ok(out)
    }

    /// Whether no more may be sent.
    pub(super) fn is_full(&self) -> bool {
        self.filter.is_full()
    }

    fn take_lines(&mut self, out: &mut Vec<u8>) {
        let mut start = 0;
        while let Some(end) = self.rest[start..].iter().position(|b| *b == b'\n') {
            self.filter.line(&self.rest[start..start + end], out);
            start += end + 1;
        }
        self.rest.drain(..start);
        if self.rest.len() > LINE_MAX {
            let line = std::mem::take(&mut self.rest);
            self.filter.line(&line, out);
        }
    }
}

/// Where the last `lines` lines of the first `length` bytes begin.
async fn tail_start(file: &mut File, lines: u64, length: u64) -> std::io::Result<u64> {
    let mut end = length;
    if lines == 0 {
        return Ok(end);
    }
    let mut found = 0;
    let mut chunk = vec![0; CHUNK];
    while end > 0 {
        let start = end.saturating_sub(CHUNK as u64);
        let piece = &mut chunk[..usize::try_from(end - start).unwrap_or(CHUNK)];
        file.seek(SeekFrom::Start(start)).await?;
        file.read_exact(piece).await?;
        for (at, byte) in piece.iter().enumerate().rev() {
            let after = start + at as u64 + 1;
            // The line feed at the very end ends the last line and begins none.
            if *byte == b'\n' && after != length {
                found += 1;
                if found == lines {
                    return Ok(after);
                }
            }
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(content: &str, options: Options) -> String {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        std::fs::write(&path, content).expect("written");
        let mut reader = Reader::open(&path, &options).await.expect("opened");
        let mut all = Vec::new();
        loop {
            let piece = reader.next().await.expect("read");
            if piece.is_empty() {
                return String::from_utf8(all).expect("text");
            }
            all.extend(piece);
        }
    }

    fn log(lines: usize) -> String {
        (1..=lines)
            .map(|n| format!("2026-01-01T00:00:00Z stdout F line {n}\n"))
            .collect()
    }

    #[tokio::test]
    async fn the_tail_begins_so_many_lines_before_the_end() {
        for (lines, tail, want) in [
            (3, 0, 0),
            (3, 1, 1),
            (3, 3, 3),
            (3, 9, 3),
            (5000, 4000, 4000),
            (0, 5, 0),
        ] {
            let got = read(
                &log(lines),
                Options {
                    tail: Some(tail),
                    ..Options::default()
                },
            )
            .await;
            let want: String = (lines - want + 1..=lines)
                .map(|n| format!("line {n}\n"))
                .collect();
            assert_eq!(got, want, "{tail} of {lines}");
        }
    }

    #[tokio::test]
    async fn lines_written_after_the_beginning_are_no_part_of_a_tail() {
        use std::io::Write as _;

        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        for (follow, want) in [(false, "line 2\n"), (true, "line 2\nlater\n")] {
            std::fs::write(&path, log(2)).expect("written");
            let options = Options {
                tail: Some(1),
                follow,
                ..Options::default()
            };
            let mut reader = Reader::open(&path, &options).await.expect("opened");
            let mut file = std::fs::File::options()
                .append(true)
                .open(&path)
                .expect("opened");
            writeln!(file, "2026-01-01T00:00:00Z stdout F later").expect("written");
            let mut all = reader.next().await.expect("read");
            all.extend(reader.next().await.expect("read"));
            assert_eq!(String::from_utf8(all).expect("text"), want, "{follow}");
        }
    }

    #[tokio::test]
    async fn an_unfinished_line_is_not_sent() {
        let content = format!("{}2026-01-01T00:00:00Z stdout F unfin", log(1));
        assert_eq!(read(&content, Options::default()).await, "line 1\n");
    }
}
