//! Formats of texts: what upstream's registry (go-openapi's `strfmt`) accepts.
//!
//! Formats are compared without dashes, as upstream does: `date-time` is `datetime`. A format that is not known at the
//! served version is ignored. Absent: formats of numbers, which are ranges (see [`super::value`]).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use regex::Regex;

/// A known format of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// 24 hexadecimal digits.
    BsonObjectId,
    /// What Go's `url.ParseRequestURI` takes.
    Uri,
    /// What Go's `mail.ParseAddress` takes.
    Email,
    /// The name of a host.
    Hostname,
    /// An IPv4 address (or an IPv6 address with a dotted end).
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// A network.
    Cidr,
    /// A hardware address of 6, 8 or 20 bytes.
    Mac,
    /// Any UUID; the dashes may be left out.
    Uuid,
    /// A UUID of version 3, 4 or 5.
    UuidVersion(u8),
    /// An ISBN of either length.
    Isbn,
    /// An ISBN of 10 digits.
    Isbn10,
    /// An ISBN of 13 digits.
    Isbn13,
    /// The number of a credit card, with its check digit.
    CreditCard,
    /// A social security number of the USA.
    Ssn,
    /// `#fff`
    HexColor,
    /// `rgb(1,2,3)`
    RgbColor,
    /// Base64.
    Byte,
    /// Anything.
    Password,
    /// `2006-01-02`
    Date,
    /// Go's durations, and words for units.
    Duration,
    /// RFC 3339.
    DateTime,
    /// A DNS label in lower case.
    ShortName,
    /// A DNS subdomain in lower case.
    LongName,
}

impl Format {
    /// The format of that name; `None` when it is unknown, and so without effect.
    pub fn of(name: &str) -> Option<Format> {
        Some(match &*name.replace('-', "") {
            "bsonobjectid" => Format::BsonObjectId,
            "uri" => Format::Uri,
            "email" => Format::Email,
            "hostname" => Format::Hostname,
            "ipv4" => Format::Ipv4,
            "ipv6" => Format::Ipv6,
            "cidr" => Format::Cidr,
            "mac" => Format::Mac,
            "uuid" => Format::Uuid,
            "uuid3" => Format::UuidVersion(3),
            "uuid4" => Format::UuidVersion(4),
            "uuid5" => Format::UuidVersion(5),
            "isbn" => Format::Isbn,
            "isbn10" => Format::Isbn10,
            "isbn13" => Format::Isbn13,
            "creditcard" => Format::CreditCard,
            "ssn" => Format::Ssn,
            "hexcolor" => Format::HexColor,
            "rgbcolor" => Format::RgbColor,
            "byte" => Format::Byte,
            "password" => Format::Password,
            "date" => Format::Date,
            "duration" => Format::Duration,
            "datetime" => Format::DateTime,
            "k8sshortname" => Format::ShortName,
            "k8slongname" => Format::LongName,
            _ => return None,
        })
    }

    /// Whether a text is of the format.
    pub fn accepts(self, text: &str) -> bool {
        match self {
            Format::BsonObjectId => text.len() == 24 && hex(text),
            Format::Uri => request_uri(text),
            Format::Email => email(text),
            Format::Hostname => hostname(text),
            Format::Ipv4 => text.contains('.') && address(text).is_some(),
            Format::Ipv6 => text.contains(':') && address(text).is_some(),
            Format::Cidr => cidr(text),
            Format::Mac => mac(text),
            Format::Uuid => uuid(text, None),
            Format::UuidVersion(version) => uuid(text, Some(version)),
            Format::Isbn => isbn10(text) || isbn13(text),
            Format::Isbn10 => isbn10(text),
            Format::Isbn13 => isbn13(text),
            Format::CreditCard => credit_card(text),
            Format::Ssn => matches(&SSN, text),
            Format::HexColor => {
                let digits = text.strip_prefix('#').unwrap_or(text);
                matches!(digits.len(), 3 | 6) && hex(digits)
            }
            Format::RgbColor => matches(&RGB, text),
            Format::Byte => matches(&BASE64, text),
            Format::Password => true,
            Format::Date => date(text),
            Format::Duration => duration(text),
            Format::DateTime => date_time(text),
            Format::ShortName => text.len() <= 63 && is_label(text),
            Format::LongName => text.len() <= 253 && text.split('.').all(is_label),
        }
    }
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern")
}

fn matches(pattern: &LazyLock<Regex>, text: &str) -> bool {
    pattern.is_match(text)
}

static SSN: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$"));
static RGB: LazyLock<Regex> = LazyLock::new(|| {
    let byte = r"(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])";
    pattern(&format!(
        r"^rgb\([\t\n\f\r ]*{byte}[\t\n\f\r ]*,[\t\n\f\r ]*{byte}[\t\n\f\r ]*,[\t\n\f\r ]*{byte}[\t\n\f\r ]*\)$"
    ))
});
static BASE64: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$")
});
static CARD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$",
    )
});
static HOST: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9\-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$",
    )
});
static TIME: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$")
});
static UNITS: LazyLock<Regex> = LazyLock::new(|| pattern(r"([0-9]+)[\t\n\f\r ]*([A-Za-zµ]+)"));

fn hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|b| inner(*b))
        && bytes.last().is_some_and(|b| inner(*b))
        && bytes.iter().all(|b| inner(*b) || *b == b'-')
}

/// Go reads leading zeros of IPv4 addresses here, as it did before 1.17.
fn address(text: &str) -> Option<std::net::IpAddr> {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(Into::into);
    }
    let mut octets = [0; 4];
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() != 4 {
        return None;
    }
    for (octet, part) in octets.iter_mut().zip(parts) {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        *octet = Some(part).filter(|_| digits)?.parse().ok()?;
    }
    Some(Ipv4Addr::from(octets).into())
}

fn cidr(text: &str) -> bool {
    let Some((ip, bits)) = text.split_once('/') else {
        return false;
    };
    let max = match address(ip) {
        Some(std::net::IpAddr::V4(_)) => 32,
        Some(std::net::IpAddr::V6(_)) => 128,
        None => return false,
    };
    let digits = !bits.is_empty() && bits.len() <= 8 && bits.bytes().all(|b| b.is_ascii_digit());
    digits && bits.parse::<u32>().is_ok_and(|b| b <= max)
}

/// `00:00:5e:00:53:01`, with dashes, or in groups of four digits with dots.
fn mac(text: &str) -> bool {
    let (separator, digits) = match (text.contains(':'), text.contains('-')) {
        (true, _) => (':', 2),
        (false, true) => ('-', 2),
        _ => ('.', 4),
    };
    let groups: Vec<&str> = text.split(separator).collect();
    let bytes = groups.len() * digits / 2;
    matches!(bytes, 6 | 8 | 20) && groups.iter().all(|g| g.len() == digits && hex(g))
}

fn uuid(text: &str, version: Option<u8>) -> bool {
    let mut digits = Vec::with_capacity(32);
    let mut rest = text;
    for length in [8, 4, 4, 4, 12] {
        if !digits.is_empty() {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some(group) = rest.get(..length) else {
            return false;
        };
        digits.extend_from_slice(group.as_bytes());
        rest = &rest[length..];
    }
    let variant = matches!(digits[16].to_ascii_lowercase(), b'8' | b'9' | b'a' | b'b');
    rest.is_empty()
        && digits.iter().all(u8::is_ascii_hexdigit)
        && version.is_none_or(|v| digits[12] == b'0' + v && (v == 3 || variant))
}

fn isbn_digits(text: &str) -> Vec<u8> {
    text.bytes()
        .filter(|b| !matches!(b, b'-' | b' ' | b'\t' | b'\n' | b'\r' | 0x0c))
        .collect()
}

fn isbn10(text: &str) -> bool {
    let digits = isbn_digits(text);
    let (Some(last), 10) = (digits.last(), digits.len()) else {
        return false;
    };
    if !digits[..9].iter().all(u8::is_ascii_digit) || !(last.is_ascii_digit() || *last == b'X') {
        return false;
    }
    let value = |b: u8| if b == b'X' { 10 } else { u32::from(b - b'0') };
    let sum: u32 = (1..).zip(&digits).map(|(i, b)| i * value(*b)).sum();
    sum.is_multiple_of(11)
}

fn isbn13(text: &str) -> bool {
    let digits = isbn_digits(text);
    if digits.len() != 13 || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let weighted = digits.iter().enumerate();
    let sum: u32 = weighted
        .map(|(i, b)| u32::from(b - b'0') * if i % 2 == 0 { 1 } else { 3 })
        .sum();
    sum.is_multiple_of(10)
}

/// Luhn's check over what is left when everything but digits is taken out.
fn credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    if !CARD.is_match(&digits) {
        return false;
    }
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(i, b)| {
            let digit = u32::from(b - b'0');
            match i % 2 {
                0 => digit,
                _ if digit * 2 > 9 => digit * 2 - 9,
                _ => digit * 2,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

fn hostname(text: &str) -> bool {
    HOST.is_match(text) && text.len() <= 255 && text.split('.').all(|part| part.len() <= 63)
}

/// An absolute URL or an absolute path.
fn request_uri(text: &str) -> bool {
    let wrong = |b: u8| b < 0x20 || b == 0x7f || b == b' ';
    if text.is_empty() || text.bytes().any(wrong) || !escapes_are_whole(text) {
        return false;
    }
    if text == "*" || text.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let scheme_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(scheme_char) {
        return false;
    }
    match rest.strip_prefix("//") {
        Some(rest) => authority(rest.split(['/', '?']).next().unwrap_or_default()),
        // An opaque part is as good as a path.
        None => true,
    }
}

/// Every `%` begins two hexadecimal digits.
fn escapes_are_whole(text: &str) -> bool {
    let path = text.split('?').next().unwrap_or_default();
    let mut parts = path.split('%');
    parts.next();
    parts.all(|part| part.get(..2).is_some_and(hex))
}

fn authority(text: &str) -> bool {
    let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let port = match host.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some((_, port)) => port,
            None => return false,
        },
        None => host.find(':').map_or("", |at| &host[at..]),
    };
    let digits = |p: &str| p.bytes().all(|b| b.is_ascii_digit());
    port.is_empty() || port.strip_prefix(':').is_some_and(digits)
}

/// One mailbox: `a@b`, or a name with `<a@b>` behind it.
fn email(text: &str) -> bool {
    let text = text.trim();
    let address = match text.strip_suffix('>') {
        Some(inner) => match inner.rsplit_once('<') {
            Some((_, address)) => address,
            None => return false,
        },
        None => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else {
        return false;
    };
    let atom = |part: &str| {
        let special = |c: char| "()<>[]:;@\\,\" ".contains(c) || c.is_control();
        !part.is_empty() && !part.contains(special)
    };
    let quoted = local.len() >= 2 && local.starts_with('"') && local.ends_with('"');
    let literal = domain.starts_with('[') && domain.ends_with(']');
    (quoted || local.split('.').all(atom)) && (literal || domain.split('.').all(atom))
}

fn date(text: &str) -> bool {
    let shape = text.len() == 10
        && text.bytes().enumerate().all(|(i, b)| match i {
            4 | 7 => b == b'-',
            _ => b.is_ascii_digit(),
        });
    shape && text.parse::<jiff::civil::Date>().is_ok()
}

fn date_time(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(day), Some(time)) = (parts.next(), parts.next()) else {
        return false;
    };
    let Some(found) = TIME.captures(time).filter(|_| date(day)) else {
        return false;
    };
    &found[1] <= "23" && &found[2] <= "59" && &found[3] <= "59"
}

/// Go's durations, or numbers with words for units anywhere in the text.
fn duration(text: &str) -> bool {
    if go_duration(text) {
        return true;
    }
    const UNIT_NAMES: [&[&str]; 8] = [
        &["ns", "nano"],
        &["us", "µs", "micro"],
        &["ms", "milli"],
        &["s", "sec"],
        &["m", "min"],
        &["h", "hr", "hour"],
        &["d", "day"],
        &["w", "wk", "week"],
    ];
    let mut found = false;
    for part in UNITS.captures_iter(text) {
        if part[1].parse::<i64>().is_err() {
            return false;
        }
        let unit = part[2].to_lowercase();
        found |= UNIT_NAMES.iter().any(|names| {
            let long = names.last().is_some_and(|name| unit.starts_with(name));
            long || names.contains(&&*unit)
        });
    }
    found
}

fn go_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let number = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let behind = &rest[number..];
        let fraction = match behind.strip_prefix('.') {
            Some(digits) => {
                digits.len()
                    - digits
                        .trim_start_matches(|c: char| c.is_ascii_digit())
                        .len()
                    + 1
            }
            None => 0,
        };
        if number == 0 && fraction < 2 {
            return false;
        }
        let behind = &behind[fraction..];
        let unit = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"]
            .into_iter()
            .find(|unit| behind.starts_with(unit));
        let Some(unit) = unit else { return false };
        rest = &behind[unit.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_accept_what_upstream_accepts() {
        let table: [(&str, &[&str], &[&str]); 18] = [
            (
                "ipv4",
                &["1.2.3.4", "01.2.3.4", "::ffff:1.2.3.4"],
                &["x", "::1", "1.2.3"],
            ),
            ("ipv6", &["::1", "fd00::1"], &["1.2.3.4", "x"]),
            (
                "cidr",
                &["10.0.0.0/8", "fd00::/64"],
                &["10.0.0.0", "10.0.0.0/33"],
            ),
            (
                "mac",
                &["00:00:5e:00:53:01", "0000.5e00.5301"],
                &["00:00", "x"],
            ),
            (
                "date-time",
                &["2014-12-15T19:30:20.000Z", "2014-12-15t19:30:20+01:00"],
                &["x", "2014-12-15", "2014-12-15T24:00:00Z"],
            ),
            (
                "datetime",
                &["2014-12-15T19:30:20Z"],
                &["2014-13-15T19:30:20Z"],
            ),
            ("date", &["2006-01-02"], &["2006-1-2", "2006-02-30"]),
            (
                "duration",
                &["1h30m", "22 ns", "3 days", "-1.5s", "0"],
                &["x", "", "5"],
            ),
            (
                "uri",
                &["http://x/y", "/path", "mailto:a"],
                &["x", "", "http://a b", "http://[::1"],
            ),
            ("email", &["a@b", "A <a@b.c>"], &["a", "@b", "a b@c"]),
            ("hostname", &["a.example.com", "x"], &["-a", "a_b"]),
            ("uuid", &["A987FBC9-4BED-3078-CF07-9141BA07C9F3"], &["x"]),
            (
                "uuid4",
                &["57b73598-8764-4ad0-a76a-679bb6640eb1"],
                &["A987FBC9-4BED-3078-CF07-9141BA07C9F3"],
            ),
            ("isbn", &["0321751043", "978-0321751041"], &["0321751044"]),
            ("byte", &["aGk=", "aGkh"], &["a", ""]),
            ("hexcolor", &["#FFFFFF", "fff"], &["#ff"]),
            ("k8s-short-name", &["a-b"], &["a.b", "A"]),
            (
                "creditcard",
                &["4111-1111-1111-1111"],
                &["4111111111111112"],
            ),
        ];
        for (name, right, wrong) in table {
            let format = Format::of(name).expect(name);
            for text in right {
                assert!(format.accepts(text), "{name}: {text}");
            }
            for text in wrong {
                assert!(!format.accepts(text), "{name}: {text}");
            }
        }
        assert_eq!(Format::of("fancy"), None);
    }
}
