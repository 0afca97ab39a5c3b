//! Requests from subject to certificate.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use rcgen::{CertificateParams, DnType, DnValue, IsCa, KeyPair, SanType};
use serde_json::json;

use super::*;

fn authority() -> (Authority, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("signed").pem();
    let authority = Authority::new(certificate.as_bytes(), key.serialize_pem().as_bytes());
    (authority.expect("an authority"), certificate)
}

fn request(
    signer: &str,
    name: &str,
    organization: &str,
    names: Vec<SanType>,
    usages: &[&str],
) -> CertificateSigningRequest {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, DnValue::from(organization));
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = names;
    let key = KeyPair::generate().expect("a key");
    let pem = params
        .serialize_request(&key)
        .expect("signed")
        .pem()
        .expect("PEM");
    let encoded = base64::engine::general_purpose::STANDARD.encode(pem);
    serde_json::from_value(json!({"metadata": {}, "spec": {"request": encoded, "signerName": signer, "usages": usages}}))
        .expect("a request")
}

#[test]
fn signers_sign_what_upstream_signs() {
    let ip = || vec![SanType::IpAddress([10, 0, 0, 1].into())];
    let client = ["client auth", "digital signature"];
    let server = ["server auth", "digital signature", "key encipherment"];
    let (kubelet, serving) = (
        "kubernetes.io/kube-apiserver-client-kubelet",
        "kubernetes.io/kubelet-serving",
    );
    let rows = [
        (
            kubelet,
            "system:node:n1",
            "system:nodes",
            vec![],
            &client[..],
            Ok(()),
        ),
        (
            kubelet,
            "system:node:n1",
            "other",
            vec![],
            &client,
            Err("subject organization is not system:nodes"),
        ),
        (
            kubelet,
            "system:node:n1",
            "system:nodes",
            ip(),
            &client,
            Err("IP subjectAltNames are not allowed"),
        ),
        (
            kubelet,
            "n1",
            "system:nodes",
            vec![],
            &client,
            Err("subject common name does not begin with system:node:"),
        ),
        (
            kubelet,
            "system:node:n1",
            "system:nodes",
            vec![],
            &server,
            Err("usages did not match [client auth digital signature key encipherment]"),
        ),
        (
            serving,
            "system:node:n1",
            "system:nodes",
            ip(),
            &server,
            Ok(()),
        ),
        (
            serving,
            "system:node:n1",
            "system:nodes",
            vec![],
            &server,
            Err("DNS or IP subjectAltName is required"),
        ),
        (
            "kubernetes.io/kube-apiserver-client",
            "eve",
            "dev",
            vec![],
            &client,
            Ok(()),
        ),
        (
            "kubernetes.io/kube-apiserver-client",
            "eve",
            "dev",
            vec![],
            &server[..1],
            Err("invalid usage for client certificate: server auth"),
        ),
    ];
    for (signer, name, organization, names, usages, want) in rows {
        let asked =
            Asked::parse(&request(signer, name, organization, names, usages)).expect("readable");
        assert_eq!(
            asked.check(),
            want.map_err(str::to_owned),
            "{signer} {name} {organization} {usages:?}"
        );
    }
    let other = request("example.com/x", "eve", "dev", vec![], &client);
    assert_eq!(Asked::parse(&other).expect("readable").signer, None);
}

#[test]
fn certificates_say_what_was_asked_and_no_more() {
    let (authority, ca) = authority();
    let names = vec![SanType::IpAddress([10, 0, 0, 1].into())];
    let request = request(
        "kubernetes.io/kubelet-serving",
        "system:node:n1",
        "system:nodes",
        names,
        &["server auth", "digital signature"],
    );
    let asked = Asked::parse(&request).expect("readable");
    let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
    let pem = authority.issue(&asked, Some(3600), now).expect("signed");
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
    let (rest, certificate) = X509Certificate::from_der(&der).expect("X.509");
    assert!(rest.is_empty());
    let ca = CertificateDer::from_pem_slice(ca.as_bytes()).expect("PEM");
    let (_, ca) = X509Certificate::from_der(&ca).expect("X.509");
    certificate
        .verify_signature(Some(ca.public_key()))
        .expect("by the authority");
    assert_eq!(certificate.issuer(), ca.subject());
    assert_eq!(certificate.subject().as_raw(), asked.subject);
    let validity = certificate.validity();
    assert_eq!(validity.not_before.timestamp(), now.as_second() - 300);
    assert_eq!(validity.not_after.timestamp(), now.as_second() + 3600);
    let usage = certificate
        .key_usage()
        .expect("parsed")
        .expect("there")
        .value;
    assert!(usage.digital_signature() && !usage.key_encipherment() && !usage.key_cert_sign());
    let purposes = certificate
        .extended_key_usage()
        .expect("parsed")
        .expect("there")
        .value;
    assert!(purposes.server_auth && !purposes.client_auth);
    assert!(!certificate.is_ca());
    let names = certificate
        .subject_alternative_name()
        .expect("parsed")
        .expect("there")
        .value;
    assert_eq!(names.general_names.len(), 1);
}
