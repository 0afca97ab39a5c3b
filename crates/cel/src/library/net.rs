//! Addresses and networks, in the reading of Go's `net/netip`: no leading zeros, no zones, no IPv4 in IPv6.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use super::opaque::Opaque;
use super::quote::go_quote;
use super::{Native, failed, ok};
use crate::value::{EvalError, Evaluated, Value};

/// A network. The address may have bits beyond the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    /// The prefix's length.
    pub bits: u8,
}

impl Cidr {
    fn mask(address: IpAddr, bits: u8) -> u128 {
        let (value, width) = numeric(address);
        let host = width - u32::from(bits);
        if host >= 128 {
            0
        } else {
            value >> host << host
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && Cidr::mask(self.address, self.bits) == Cidr::mask(address, self.bits)
    }

    fn masked(&self) -> Cidr {
        let value = Cidr::mask(self.address, self.bits);
        let address = match self.address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(value as u32)),
            IpAddr::V6(_) => IpAddr::V6(value.into()),
        };
        Cidr { address, ..*self }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

fn numeric(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    }
}

/// The reason why text is no IPv4 address.
fn v4_error(text: &str) -> String {
    let at = |message: &str, at: &str| format!("{message} (at {})", go_quote(at));
    let mut fields = 0;
    for field in text.split('.') {
        fields += 1;
        if let Some(wrong) = field.find(|c: char| !c.is_ascii_digit()) {
            return at(
                "unexpected character",
                &text[text.len() - rest_of(text, field, wrong).len()..],
            );
        }
        if field.is_empty() {
            return at(
                "IPv4 field must have at least one digit",
                rest_of(text, field, 0),
            );
        }
        if field.len() > 1 && field.starts_with('0') {
            return "IPv4 field has octet with leading zero".to_owned();
        }
        if field.parse::<u32>().map_or(true, |value| value > 255) {
            return "IPv4 field has value >255".to_owned();
        }
    }
    if fields > 4 {
        "IPv4 address too long".to_owned()
    } else {
        "IPv4 address too short".to_owned()
    }
}

/// The text from a place within one of its fields on.
fn rest_of<'t>(text: &'t str, field: &str, within: usize) -> &'t str {
    let start = field.as_ptr() as usize - text.as_ptr() as usize;
    &text[start + within..]
}

/// Reads an address as Go's `ParseAddr`; the zone is told apart.
fn parse_go(text: &str) -> Result<(IpAddr, bool), String> {
    let failed = |reason: String| format!("ParseAddr({}): {reason}", go_quote(text));
    match text.find(['.', ':', '%']).map(|at| text.as_bytes()[at]) {
        Some(b'.') => match text.parse::<Ipv4Addr>() {
            Ok(address) => Ok((IpAddr::V4(address), false)),
            Err(_) => Err(failed(v4_error(text))),
        },
        Some(b':') => {
            let (bare, zone) = match text.split_once('%') {
                Some((_, "")) => return Err(failed("zone must be a non-empty string".to_owned())),
                Some((bare, _)) => (bare, true),
                None => (text, false),
            };
            match bare.parse() {
                Ok(address) => Ok((IpAddr::V6(address), zone)),
                Err(_) => Err(failed("unable to parse IP".to_owned())),
            }
        }
        Some(_) => Err(failed("missing IPv6 address".to_owned())),
        None => Err(failed("unable to parse IP".to_owned())),
    }
}

/// Reads an address.
pub fn parse_ip(text: &str) -> Result<IpAddr, String> {
    let quoted = go_quote(text);
    let (address, zone) = parse_go(text).map_err(|error| {
        format!("IP Address {quoted} parse error during conversion from string: {error}")
    })?;
    if zone {
        return Err(format!(
            "IP address {quoted} with zone value is not allowed"
        ));
    }
    if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        return Err(format!("IPv4-mapped IPv6 address {quoted} is not allowed"));
    }
    Ok(address)
}

/// Reads a network.
pub fn parse_cidr(text: &str) -> Result<Cidr, String> {
    let quoted = go_quote(text);
    let failed = |reason: String| {
        format!(
            "network address parse error during conversion from string: netip.ParsePrefix({quoted}): {reason}"
        )
    };
    let (address, bits) = text
        .rsplit_once('/')
        .ok_or_else(|| failed("no '/'".to_owned()))?;
    let (address, zone) = parse_go(address).map_err(&failed)?;
    if zone {
        return Err(failed(
            "IPv6 zones cannot be present in a prefix".to_owned(),
        ));
    }
    let digits = bits.bytes().all(|b| b.is_ascii_digit()) && !bits.is_empty();
    if !digits || (bits.len() > 1 && bits.starts_with('0')) {
        return Err(failed(format!("bad bits after slash: {}", go_quote(bits))));
    }
    let (_, width) = numeric(address);
    match bits.parse::<u8>() {
        Ok(bits) if u32::from(bits) <= width => {
            if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
                return Err(format!("IPv4-mapped IPv6 address {quoted} is not allowed"));
            }
            Ok(Cidr { address, bits })
        }
        _ => Err(failed("prefix length out of range".to_owned())),
    }
}

fn link_local_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn link_local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    }
}

fn global_unicast(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(broadcast
        || address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || link_local_unicast(address))
}

fn ip_of(value: &Value<'_>) -> Option<IpAddr> {
    match value {
        Value::Opaque(opaque) => match &**opaque {
            Opaque::Ip(address) => Some(*address),
            _ => None,
        },
        _ => None,
    }
}

fn cidr_of(value: &Value<'_>) -> Option<Cidr> {
    match value {
        Value::Opaque(opaque) => match &**opaque {
            Opaque::Cidr(cidr) => Some(*cidr),
            _ => None,
        },
        _ => None,
    }
}

fn made<'a>(opaque: Opaque<'a>) -> Option<Evaluated<'a>> {
    ok(Value::Opaque(Rc::new(opaque)))
}

fn is<'a>(args: &[Value<'a>], holds: fn(IpAddr) -> bool) -> Option<Evaluated<'a>> {
    ok(Value::Bool(holds(ip_of(args.first()?)?)))
}

/// A function of this module.
pub fn native(name: &str) -> Option<Native> {
    Some(match name {
        "ip" => |_, args| match args {
            [Value::String(text)] => match parse_ip(text) {
                Ok(address) => made(Opaque::Ip(address)),
                Err(error) => failed(error),
            },
            [cidr] => made(Opaque::Ip(cidr_of(cidr)?.address)),
            _ => None,
        },
        "isIP" => |_, args| match args {
            [Value::String(text)] => ok(Value::Bool(parse_ip(text).is_ok())),
            _ => None,
        },
        "ip.isCanonical" => |_, args| match args {
            [Value::String(text)] => match parse_ip(text) {
                Ok(address) => ok(Value::Bool(address.to_string() == **text)),
                Err(error) => failed(error),
            },
            _ => None,
        },
        "family" => |_, args| {
            ok(Value::Int(if ip_of(args.first()?)?.is_ipv4() {
                4
            } else {
                6
            }))
        },
        "isUnspecified" => |_, args| is(args, |address| address.is_unspecified()),
        "isLoopback" => |_, args| is(args, |address| address.is_loopback()),
        "isLinkLocalMulticast" => |_, args| is(args, link_local_multicast),
        "isLinkLocalUnicast" => |_, args| is(args, link_local_unicast),
        "isGlobalUnicast" => |_, args| is(args, global_unicast),
        "cidr" => |_, args| match args {
            [Value::String(text)] => match parse_cidr(text) {
                Ok(cidr) => made(Opaque::Cidr(cidr)),
                Err(error) => failed(format!(
                    "network address parse error during conversion from string: {error}"
                )),
            },
            _ => None,
        },
        "isCIDR" => |_, args| match args {
            [Value::String(text)] => ok(Value::Bool(parse_cidr(text).is_ok())),
            _ => None,
        },
        "containsIP" => contains_ip,
        "containsCIDR" => contains_cidr,
        "prefixLength" => |_, args| ok(Value::Int(i64::from(cidr_of(args.first()?)?.bits))),
        "masked" => |_, args| made(Opaque::Cidr(cidr_of(args.first()?)?.masked())),
        _ => return None,
    })
}

fn contains_ip<'a>(_: &mut crate::cost::Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let [network, other] = args else { return None };
    let network = cidr_of(network)?;
    let address = match other {
        Value::String(text) => parse_ip(text).map_err(EvalError::Failed),
        other => Ok(ip_of(other)?),
    };
    Some(address.map(|address| Value::Bool(network.contains(address))))
}

fn contains_cidr<'a>(_: &mut crate::cost::Meter, args: &[Value<'a>]) -> Option<Evaluated<'a>> {
    let [network, other] = args else { return None };
    let network = cidr_of(network)?;
    let inner = match other {
        Value::String(text) => parse_cidr(text).map_err(|error| {
            EvalError::failed(format!(
                "network address parse error during conversion from string: {error}"
            ))
        }),
        other => Ok(cidr_of(other)?),
    };
    Some(
        inner.map(|inner| {
            Value::Bool(network.bits <= inner.bits && network.contains(inner.address))
        }),
    )
}
