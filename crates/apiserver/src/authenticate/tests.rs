//! Tokens against a store with an account, a pod and a secret.

use std::path::Path;

use http::HeaderValue;
use karve_store::{Op, Value as Stored};
use serde_json::{Value, json};

use super::key::Algorithm;
use super::*;

const ISSUER: &str = "https://kubernetes.default.svc";

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/authenticate/testdata")
        .join(name)
}

struct Server {
    _directory: tempfile::TempDir,
    store: Store,
    authenticator: Authenticator,
}

fn server(key: &str) -> Server {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = Store::open(directory.path().join("state.db"), Default::default()).expect("opens");
    let users = directory.path().join("users.csv");
    std::fs::write(&users, "file-token,alice,alice-uid,dev\n").expect("written");
    let options = Authentication {
        token_auth_file: Some(users),
        service_account_issuers: vec![ISSUER.to_owned()],
        service_account_signing_key_file: Some(testdata(key)),
        ..Authentication::default()
    };
    let authenticator = Authenticator::open(
        &options,
        "192.0.2.1:6443".parse().expect("an address"),
        store.clone(),
    )
    .expect("opens");
    let server = Server {
        _directory: directory,
        store,
        authenticator,
    };
    server.put(
        "/core/serviceaccounts/a/bot",
        json!({"metadata": {"name": "bot", "namespace": "a", "uid": "bot-uid"}}),
    );
    server.put(
        "/core/pods/a/p",
        json!({"metadata": {"name": "p", "namespace": "a", "uid": "p-uid"}}),
    );
    server
}

impl Server {
    fn put(&self, key: &str, object: Value) {
        let value = Stored::plain(object.to_string());
        let op = match self.store.get(key) {
            Some(entry) => Op::update(key, entry.revision(), value),
            None => Op::create(key, value),
        };
        self.store.commit_blocking(vec![op]).expect("stored");
    }

    fn remove(&self, key: &str) {
        let revision = self.store.get(key).expect("there").revision();
        self.store
            .commit_blocking(vec![Op::delete(key, revision)])
            .expect("removed");
    }

    fn get(&self, key: &str) -> Value {
        serde_json::from_slice(self.store.get(key).expect("there").value()).expect("JSON")
    }

    fn accounts(&self) -> &ServiceAccounts {
        self.authenticator.accounts().expect("there is a key")
    }

    fn token(&self, pod: bool, audiences: &[&str], now: i64, seconds: i64) -> String {
        let (account, pod_object) = (
            self.get("/core/serviceaccounts/a/bot"),
            self.get("/core/pods/a/p"),
        );
        let object = pod.then_some(("Pod", &pod_object));
        let claims = bound("a", &account, object, None);
        let audiences: Vec<String> = audiences.iter().map(|a| (*a).to_owned()).collect();
        self.accounts()
            .issue(claims, &audiences, now, seconds)
            .expect("signs")
            .token
    }

    fn who(&self, token: &str) -> Result<String, String> {
        self.authenticator
            .token(token, None)
            .map(|user| user.identity.user.to_string())
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

const BOT: &str = "system:serviceaccount:a:bot";

#[test]
fn keys_of_all_kinds_sign_and_verify() {
    let rows = [
        ("rsa-pkcs8.pem", Algorithm::Rs256),
        ("rsa-pkcs1.pem", Algorithm::Rs256),
        ("p256-sec1.pem", Algorithm::Es256),
        ("p384-pkcs8.pem", Algorithm::Es384),
    ];
    for (file, algorithm) in rows {
        let server = server(file);
        let token = server.token(false, &[ISSUER], now(), 600);
        assert_eq!(server.who(&token).as_deref(), Ok(BOT), "{file}");
        let signing = pem::signing_key(&testdata(file)).expect("a key");
        assert_eq!(signing.public().algorithm, algorithm);
        let (before, after) = (&token[..token.len() - 9], &token[token.len() - 8..]);
        let other = if token[before.len()..].starts_with('A') {
            'B'
        } else {
            'A'
        };
        let forged = format!("{before}{other}{after}");
        assert!(server.who(&forged).is_err(), "{file}");
    }
    for (private, public) in [
        ("rsa-pkcs1.pem", "rsa-public.pem"),
        ("p256-sec1.pem", "p256-public.pem"),
    ] {
        let signing = pem::signing_key(&testdata(private)).expect("a key");
        let verifying = pem::public_keys(&testdata(public)).expect("a key");
        assert_eq!(std::slice::from_ref(signing.public()), verifying);
        assert!(pem::signing_key(&testdata(public)).is_err());
    }
}

#[test]
fn tokens_end_with_what_they_are_bound_to() {
    let server = server("p256-sec1.pem");
    let token = server.token(true, &[ISSUER], now(), 600);
    for _ in 0..2 {
        assert_eq!(server.who(&token).as_deref(), Ok(BOT));
    }
    let extra = server
        .authenticator
        .token(&token, None)
        .expect("valid")
        .identity
        .extra;
    assert_eq!(extra["authentication.kubernetes.io/pod-name"], ["p"]);
    assert!(extra["authentication.kubernetes.io/credential-id"][0].starts_with("JTI="));
    // Going is not gone.
    let mut pod = server.get("/core/pods/a/p");
    let soon = crate::write::timestamp(jiff::Timestamp::now());
    pod["metadata"]["deletionTimestamp"] = soon.into();
    server.put("/core/pods/a/p", pod.clone());
    assert_eq!(server.who(&token).as_deref(), Ok(BOT));
    pod["metadata"]["deletionTimestamp"] = "2020-01-01T00:00:00Z".into();
    server.put("/core/pods/a/p", pod);
    let invalidated = "[invalid bearer token, service account token has been invalidated]";
    assert_eq!(server.who(&token).expect_err("long gone"), invalidated);
    server.remove("/core/pods/a/p");
    assert_eq!(server.who(&token).expect_err("gone"), invalidated);
    server.put(
        "/core/pods/a/p",
        json!({"metadata": {"name": "p", "uid": "other"}}),
    );
    let other = "[invalid bearer token, pod UID (other) does not match service account pod ref claim (p-uid)]";
    assert_eq!(server.who(&token).expect_err("another pod"), other);
    server.remove("/core/serviceaccounts/a/bot");
    assert_eq!(
        server.who(&token).expect_err("gone"),
        "[invalid bearer token, serviceaccounts \"bot\" not found]"
    );
}

#[test]
fn tokens_have_a_time_and_audiences() {
    let server = server("p256-sec1.pem");
    let expired = server.token(false, &[ISSUER], now() - 4000, 3600);
    assert_eq!(
        server.who(&expired).expect_err("over"),
        "[invalid bearer token, service account token has expired]"
    );
    let early = server.token(false, &[ISSUER], now() + 600, 3600);
    assert_eq!(
        server.who(&early).expect_err("not yet"),
        "[invalid bearer token, service account token is not valid yet]"
    );
    let foreign = server.token(false, &["vault"], now(), 3600);
    let want = "[invalid bearer token, token audiences [\"vault\"] is invalid for the target audiences \
                [\"https://kubernetes.default.svc\"]]";
    assert_eq!(server.who(&foreign).expect_err("not for us"), want);
    let asked = server
        .authenticator
        .token(&foreign, Some(&["vault".to_owned()]))
        .expect("for it");
    assert_eq!(asked.audiences, ["vault"]);
    // An hour and seven seconds is admission's: it lives longer, and is told to be replaced.
    let long = server.token(true, &[ISSUER], now() - 7200, 3607);
    assert_eq!(server.who(&long).as_deref(), Ok(BOT));
}

#[test]
fn secrets_hold_tokens_without_an_end() {
    use base64::Engine as _;
    let server = server("rsa-pkcs8.pem");
    let account = Bound {
        name: "bot".into(),
        uid: "bot-uid".into(),
    };
    let token = server
        .accounts()
        .issue_legacy("a", &account, "s")
        .expect("signs");
    assert_eq!(
        server.who(&token).expect_err("no secret"),
        "[invalid bearer token, Token has been invalidated]"
    );
    let data = json!({"token": base64::engine::general_purpose::STANDARD.encode(&token)});
    server.put(
        "/core/secrets/a/s",
        json!({"metadata": {"name": "s"}, "data": data}),
    );
    assert_eq!(server.who(&token).as_deref(), Ok(BOT));
    server.put(
        "/core/secrets/a/s",
        json!({"metadata": {"name": "s"}, "data": {"token": "bm8="}}),
    );
    assert_eq!(
        server.who(&token).expect_err("another"),
        "[invalid bearer token, Token does not match server's copy]"
    );
}

#[test]
fn requests_say_who_asks() {
    let server = server("p256-sec1.pem");
    let who = |authorization: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::AUTHORIZATION,
            HeaderValue::from_static(authorization),
        );
        let found = server
            .authenticator
            .identify(&mut headers, None, Shown::default());
        found
            .map(|(who, warning)| (who.user.to_string(), warning))
            .map_err(|refused| refused.status().code)
    };
    let nobody = || Ok(("system:anonymous".to_owned(), None));
    assert_eq!(who("Bearer file-token"), Ok(("alice".to_owned(), None)));
    assert_eq!(who("bearer file-token x"), Ok(("alice".to_owned(), None)));
    assert_eq!(who("Bearer junk"), Err(401));
    assert_eq!(who("Bearer"), nobody());
    assert_eq!(who("Basic YTpi"), nobody());
    assert_eq!(who(""), nobody());
    assert_eq!(
        who("Bearer  file-token"),
        Ok(("system:anonymous".to_owned(), Some(SPACED)))
    );
    let mut headers = HeaderMap::new();
    let protocol = format!(
        "base64url.bearer.authorization.k8s.io.{}, v4.channel.k8s.io",
        jwt::encode_base64("file-token")
    );
    headers.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        protocol.parse().expect("a header"),
    );
    let (alice, _) = server
        .authenticator
        .identify(&mut headers, None, Shown::default())
        .expect("known");
    assert_eq!((&*alice.user, &*alice.uid), ("alice", "alice-uid"));
}

#[test]
fn relying_parties_find_the_keys() {
    let key = pem::signing_key(&testdata("rsa-pkcs8.pem")).expect("a key");
    let jwk = key.public().jwk();
    assert_eq!(
        (&jwk["kty"], &jwk["alg"], &jwk["e"]),
        (&json!("RSA"), &json!("RS256"), &json!("AQAB"))
    );
    assert_eq!(
        jwt::decode_base64(jwk["n"].as_str().expect("text"))
            .expect("base64")
            .len(),
        256
    );
    let key = pem::signing_key(&testdata("p256-sec1.pem")).expect("a key");
    let jwk = key.public().jwk();
    assert_eq!((&jwk["kty"], &jwk["crv"]), (&json!("EC"), &json!("P-256")));
}
