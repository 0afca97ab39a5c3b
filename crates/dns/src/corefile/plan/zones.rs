//! Zones as a Corefile writes them: names, reverse zones as address ranges, ports.

use std::fmt;
use std::net::IpAddr;

use super::super::Error;
use super::PORT;

/// The most reverse zones that one range stands for.
const RANGE_MAX: usize = 256;

/// A zone's name in lower case without the final dot; the root is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneName(Box<str>);

impl ZoneName {
    /// The root.
    pub fn root() -> ZoneName {
        ZoneName(Box::from(""))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the lowered `name` (without its final dot) lies in the zone.
    pub fn covers(&self, name: &str) -> bool {
        if self.0.is_empty() {
            return true;
        }
        name.strip_suffix(&*self.0)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// Whether it holds names of addresses.
    pub fn is_reverse(&self) -> bool {
        let under = |arpa: &str| &*self.0 == arpa || self.0.ends_with(&format!(".{arpa}"));
        under("in-addr.arpa") || under("ip6.arpa")
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", self.0)
    }
}

/// A domain name in lower case without its final dot; `None` when it is none.
pub fn normalize(text: &str) -> Option<ZoneName> {
    let bare = text.strip_suffix('.').unwrap_or(text);
    let fits = |label: &str| !label.is_empty() && label.len() <= 63 && label.is_ascii();
    let named = bare.is_empty() || (bare.len() <= 253 && bare.split('.').all(fits));
    (named && !text.is_empty()).then(|| ZoneName(bare.to_ascii_lowercase().into()))
}

/// The zones that `text` stands for: a name, or a range of addresses.
///
/// # Errors
/// What is no zone.
pub fn parse_zone(text: &str, line: u32) -> Result<Vec<ZoneName>, Error> {
    if let Some((address, bits)) = text.split_once('/')
        && let (Ok(address), Ok(bits)) = (address.parse::<IpAddr>(), bits.parse::<u32>())
    {
        return range(address, bits)
            .ok_or_else(|| Error::at(line, format!("{text:?} is no range of addresses")));
    }
    match normalize(text) {
        Some(zone) => Ok(vec![zone]),
        None => Err(Error::at(line, format!("{text:?} is no domain name"))),
    }
}

/// The reverse zones of a range, whole labels each.
fn range(address: IpAddr, bits: u32) -> Option<Vec<ZoneName>> {
    let (value, width, step, arpa) = match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32, 8, "in-addr.arpa"),
        IpAddr::V6(v6) => (u128::from(v6), 128, 4, "ip6.arpa"),
    };
    if bits > width {
        return None;
    }
    let whole = bits.div_ceil(step) * step;
    let count = 1u128 << (whole - bits);
    if count as usize > RANGE_MAX {
        return None;
    }
    let kept = |bits: u32| value.checked_shr(width - bits).unwrap_or(0);
    let first = kept(bits) << (whole - bits);
    let zones = (0..count).map(|offset| {
        let mut prefix = first + offset;
        let mut name = String::new();
        for _ in 0..whole / step {
            let part = prefix & ((1 << step) - 1);
            match step {
                8 => name.push_str(&format!("{part}.")),
                _ => name.push_str(&format!("{part:x}.")),
            }
            prefix >>= step;
        }
        name.push_str(arpa);
        ZoneName(name.into())
    });
    Some(zones.collect())
}

pub fn all(words: &[String], line: u32) -> Result<Vec<ZoneName>, Error> {
    let mut zones = Vec::new();
    for word in words {
        zones.extend(parse_zone(word, line)?);
    }
    Ok(zones)
}

/// Zones given as arguments, else the server's own.
pub fn given(words: &[String], own: &[ZoneName], line: u32) -> Result<Vec<ZoneName>, Error> {
    match words.is_empty() {
        true => Ok(own.to_vec()),
        false => all(words, line),
    }
}

/// A server's key: `[dns://]zone[:port]`.
pub fn key(text: &str, line: u32) -> Result<Vec<(ZoneName, u16)>, Error> {
    let rest = match text.split_once("://") {
        Some(("dns", rest)) => rest,
        Some((transport, _)) => {
            let message = format!("transport {transport} is not supported, only dns");
            return Err(Error::at(line, message));
        }
        None => text,
    };
    // An IPv6 range holds colons of its own.
    let (zone, port) = match rest.rsplit_once(':') {
        Some((zone, port)) if !zone.contains(':') => {
            let port = port.parse().map_err(|_| {
                let message = format!("{port:?} is no port");
                Error::at(line, message)
            })?;
            (zone, port)
        }
        _ => (rest, PORT),
    };
    let zone = if zone.is_empty() { "." } else { zone };
    let zones = parse_zone(zone, line)?;
    Ok(zones.into_iter().map(|zone| (zone, port)).collect())
}
