//! Secrets of type `kubernetes.io/tls`: whether there is a certificate and a key, with the texts of Go's
//! `tls.X509KeyPair`.
//!
//! Absent: whether the two belong together, which takes a parser of certificates.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::pem;

fn is_key(kind: &str) -> bool {
    kind == "PRIVATE KEY" || kind.ends_with(" PRIVATE KEY")
}

/// What is wrong with the pair, if anything.
pub(super) fn warning(secret: &Value) -> Vec<String> {
    let data = |key: &str| {
        let text = secret["data"][key].as_str().unwrap_or("");
        let blocks = pem::blocks(&STANDARD.decode(text).unwrap_or_default());
        blocks
            .into_iter()
            .map(|block| block.kind)
            .collect::<Vec<_>>()
    };
    let (certificates, keys) = (data("tls.crt"), data("tls.key"));
    let listed = |types: &[String]| format!("[{}]", types.join(" "));
    let text = if !certificates.iter().any(|t| t == "CERTIFICATE") {
        match certificates.as_slice() {
            [] => "tls: failed to find any PEM data in certificate input".to_owned(),
            [only] if is_key(only) => "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched".to_owned(),
            types => format!("tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: {}", listed(types)),
        }
    } else if !keys.iter().any(|t| is_key(t)) {
        match keys.as_slice() {
            [] => "tls: failed to find any PEM data in key input".to_owned(),
            [only] if only == "CERTIFICATE" => {
                "tls: found a certificate rather than a key in the PEM for the private key"
                    .to_owned()
            }
            types => format!(
                "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: {}",
                listed(types)
            ),
        }
    } else {
        return Vec::new();
    };
    vec![text]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_a_certificate_and_a_key() {
        let pem = |kind: &str| format!("-----BEGIN {kind}-----\nAA==\n-----END {kind}-----\n");
        let table = [
            (
                String::new(),
                String::new(),
                "tls: failed to find any PEM data in certificate input",
            ),
            (
                pem("CERTIFICATE"),
                String::new(),
                "tls: failed to find any PEM data in key input",
            ),
            (pem("CERTIFICATE"), pem("EC PRIVATE KEY"), ""),
            (
                pem("CERTIFICATE"),
                pem("CERTIFICATE"),
                "tls: found a certificate rather than a key in the PEM for the private key",
            ),
        ];
        for (certificate, key, want) in table {
            let data = |text: &str| STANDARD.encode(text);
            let secret =
                serde_json::json!({"data": {"tls.crt": data(&certificate), "tls.key": data(&key)}});
            assert_eq!(warning(&secret).first().map_or("", String::as_str), want);
        }
    }
}
