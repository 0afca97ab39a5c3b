//! Addresses and CIDRs that are read, and should be written in another way (KEP-4858).

use crate::field::quote;
use crate::validate::address::{prefix, sloppy};
use std::net::IpAddr;

/// The address that an IPv4-mapped IPv6 address stands for.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Whether Go's strict parser reads the text as an address of its own family.
fn is_standard(text: &str) -> bool {
    text.parse::<IpAddr>()
        .is_ok_and(|address| canonical(address) == address)
}

/// What there is to say of an address.
pub(super) fn ip(field: &str, text: &str) -> Option<String> {
    let address = canonical(sloppy(text)?).to_string();
    if !is_standard(text) {
        return Some(format!(
            "{field}: non-standard IP address {} is invalid: use {}",
            quote(text),
            quote(&address)
        ));
    }
    (text.contains(':') && address != text).then(|| {
        format!(
            "{field}: IPv6 address {} should be in RFC 5952 canonical format ({})",
            quote(text),
            quote(&address)
        )
    })
}

/// What there is to say of a CIDR.
pub(super) fn cidr(field: &str, text: &str) -> Vec<String> {
    let Some((address, net)) = prefix(text) else {
        return Vec::new();
    };
    let mut warnings = Vec::new();
    let (shown, whole) = (quote(text), quote(&net.to_string()));
    if net.network() != address {
        let single = quote(&format!("{address}/{}", net.max_prefix_len()));
        warnings.push(format!(
            "{field}: CIDR value {shown} is ambiguous in this context (should be {whole} or {single}?)"
        ));
    }
    let written = text.split('/').next().unwrap_or(text);
    if !is_standard(written) {
        warnings.push(format!(
            "{field}: non-standard CIDR value {shown} is invalid: use {whole}"
        ));
    }
    if warnings.is_empty() && text.contains(':') && net.to_string() != text {
        warnings.push(format!(
            "{field}: IPv6 CIDR value {shown} should be in RFC 5952 canonical format ({whole})"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusual_spellings_are_told_of() {
        let table = [
            ("10.0.0.1", ""),
            (
                "10.0.0.01",
                "f: non-standard IP address \"10.0.0.01\" is invalid: use \"10.0.0.1\"",
            ),
            (
                "::ffff:10.0.0.1",
                "f: non-standard IP address \"::ffff:10.0.0.1\" is invalid: use \"10.0.0.1\"",
            ),
            (
                "FD00::1",
                "f: IPv6 address \"FD00::1\" should be in RFC 5952 canonical format (\"fd00::1\")",
            ),
        ];
        for (text, want) in table {
            assert_eq!(ip("f", text).unwrap_or_default(), want);
        }
        let want = "f: CIDR value \"10.0.0.1/8\" is ambiguous in this context (should be \"10.0.0.0/8\" or \"10.0.0.1/32\"?)";
        assert_eq!(cidr("f", "10.0.0.1/8"), [want]);
        assert!(cidr("f", "fd00::/8").is_empty());
    }
}
