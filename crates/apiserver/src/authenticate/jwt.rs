//! JSON web tokens in their compact form (RFC 7515, 7519): three parts, bounded, one signature.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// Tokens of ServiceAccounts have about 1 KiB; a header of HTTP is not much longer than this.
const TOKEN_MAX: usize = 64 << 10;

/// A token in its parts, nothing verified.
#[derive(Debug)]
pub struct Parts<'a> {
    /// What says how it is signed.
    pub header: Header,
    /// The claims, JSON.
    pub payload: Vec<u8>,
    /// What is signed.
    pub signed: &'a str,
    /// The signature.
    pub signature: Vec<u8>,
}

/// How a token is signed.
#[derive(Debug, Deserialize)]
pub struct Header {
    /// For example `ES256`.
    pub alg: String,
    /// The key's name; may be absent.
    #[serde(default)]
    pub kid: String,
    /// Extensions that must be understood; none are.
    #[serde(default)]
    crit: Vec<String>,
}

/// Takes a token apart; `None` when it is none.
pub fn parse(token: &str) -> Option<Parts<'_>> {
    if token.len() > TOKEN_MAX {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    if payload.contains('.') {
        return None;
    }
    let header: Header = serde_json::from_slice(&decode_base64(header)?).ok()?;
    if !header.crit.is_empty() {
        return None;
    }
    Some(Parts {
        header,
        payload: decode_base64(payload)?,
        signed,
        signature: decode_base64(signature)?,
    })
}

/// URL-safe base64 without padding.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// URL-safe base64 without padding.
pub fn encode_base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_three_parts_are_a_token() {
        let header = encode_base64(r#"{"alg":"ES256","kid":"k"}"#);
        let good = format!("{header}.{}.{}", encode_base64("{}"), encode_base64("sig"));
        let parts = parse(&good).expect("a token");
        assert_eq!((&*parts.header.alg, &*parts.header.kid), ("ES256", "k"));
        assert_eq!(
            (&*parts.payload, &*parts.signature),
            (&b"{}"[..], &b"sig"[..])
        );
        let critical = encode_base64(r#"{"alg":"ES256","crit":["b64"]}"#);
        let rows = [
            String::new(),
            "junk".into(),
            "..".into(),
            "a.b.c".into(),
            format!("{good}.e30"),
            format!("{header}=.e30.e30"),
            format!("{critical}.e30.e30"),
            format!("{header}.{}.e30", "A".repeat(TOKEN_MAX)),
        ];
        for wrong in rows {
            assert!(parse(&wrong).is_none(), "{}", &wrong[..wrong.len().min(80)]);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_apart_or_refused(text in "[A-Za-z0-9._=-]{0,200}") {
            if let Some(parts) = parse(&text) {
                prop_assert!(text.starts_with(parts.signed));
            }
        }

        #[test]
        fn any_header_is_read_or_refused(header in "\\PC{0,60}", payload in any::<Vec<u8>>()) {
            let token = format!("{}.{}.", encode_base64(header), encode_base64(payload));
            let _ = parse(&token);
        }
    }
}
