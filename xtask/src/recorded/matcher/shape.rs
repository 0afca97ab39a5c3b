//! The shapes of what placeholders stand for.

/// A kind of placeholder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    Uid,
    /// The end of a generated name.
    Name,
    Revision,
    Port,
    Address4,
    Address6,
    /// RFC 3339 in whole seconds, or as `diff -u` has it.
    Time,
    MicroTime,
    Age,
    /// As `kubectl describe` prints it.
    Date,
    /// What a client's log line begins with.
    LogHead,
    Token,
    /// Whatever is there.
    Anything,
}

impl Shape {
    /// The shape that a placeholder's name (`uid:1`) means.
    pub fn of(name: &str) -> Option<Self> {
        let (kind, number) = name.split_once(':').unwrap_or((name, "1"));
        if !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(match kind {
            "uid" => Self::Uid,
            "name" => Self::Name,
            "rv" => Self::Revision,
            "port" => Self::Port,
            "ip" => Self::Address4,
            "ip6" => Self::Address6,
            "time" => Self::Time,
            "microtime" => Self::MicroTime,
            "age" => Self::Age,
            "date" => Self::Date,
            "log" => Self::LogHead,
            "token" => Self::Token,
            "continue" | "server" | "unordered" => Self::Anything,
            // Put in by us, and compared as it is; anything else is no placeholder.
            _ => return None,
        })
    }

    /// How much of the start of `text` has this shape, if any. `next` is what was recorded behind it.
    pub fn extent(self, text: &str, next: &str) -> Option<usize> {
        let length = match self {
            Self::Uid => uid(text)?,
            Self::Name => Some(5).filter(|n| {
                text.get(..*n)
                    .is_some_and(|t| run(t, |c| c.is_ascii_alphanumeric()) == 5)
            })?,
            Self::Revision => revision(text, next),
            Self::Port => {
                let length = run(text, |c| c.is_ascii_digit());
                let port: u32 = text[..length].parse().ok()?;
                (30000..=32767).contains(&port).then_some(length)?
            }
            Self::Address4 => text
                .starts_with("10.96.")
                .then(|| run(text, |c| c.is_ascii_digit() || c == '.'))?,
            Self::Address6 => text
                .starts_with("fd00:10:96:")
                .then(|| run(text, |c| c.is_ascii_hexdigit() || c == ':'))?,
            Self::Time => time(text).filter(|(_, exact)| !exact)?.0,
            Self::MicroTime => time(text).filter(|(_, exact)| *exact)?.0,
            Self::Age => age(text)?,
            Self::Date => date(text)?,
            Self::LogHead => text.find("] ").map(|end| end + 1)?,
            Self::Token => text
                .starts_with("eyJ")
                .then(|| run(text, |c| c.is_ascii_alphanumeric() || "-_.".contains(c)))?,
            Self::Anything => text.len(),
        };
        (length > 0).then_some(length)
    }
}

/// How long the start is whose characters all hold.
fn run(text: &str, holds: impl Fn(char) -> bool) -> usize {
    text.find(|c| !holds(c)).unwrap_or(text.len())
}

fn uid(text: &str) -> Option<usize> {
    let uid = text.get(..36)?;
    let dashes = [8, 13, 18, 23];
    let fits = |(i, b): (usize, u8)| match dashes.contains(&i) {
        true => b == b'-',
        false => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
    };
    uid.bytes().enumerate().all(fits).then_some(36)
}

/// The two numbers of `too old resource version: A (B)` may be one placeholder.
fn revision(text: &str, next: &str) -> usize {
    let length = run(text, |c| c.is_ascii_digit());
    let second = text[length..]
        .strip_prefix(" (")
        .filter(|_| !next.starts_with(" ("));
    let end = second.and_then(|rest| rest.find(')').map(|end| length + 2 + end + 1));
    end.filter(|_| length > 0).unwrap_or(length)
}

/// A time of 2025 or later: its length, and whether it has a fraction of a second in RFC 3339.
fn time(text: &str) -> Option<(usize, bool)> {
    let shape = "0000-00-00T00:00:00";
    let head = text.get(..shape.len())?;
    let fits = |(want, have): (u8, u8)| match want {
        b'0' => have.is_ascii_digit(),
        b'T' => have == b'T' || have == b' ',
        other => have == other,
    };
    if !shape.bytes().zip(head.bytes()).all(fits) || head[..4] < *"2025" {
        return None;
    }
    let rest = &text[shape.len()..];
    let fraction = rest
        .strip_prefix('.')
        .map_or(0, |f| 1 + run(f, |c| c.is_ascii_digit()));
    let zone = &rest[fraction..];
    let behind = match zone.chars().next() {
        Some('Z') => 1,
        Some('+' | '-') => 6.min(zone.len()),
        // `diff -u`
        Some(' ') if head.contains(' ') => {
            return Some((shape.len() + fraction + 6.min(zone.len()), false));
        }
        _ => return None,
    };
    Some((shape.len() + fraction + behind, fraction > 0))
}

/// `5s`, `3d4h`, `<invalid>`, `<unknown>`.
fn age(text: &str) -> Option<usize> {
    for word in ["<invalid>", "<unknown>"] {
        if text.starts_with(word) {
            return Some(word.len());
        }
    }
    let length = run(text, |c| c.is_ascii_digit() || "smhdy".contains(c));
    let word = &text[..length];
    let begins = word.starts_with(|c: char| c.is_ascii_digit());
    let ends = word.ends_with(|c: char| c.is_ascii_alphabetic());
    (begins && ends).then_some(length)
}

/// `Mon, 02 Jan 2026 15:04:05 +0000`
fn date(text: &str) -> Option<usize> {
    let shape = "Aaa, 00 Aaa 0000 00:00:00 +0000";
    let head = text.get(..shape.len())?;
    let fits = |(want, have): (u8, u8)| match want {
        b'0' => have.is_ascii_digit(),
        b'A' => have.is_ascii_uppercase(),
        b'a' => have.is_ascii_lowercase(),
        other => have == other,
    };
    shape
        .bytes()
        .zip(head.bytes())
        .all(fits)
        .then_some(shape.len())
}
