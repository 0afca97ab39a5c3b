//! Turns lines of a CRI log into what is sent. Pure.

use k8s_openapi::jiff::Timestamp;

use super::{Options, Stream};

/// Longest line that is taken for one; the runtime writes shorter ones. What is longer is cut into parts.
pub(super) const LINE_MAX: usize = 64 * 1024;

/// What one line says.
#[derive(Debug, PartialEq)]
struct Line<'a> {
    time: &'a str,
    stream: Stream,
    partial: bool,
    text: &'a [u8],
}

/// Filters lines, and puts together what is sent.
#[derive(Debug)]
pub(super) struct Filter {
    options: Options,
    /// Bytes that may still be sent.
    left: u64,
    /// Whether the next text begins a line, for which a time is due.
    fresh: bool,
    /// Lines come in the order of time: once one is late enough, all are.
    since_reached: bool,
}

impl Filter {
    pub(super) fn new(options: Options) -> Filter {
        let left = options.limit.unwrap_or(u64::MAX);
        Filter {
            options,
            left,
            fresh: true,
            since_reached: false,
        }
    }

    /// Whether nothing more may be sent.
    pub(super) fn is_full(&self) -> bool {
        self.left == 0
    }

    /// Adds to `out` what a line (without its line feed) gives. A malformed line gives nothing, as upstream.
    pub(super) fn line(&mut self, raw: &[u8], out: &mut Vec<u8>) {
        let Some(line) = parse(raw) else { return };
        if self.options.stream.is_some_and(|only| only != line.stream) || self.too_early(line.time)
        {
            return;
        }
        if self.options.timestamps && self.fresh {
            self.push(line.time.as_bytes(), out);
            self.push(b" ", out);
        }
        self.push(line.text, out);
        if !line.partial {
            self.push(b"\n", out);
        }
        self.fresh = !line.partial;
    }

    fn too_early(&mut self, time: &str) -> bool {
        let Some(since) = self.options.since.filter(|_| !self.since_reached) else {
            return false;
        };
        let early = time.parse::<Timestamp>().is_ok_and(|time| time < since);
        self.since_reached = !early;
        early
    }

    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let fits = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        out.extend_from_slice(&bytes[..fits]);
        self.left -= fits as u64;
    }
}

fn parse(raw: &[u8]) -> Option<Line<'_>> {
    let mut parts = raw.splitn(4, |b| *b == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = match parts.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    // Tags may be added after a colon.
    let partial = parts.next()?.split(|b| *b == b':').next()? == b"P";
    Some(Line {
        time,
        stream,
        partial,
        text: parts.next().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: [&str; 4] = [
        "2026-01-01T00:00:01.000000000Z stdout F one",
        "2026-01-01T00:00:02.000000000Z stderr P tw",
        "2026-01-01T00:00:02.500000000Z stderr F o",
        "2026-01-01T00:00:03.000000000Z stdout F ",
    ];

    fn read(options: Options) -> String {
        let mut filter = Filter::new(options);
        let mut out = Vec::new();
        LOG.iter()
            .for_each(|line| filter.line(line.as_bytes(), &mut out));
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn options_select_what_is_sent() {
        let since = |text: &str| Some(text.parse().expect("a time"));
        let rows = [
            (Options::default(), "one\ntwo\n\n"),
            (
                Options {
                    stream: Some(Stream::Stderr),
                    ..Options::default()
                },
                "two\n",
            ),
            (
                Options {
                    since: since("2026-01-01T00:00:02.1Z"),
                    ..Options::default()
                },
                "o\n\n",
            ),
            (
                Options {
                    limit: Some(5),
                    ..Options::default()
                },
                "one\nt",
            ),
            (
                Options {
                    limit: Some(0),
                    ..Options::default()
                },
                "",
            ),
            (
                Options {
                    timestamps: true,
                    ..Options::default()
                },
                "2026-01-01T00:00:01.000000000Z one\n2026-01-01T00:00:02.000000000Z two\n2026-01-01T00:00:03.000000000Z \n",
            ),
        ];
        for (options, want) in rows {
            assert_eq!(read(options.clone()), want, "{options:?}");
        }
    }

    #[test]
    fn what_is_not_a_log_line_is_left_out() {
        let mut filter = Filter::new(Options::default());
        let mut out = Vec::new();
        for raw in [
            &b""[..],
            b"x",
            b"t stdout",
            b"t stdin F x",
            b"\xff stdout F x",
        ] {
            filter.line(raw, &mut out);
        }
        assert!(out.is_empty());
        filter.line(b"t stdout F:x \xff", &mut out);
        assert_eq!(out, b"\xff\n");
    }
}
