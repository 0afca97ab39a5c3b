//! URLs, in the reading of Go's `net/url`.

use std::fmt;
use std::rc::Rc;

use super::opaque::Opaque;
use super::quote::go_quote;
use super::{Native, failed, ok, text, texts};
use crate::value::{Entries, Evaluated, Map, Value};

/// A URL.
#[derive(Debug, Clone, Default)]
pub struct Url {
    scheme: String,
    opaque: String,
    user: Option<String>,
    host: String,
    path: String,
    query: Option<String>,
    fragment: Option<String>,
}

impl Url {
    /// Reads an absolute URL or path, as in a request line, but with a fragment. The error is Go's.
    pub fn parse(raw: &str) -> Result<Url, String> {
        parse(raw).map_err(|error| format!("parse {}: {error}", go_quote(raw)))
    }

    fn hostname(&self) -> &str {
        let host = self.port().map_or(&*self.host, |port| {
            &self.host[..self.host.len() - port.len() - 1]
        });
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
    }

    fn port(&self) -> Option<&str> {
        let behind = self.host.rfind(']').unwrap_or(0);
        let (_, port) = self.host[behind..].rsplit_once(':')?;
        port.bytes().all(|b| b.is_ascii_digit()).then_some(port)
    }

    fn escaped_path(&self) -> String {
        let valid = |b: u8| unreserved(b) || b"!$&'()*+,;=:@[]/%".contains(&b);
        if self.path.bytes().all(valid) {
            return self.path.clone();
        }
        let decoded =
            unescape(&self.path, false).unwrap_or_else(|_| self.path.clone().into_bytes());
        decoded
            .into_iter()
            .map(|b| match b {
                b if unreserved(b) || b"$&+,/:;=@".contains(&b) => char::from(b).to_string(),
                b => format!("%{b:02X}"),
            })
            .collect()
    }

    fn values(&self) -> Vec<(String, Vec<String>)> {
        let mut values: Vec<(String, Vec<String>)> = Vec::new();
        for pair in self.query.as_deref().unwrap_or_default().split('&') {
            if pair.is_empty() || pair.contains(';') {
                continue;
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |part: &str| String::from_utf8(unescape(part, true).ok()?).ok();
            let (Some(key), Some(value)) = (decode(key), decode(value)) else {
                continue;
            };
            match values.iter_mut().find(|(known, _)| *known == key) {
                Some((_, known)) => known.push(value),
                None => values.push((key, vec![value])),
            }
        }
        values
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.scheme.is_empty() {
            write!(f, "{}:", self.scheme)?;
        }
        if !self.opaque.is_empty() {
            f.write_str(&self.opaque)?;
        } else {
            if !self.scheme.is_empty() || !self.host.is_empty() || self.user.is_some() {
                f.write_str("//")?;
                if let Some(user) = &self.user {
                    write!(f, "{user}@")?;
                }
                f.write_str(&self.host)?;
            }
            f.write_str(&self.escaped_path())?;
        }
        if let Some(query) = &self.query {
            write!(f, "?{query}")?;
        }
        if let Some(fragment) = &self.fragment {
            write!(f, "#{fragment}")?;
        }
        Ok(())
    }
}

fn unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-_.~".contains(&b)
}

/// Decodes `%xx`, and `+` in queries.
fn unescape(text: &str, query: bool) -> Result<Vec<u8>, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let digits = text
                    .get(at + 1..at + 3)
                    .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
                let Some(digits) = digits else {
                    let end = (at + 3).min(bytes.len());
                    let part = String::from_utf8_lossy(&bytes[at..end]);
                    return Err(format!("invalid URL escape {}", go_quote(&part)));
                };
                out.push(u8::from_str_radix(digits, 16).unwrap_or_default());
                at += 3;
            }
            b'+' if query => {
                out.push(b' ');
                at += 1;
            }
            b => {
                out.push(b);
                at += 1;
            }
        }
    }
    Ok(out)
}

fn parse(raw: &str) -> Result<Url, String> {
    if raw.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    if raw.is_empty() {
        return Err("empty url".to_owned());
    }
    let mut url = Url::default();
    let (body, fragment) = match raw.split_once('#') {
        Some((body, fragment)) => (body, Some(fragment.to_owned())),
        None => (raw, None),
    };
    url.fragment = fragment;
    if body == "*" {
        url.path = body.to_owned();
        return Ok(url);
    }
    let mut rest = body;
    if let Some((scheme, after)) = scheme(rest)? {
        url.scheme = scheme.to_ascii_lowercase();
        rest = after;
    }
    if let Some((before, query)) = rest.split_once('?') {
        url.query = Some(query.to_owned());
        rest = before;
    }
    if !rest.starts_with('/') {
        if url.scheme.is_empty() {
            return Err("invalid URI for request".to_owned());
        }
        url.opaque = rest.to_owned();
        return Ok(url);
    }
    if let Some(authority) = rest.strip_prefix("//").filter(|_| !url.scheme.is_empty()) {
        let end = authority.find('/').unwrap_or(authority.len());
        let (authority, path) = authority.split_at(end);
        rest = path;
        let host = match authority.rsplit_once('@') {
            Some((user, host)) => {
                url.user = Some(user.to_owned());
                host
            }
            None => authority,
        };
        url.host = parse_host(host)?;
    }
    unescape(rest, false)?;
    url.path = rest.to_owned();
    Ok(url)
}

/// The scheme and what follows it, if there is one.
fn scheme(text: &str) -> Result<Option<(&str, &str)>, String> {
    for (at, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            ':' => return Ok(Some((&text[..at], &text[at + 1..]))),
            _ => return Ok(None),
        }
    }
    Ok(None)
}

fn parse_host(host: &str) -> Result<String, String> {
    let port = |text: &str| {
        let valid = text.is_empty()
            || text
                .strip_prefix(':')
                .is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()));
        if valid {
            Ok(())
        } else {
            Err(format!("invalid port {} after host", go_quote(text)))
        }
    };
    if host.starts_with('[') {
        let end = host.rfind(']').ok_or("missing ']' in host")?;
        port(&host[end + 1..])?;
    } else if let Some(colon) = host.rfind(':') {
        port(&host[colon..])?;
    }
    let allowed = |c: char| {
        !c.is_ascii() || c.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:[]<>\"%".contains(c)
    };
    if let Some(wrong) = host.chars().find(|c| !allowed(*c)) {
        return Err(format!(
            "invalid character {} in host name",
            go_quote(&wrong.to_string())
        ));
    }
    let decoded = unescape(host, false)?;
    Ok(String::from_utf8_lossy(&decoded).into_owned())
}

fn of<'v>(args: &'v [Value<'_>]) -> Option<&'v Url> {
    match args {
        [Value::Opaque(opaque)] => match &**opaque {
            Opaque::Url(url) => Some(url),
            _ => None,
        },
        _ => None,
    }
}

/// A function of this module.
pub fn native(name: &str) -> Option<Native> {
    Some(match name {
        "url" => |_, args| match args {
            [Value::String(raw)] => match Url::parse(raw) {
                Ok(url) => ok(Value::Opaque(Rc::new(Opaque::Url(url)))),
                Err(error) => failed(format!(
                    "URL parse error during conversion from string: {error}"
                )),
            },
            _ => None,
        },
        "isURL" => |_, args| match args {
            [Value::String(raw)] => ok(Value::Bool(Url::parse(raw).is_ok())),
            _ => None,
        },
        "getScheme" => |_, args| text(of(args)?.scheme.clone()),
        "getHost" => |_, args| text(of(args)?.host.clone()),
        "getHostname" => |_, args| text(of(args)?.hostname().to_owned()),
        "getPort" => |_, args| text(of(args)?.port().unwrap_or_default().to_owned()),
        "getEscapedPath" => |_, args| text(of(args)?.escaped_path()),
        "getQuery" => |_, args| Some(query(of(args)?)),
        _ => return None,
    })
}

fn query<'a>(url: &Url) -> Evaluated<'a> {
    let mut entries = Entries::default();
    for (key, values) in url.values() {
        entries.insert(Value::string(key), texts(values))?;
    }
    Ok(Value::Map(Map::Owned(Rc::new(entries))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = Url::parse("https://u:p@[::1]:8080/a%20b/c?x=1&x=2&y=#f").unwrap();
        assert_eq!(
            (&*url.scheme, &*url.host, url.hostname(), url.port()),
            ("https", "[::1]:8080", "::1", Some("8080"))
        );
        assert_eq!(url.escaped_path(), "/a%20b/c");
        assert_eq!(url.values().len(), 2);
        assert_eq!(
            url.to_string(),
            "https://u:p@[::1]:8080/a%20b/c?x=1&x=2&y=#f"
        );
        for raw in [
            "",
            "a",
            "a/b",
            "http://[::1/",
            "/%zz",
            "http://h:x/",
            "\u{1}",
        ] {
            assert!(Url::parse(raw).is_err(), "{raw}");
        }
        for raw in ["/a", "mailto:x@y", "http://h", "*"] {
            assert!(Url::parse(raw).is_ok(), "{raw}");
        }
    }
}
