//! IP addresses and CIDRs, strictly (KEP-4858): no leading zeros, no IPv4 in IPv6, no bits beyond the prefix.

use super::checks::Errors;
use crate::field::{Error, Path};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const IP_TEXT: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const CIDR_TEXT: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An IPv4 address in which numbers may have leading zeros; they are decimal.
fn sloppy_v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || part.len() > 16 || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then(|| octets.into())
}

/// An address as old versions read it: with leading zeros.
pub(crate) fn sloppy(text: &str) -> Option<IpAddr> {
    match text.contains(':') {
        true => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        false => sloppy_v4(text).map(IpAddr::V4),
    }
}

/// A CIDR as old versions read it: the address as it was written, and the network.
pub(crate) fn prefix(text: &str) -> Option<(IpAddr, ipnet::IpNet)> {
    let (address, length) = text.split_once('/')?;
    let address = sloppy(address)?;
    let net = ipnet::IpNet::new(address, length.parse().ok()?).ok()?;
    Some((address, net.trunc()))
}

fn has_leading_zeros(address: &str) -> bool {
    !address.contains(':')
        && address
            .split('.')
            .any(|p| p.len() > 1 && p.starts_with('0'))
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// Whether a text is an address at all, and of which family.
pub(super) fn parse(text: &str) -> Option<IpAddr> {
    sloppy(text)
}

/// What is wrong with an address that must be in its shortest form.
pub(super) fn wrong(text: &str) -> Vec<String> {
    let mut errors = Errors::new();
    if ip(&mut errors, &Path::root(""), text, false)
        && let Some(canonical) = sloppy(text).map(|a| a.to_string()).filter(|c| c != text)
    {
        let detail = format!(
            "must be in canonical form ({})",
            crate::field::quote(&canonical)
        );
        errors.push(Error::invalid(&Path::root(""), text, detail));
    }
    errors.into_iter().map(|error| error.detail).collect()
}

/// Whether a text is an IPv6 address.
pub(super) fn is_ipv6(text: &str) -> bool {
    matches!(sloppy(text), Some(IpAddr::V6(_)))
}

/// An address. What an object already has may stay as it is: `unchanged`.
pub(super) fn ip(errors: &mut Errors, path: &Path<'_>, text: &str, unchanged: bool) -> bool {
    let found = match sloppy(text) {
        None => Some(IP_TEXT),
        Some(_) if unchanged => None,
        Some(_) if has_leading_zeros(text) => Some("must not have leading 0s"),
        Some(address) if is_mapped(address) => Some("must not be an IPv4-mapped IPv6 address"),
        Some(_) => None,
    };
    errors.extend(found.map(|t| Error::invalid(path, text, t)));
    found.is_none()
}

fn bits_beyond(address: IpAddr, prefix: u32) -> bool {
    match address {
        IpAddr::V4(v4) => v4.to_bits().checked_shl(prefix).unwrap_or(0) != 0,
        IpAddr::V6(v6) => v6.to_bits().checked_shl(prefix).unwrap_or(0) != 0,
    }
}

/// A CIDR. What an object already has may stay as it is: `unchanged`.
pub(super) fn cidr(errors: &mut Errors, path: &Path<'_>, text: &str, unchanged: bool) -> bool {
    let parsed = text.split_once('/').and_then(|(head, tail)| {
        let address = sloppy(head)?;
        let digits =
            !tail.is_empty() && tail.len() <= 16 && tail.bytes().all(|b| b.is_ascii_digit());
        let prefix: u32 = tail.parse().ok().filter(|_| digits)?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= max).then_some((address, prefix, head, tail))
    });
    let found = match parsed {
        None => Some(CIDR_TEXT),
        Some(_) if unchanged => None,
        Some((_, _, head, tail))
            if has_leading_zeros(head) || (tail.len() > 1 && tail.starts_with('0')) =>
        {
            Some("must not have leading 0s in IP or prefix length")
        }
        Some((address, ..)) if is_mapped(address) => {
            Some("must not have an IPv4-mapped IPv6 address")
        }
        Some((address, prefix, ..)) if bits_beyond(address, prefix) => {
            Some("must not have bits set beyond the prefix length")
        }
        Some(_) => None,
    };
    errors.extend(found.map(|t| Error::invalid(path, text, t)));
    found.is_none()
}

/// An address that other hosts can be reached by.
pub(super) fn not_special(errors: &mut Errors, path: &Path<'_>, text: &str) {
    let Some(address) = sloppy(text) else {
        errors.push(Error::invalid(path, text, "must be a valid IP address"));
        return;
    };
    let v6_link_local = |a: Ipv6Addr| a.segments()[0] & 0xffc0 == 0xfe80;
    let v6_multicast = |a: Ipv6Addr| a.segments()[0] == 0xff02;
    let mut say = |t: String| errors.push(Error::invalid(path, text, t));
    if address.is_unspecified() {
        say(format!("may not be unspecified ({text})"));
    }
    if address.is_loopback() {
        say("may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned());
    }
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6_link_local(v6),
    };
    if link_local {
        say("may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned());
    }
    let multicast = match address {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6_multicast(v6),
    };
    if multicast {
        say("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned());
    }
}
