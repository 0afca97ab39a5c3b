//! The server's TLS: what it shows, what it agrees to, and whose certificates it knows.
//!
//! A client's certificate of an authority that nobody knows does not end the handshake: whether it counts is a question
//! of who asks, and is answered with 401 (`authenticate`). What the handshake does prove is that the client has the
//! certificate's key. Absent: certificates for several names of the server, and files that are read again.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme, SupportedCipherSuite,
    SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use crate::api::Error;

/// How a server speaks TLS, and the authority of its clients. Clones share it.
#[derive(Debug, Clone)]
pub struct ServerTls {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) clients: Arc<dyn ClientCertVerifier>,
}

/// What the server agrees to (`--tls-min-version`, `--tls-cipher-suites`).
#[derive(Debug, Clone, Default)]
pub struct TlsChoice {
    /// Not TLS 1.2.
    pub only_1_3: bool,
    /// Suites of TLS 1.2 by their IANA names; empty: all. Those of 1.3 can't be chosen, as in Go.
    pub cipher_suites: Vec<String>,
}

/// No such cipher suite.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Cipher suite {0} not supported or doesn't exist")]
pub struct UnknownSuite(String);

impl ServerTls {
    /// Shows a certificate; knows clients by certificates of an authority. All arguments are PEM.
    ///
    /// # Errors
    /// When one of them is none, or the key is not the certificate's.
    pub fn new(
        certificate: &[u8],
        key: &[u8],
        client_ca: &[u8],
        choice: &TlsChoice,
    ) -> Result<ServerTls, Error> {
        let pem = |what| move |err| Error::Pem { what, err };
        let chain = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(pem("certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(pem("key"))?;
        let provider = Arc::new(provider(choice)?);
        let clients = verifier(client_ca, &provider)?;
        let asking = Asking(clients.clone());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(choice))?
            .with_client_cert_verifier(Arc::new(asking))
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(ServerTls {
            config: Arc::new(config),
            clients,
        })
    }

    /// As rustls takes it, for servers other than the API's.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }
}

static ONLY_1_3: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

fn versions(choice: &TlsChoice) -> &'static [&'static SupportedProtocolVersion] {
    match choice.only_1_3 {
        true => &ONLY_1_3,
        false => rustls::DEFAULT_VERSIONS,
    }
}

fn provider(choice: &TlsChoice) -> Result<CryptoProvider, UnknownSuite> {
    let mut provider = rustls::crypto::ring::default_provider();
    if choice.cipher_suites.is_empty() {
        return Ok(provider);
    }
    let all = provider.cipher_suites;
    let wanted: Vec<String> = choice.cipher_suites.iter().map(|s| iana_name(s)).collect();
    if let Some(unknown) = wanted
        .iter()
        .position(|name| !all.iter().any(|suite| name_of(suite) == *name))
    {
        return Err(UnknownSuite(choice.cipher_suites[unknown].clone()));
    }
    let (given, always): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|suite| suite.tls13().is_none());
    let chosen = given
        .into_iter()
        .filter(|suite| wanted.contains(&name_of(suite)));
    provider.cipher_suites = always.into_iter().chain(chosen).collect();
    Ok(provider)
}

/// Go also knows two suites without the end of their names.
fn iana_name(name: &str) -> String {
    match name.ends_with("_CHACHA20_POLY1305") {
        true => format!("{name}_SHA256"),
        false => name.to_owned(),
    }
}

fn name_of(suite: &SupportedCipherSuite) -> String {
    // rustls tells those of TLS 1.3 apart by their prefix.
    let name = format!("{:?}", suite.suite());
    name.replacen("TLS13_", "TLS_", 1)
}

/// Tells certificates of an authority (PEM).
pub(crate) fn verifier(
    authority: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let mut roots = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(authority) {
        let what = "client CA";
        roots.add(root.map_err(|err| Error::Pem { what, err })?)?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    Ok(builder.allow_unauthenticated().build()?)
}

/// Asks for a certificate and takes any, as Go's `tls.RequestClientCert`.
#[derive(Debug)]
struct Asking(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Asking {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    // Without hints a client shows what it has, and not only what we know.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suites(names: &[&str]) -> Result<Vec<String>, UnknownSuite> {
        let choice = TlsChoice {
            cipher_suites: names.iter().map(|name| (*name).to_owned()).collect(),
            ..TlsChoice::default()
        };
        Ok(provider(&choice)?
            .cipher_suites
            .iter()
            .map(name_of)
            .collect())
    }

    #[test]
    fn suites_of_tls_1_2_are_chosen_by_their_names() {
        assert_eq!(suites(&[]).expect("all").len(), 9);
        let names = ["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"];
        let chosen = suites(&names).expect("known");
        assert_eq!(chosen.len(), 4, "{chosen:?}");
        assert_eq!(chosen[3], "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256");
        let only_1_3 = suites(&["TLS_AES_128_GCM_SHA256"]).expect("known");
        assert_eq!(only_1_3.len(), 3);
        let unknown = suites(&["TLS_RSA_WITH_RC4_128_SHA"]).expect_err("not ours");
        assert_eq!(
            unknown.to_string(),
            "Cipher suite TLS_RSA_WITH_RC4_128_SHA not supported or doesn't exist"
        );
    }
}
