//! Bootstrap tokens: `ID.SECRET`, kept as Secrets `bootstrap-token-ID` in `kube-system`, for nodes that join.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use karve_store::Store;
use serde_json::Value;

use super::same_secret;
use crate::identity::Identity;
use crate::keys;
use crate::object::Meta;

const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;
const GROUP: &str = "system:bootstrappers";

/// The user of a token that is in the store and valid now.
pub fn identity(store: &Store, token: &str) -> Option<Identity> {
    let (id, secret) = parse(token)?;
    let name = format!("bootstrap-token-{id}");
    let entry = store.get(&keys::core("secrets", "kube-system", &name))?;
    let stored: Value = serde_json::from_slice(entry.value()).ok()?;
    of_secret(&stored, id, secret, jiff::Timestamp::now())
}

fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
    };
    let lengths = id.len() == ID_LENGTH && secret.len() == SECRET_LENGTH;
    (lengths && plain(id) && plain(secret)).then_some((id, secret))
}

fn of_secret(stored: &Value, id: &str, secret: &str, now: jiff::Timestamp) -> Option<Identity> {
    let data = |key: &str| {
        let bytes = STANDARD.decode(stored["data"][key].as_str()?).ok()?;
        String::from_utf8(bytes).ok()
    };
    let live = !stored.is_deleting() && stored["type"] == "bootstrap.kubernetes.io/token";
    let same = data("token-id").is_some_and(|own| own == id)
        && data("token-secret").is_some_and(|own| same_secret(own.as_bytes(), secret.as_bytes()));
    let used = data("usage-bootstrap-authentication").is_some_and(|usage| usage == "true");
    // An end that can't be read is over.
    let ended = data("expiration").is_some_and(|end| {
        !end.is_empty()
            && end
                .parse::<jiff::Timestamp>()
                .map_or(true, |end| end <= now)
    });
    if !live || !same || !used || ended {
        return None;
    }
    let extra = data("auth-extra-groups").unwrap_or_default();
    let extra: Vec<&str> = extra.split(',').filter(|g| !g.is_empty()).collect();
    // One wrong group spoils them all.
    if !extra.iter().all(|group| valid_group(group)) {
        return None;
    }
    let mut groups: Vec<String> = extra.into_iter().map(str::to_owned).collect();
    groups.push(GROUP.to_owned());
    groups.sort();
    groups.dedup();
    Some(Identity::authenticated(
        &format!("system:bootstrap:{id}"),
        groups,
    ))
}

/// `system:bootstrappers:` and up to 256 letters, digits, `:` and `-`, which do not begin or end with punctuation.
fn valid_group(group: &str) -> bool {
    let Some(rest) = group
        .strip_prefix(GROUP)
        .and_then(|rest| rest.strip_prefix(':'))
    else {
        return false;
    };
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let inner = rest.bytes().all(|b| word(b) || matches!(b, b':' | b'-'));
    let end = rest.bytes().last().is_some_and(word);
    inner && end && rest.len() <= 256
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_live_tokens_with_the_usage_are_users() {
        let good = json!({"type": "bootstrap.kubernetes.io/token", "data": {
            "token-id": STANDARD.encode("abcdef"), "token-secret": STANDARD.encode("0123456789abcdef"),
            "usage-bootstrap-authentication": STANDARD.encode("true"),
            "auth-extra-groups": STANDARD.encode("system:bootstrappers:x"),
            "expiration": STANDARD.encode("2030-01-01T00:00:00Z")}});
        let now: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let who = |stored: &Value, token: &str| {
            let (id, secret) = parse(token)?;
            of_secret(stored, id, secret, now)
                .map(|user| format!("{} {}", user.user, user.groups.join(",")))
        };
        let token = "abcdef.0123456789abcdef";
        let want = "system:bootstrap:abcdef system:bootstrappers,system:bootstrappers:x,system:authenticated";
        assert_eq!(who(&good, token).as_deref(), Some(want));
        assert_eq!(who(&good, "abcdef.0123456789abcdeX"), None);
        assert_eq!(who(&good, "abcdef.0000000000000000"), None);
        let rows = [
            ("/type", json!("Opaque")),
            (
                "/data/expiration",
                json!(STANDARD.encode("2025-01-01T00:00:00Z")),
            ),
            (
                "/data/usage-bootstrap-authentication",
                json!(STANDARD.encode("false")),
            ),
            (
                "/data/auth-extra-groups",
                json!(STANDARD.encode("system:masters")),
            ),
        ];
        for (pointer, value) in rows {
            let mut wrong = good.clone();
            *wrong.pointer_mut(pointer).expect("there") = value;
            assert_eq!(who(&wrong, token), None, "{pointer}");
        }
    }
}
