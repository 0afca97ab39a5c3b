//! Who clients are: certificates that nobody knows, and a proxy that speaks for others.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};

use crate::served::Served;

/// An authority of the test's own.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let file = folder.join(format!("{name}.crt"));
        std::fs::write(&file, certificate.pem()).expect("written");
        Authority {
            issuer: Issuer::new(params, key),
            file,
        }
    }

    /// The certificate and key of a client.
    fn client(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (certificate.pem(), key.serialize_pem())
    }
}

const ME: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// The code of an answer to "who am I", and what it says.
async fn who(
    served: &Served,
    shown: Option<(String, String)>,
    headers: &[(&str, &str)],
) -> (u16, serde_json::Value) {
    let client = served.client_showing(shown);
    let body = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;
    let mut request = http::Request::post(ME).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(kube::client::Body::from(body.as_bytes().to_vec()));
    let answer = client.send(request.expect("a request")).await;
    let (head, body) = answer.expect("an answer").into_parts();
    let body = body.collect_bytes().await.expect("a body");
    let said = serde_json::from_slice(&body).expect("JSON");
    (head.status.as_u16(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_knows_is_answered_401() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let strangers = Authority::new(folder.path(), "strangers");
    let served = Served::start(&folder.path().join("data")).await;
    let (code, said) = who(&served, Some(strangers.client("eve")), &[]).await;
    assert_eq!((code, &said["reason"]), (401, &"Unauthorized".into()));
    assert_eq!(said["message"], "Unauthorized");
    // Who shows nothing is nobody, and may not ask who that is.
    let (code, said) = who(&served, None, &[]).await;
    assert_eq!((code, &said["reason"]), (403, &"Forbidden".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_says_who_asks() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let proxies = Authority::new(folder.path(), "proxies");
    let ca = format!("--requestheader-client-ca-file={}", proxies.file.display());
    let flags = [
        &*ca,
        "--requestheader-allowed-names=front,other",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-uid-headers=X-Remote-Uid",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
    ];
    let served = Served::start_with(&folder.path().join("data"), &flags).await;
    let alice = [
        ("x-remote-user", "alice"),
        ("x-remote-uid", "u1"),
        ("x-remote-group", "dev"),
        ("x-remote-group", "ops"),
        ("x-remote-extra-acme.com%2fteam", "blue"),
        // What nobody behind the proxy may believe.
        ("authorization", "Bearer junk"),
    ];
    let (code, said) = who(&served, Some(proxies.client("front")), &alice).await;
    let info = serde_json::json!({"username": "alice", "uid": "u1",
        "groups": ["dev", "ops", "system:authenticated"], "extra": {"acme.com/team": ["blue"]}});
    assert_eq!((code, &said["status"]["userInfo"]), (201, &info), "{said}");
    // Of the right authority, but with another name; and the right name of another authority.
    let (code, _) = who(&served, Some(proxies.client("back")), &alice[..5]).await;
    assert_eq!(code, 401);
    let strangers = Authority::new(folder.path(), "strangers");
    let (code, _) = who(&served, Some(strangers.client("front")), &alice[..5]).await;
    assert_eq!(code, 401);
    // The proxy for nobody, and nobody with headers.
    let (code, _) = who(&served, Some(proxies.client("front")), &[]).await;
    assert_eq!(code, 401);
    let (code, _) = who(&served, None, &alice[..5]).await;
    assert_eq!(code, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_tls_and_suites_are_those_that_were_asked_for() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let flags = ["--tls-min-version=VersionTLS13"];
    let served = Served::start_with(&folder.path().join("new"), &flags).await;
    assert!(served.speaks(&rustls::version::TLS13).await);
    assert!(!served.speaks(&rustls::version::TLS12).await);
    let flags = ["--tls-cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"];
    let served = Served::start_with(&folder.path().join("old"), &flags).await;
    assert!(served.speaks(&rustls::version::TLS12).await);
    // The server's key is ECDSA, so no suite is left that it could use.
    let flags = ["--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"];
    let served = Served::start_with(&folder.path().join("none"), &flags).await;
    assert!(!served.speaks(&rustls::version::TLS12).await);
    assert!(served.speaks(&rustls::version::TLS13).await);
}
