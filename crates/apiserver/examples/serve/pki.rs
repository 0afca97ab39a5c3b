//! A certificate authority for examples and tests.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate authority with a server on loopback. Pairs are certificate and key, PEM.
pub struct Pki {
    pub ca: String,
    pub server: (String, String),
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    pub fn new() -> anyhow::Result<Pki> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "karve-example");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        let names = ["127.0.0.1", "localhost"];
        let server = sign(
            &issuer,
            &names,
            "kube-apiserver",
            "karve",
            ExtendedKeyUsagePurpose::ServerAuth,
        )?;
        Ok(Pki { ca, server, issuer })
    }

    /// A client certificate.
    pub fn client(&self, user: &str, group: &str) -> anyhow::Result<(String, String)> {
        sign(
            &self.issuer,
            &[],
            user,
            group,
            ExtendedKeyUsagePurpose::ClientAuth,
        )
    }

    /// TLS of the server as a client of kubelet APIs.
    #[allow(dead_code, reason = "only tests need it")]
    pub fn kubelet_client(&self) -> anyhow::Result<rustls::ClientConfig> {
        let (certificate, key) = self.client("kube-apiserver-kubelet-client", "system:masters")?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes())?)?;
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes())?];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Ok(rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?)
    }

    /// A kubeconfig for a user.
    pub fn kubeconfig(&self, user: &str, group: &str, port: u16) -> anyhow::Result<String> {
        let (certificate, key) = self.client(user, group)?;
        let encode = |text: &str| STANDARD.encode(text);
        Ok(format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: example\n\
             clusters:\n- name: example\n  cluster:\n    server: https://127.0.0.1:{port}\n    certificate-authority-data: {}\n\
             users:\n- name: user\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\n\
             contexts:\n- name: example\n  context:\n    cluster: example\n    user: user\n",
            encode(&self.ca),
            encode(&certificate),
            encode(&key),
        ))
    }
}

fn sign(
    issuer: &Issuer<'static, KeyPair>,
    names: &[&str],
    user: &str,
    group: &str,
    usage: ExtendedKeyUsagePurpose,
) -> anyhow::Result<(String, String)> {
    let key = KeyPair::generate()?;
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, user);
    params
        .distinguished_name
        .push(DnType::OrganizationName, group);
    params.extended_key_usages = vec![usage];
    Ok((params.signed_by(&key, issuer)?.pem(), key.serialize_pem()))
}
