//! Texts that clients give back to the server, or show it: continue tokens and web tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use karve_apiserver::outside;

/// A token as it is, and one whose JSON is the input.
pub fn continue_token(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for token in [text.into_owned(), URL_SAFE_NO_PAD.encode(input)] {
        let Ok((revision, start)) = outside::continue_token(&token) else {
            continue;
        };
        assert!(!start.contains("../") && !start.starts_with('/'), "{start}");
        let written = outside::write_continue_token(revision, start.clone());
        assert_eq!(outside::continue_token(&written), Ok((revision, start)));
    }
}

/// A token as it is, and one whose header and claims are the two parts of the input.
pub fn web_token(input: &[u8]) {
    const NOW: i64 = 1_767_225_600;
    let mut parts = crate::parts(input).map(|part| URL_SAFE_NO_PAD.encode(part));
    let (header, claims) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let tokens = [
        String::from_utf8_lossy(input).into_owned(),
        format!("{header}.{claims}.c2ln"),
    ];
    for token in tokens {
        if let Some(user) = outside::web_token(&token, NOW) {
            assert!(user.starts_with("system:serviceaccount:"), "{user}");
        }
    }
}
