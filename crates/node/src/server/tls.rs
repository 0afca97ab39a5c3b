//! Who may speak to the kubelet API.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The name in the API server's client certificate.
const API_SERVER: &str = "kube-apiserver-kubelet-client";

/// Certificates and key, in PEM.
#[derive(Clone)]
pub struct Pem {
    /// The serving certificate, with intermediates if there are any.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
    /// The CA whose client certificates are let in.
    pub client_ca: Vec<u8>,
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pem").finish_non_exhaustive()
    }
}

/// Why certificates are not usable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not PEM, or not what it should be.
    #[error("parse {what}")]
    Pem {
        /// Which one.
        what: &'static str,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The CA can't be used for verifying.
    #[error("use CA for client certificates")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// Key and certificate do not fit, or rustls refuses them.
    #[error("use serving certificate")]
    Certificate(#[from] rustls::Error),
}

/// The TLS configuration of the server.
pub(super) fn config(pem: &Pem) -> Result<ServerConfig, Error> {
    let chain = certificates("serving certificate", &pem.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&pem.key).map_err(|source| Error::Pem {
        what: "serving key",
        source,
    })?;
    let mut roots = RootCertStore::empty();
    for ca in certificates("client CA", &pem.client_ca)? {
        roots.add(ca)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|source| Error::Pem { what, source })
}

/// Whether the verified client certificate is the API server's.
pub(super) fn is_api_server(connection: &ServerConnection) -> bool {
    let Some(certificate) = connection
        .peer_certificates()
        .and_then(|chain| chain.first())
    else {
        return false;
    };
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    let mut names = parsed.subject().iter_common_name();
    // One name, not one of several.
    matches!(
        (names.next().and_then(|n| n.as_str().ok()), names.next()),
        (Some(API_SERVER), None)
    )
}
