//! Certificates that are in the bundle themselves: Go trusts them without an authority, and many a webhook's bundle is
//! just its own self-signed certificate.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{ASN1Time, FromDer as _, X509Certificate};

/// Believes what the bundle's authorities have signed, and the bundle's own certificates.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) authorities: Arc<WebPkiServerVerifier>,
    pub(super) bundle: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.bundle.iter().any(|own| own == shown) {
            return self
                .authorities
                .verify_server_cert(shown, above, name, ocsp, now);
        }
        check_use(shown, now)?;
        verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Whether a certificate is valid now and may be a server's.
fn check_use(shown: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let broken = || Error::from(CertificateError::BadEncoding);
    let (_, certificate) = X509Certificate::from_der(shown).map_err(|_| broken())?;
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let now = ASN1Time::from_timestamp(seconds).map_err(|_| broken())?;
    let validity = certificate.validity();
    if now < validity.not_before {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after {
        return Err(CertificateError::Expired.into());
    }
    let usage = certificate.extended_key_usage().map_err(|_| broken())?;
    match usage.is_none_or(|usage| usage.value.any || usage.value.server_auth) {
        true => Ok(()),
        false => Err(CertificateError::InvalidPurpose.into()),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::RootCertStore;

    use super::*;

    #[test]
    fn a_certificate_in_the_bundle_needs_no_authority() {
        let made = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(names).expect("names");
            params.self_signed(&key).expect("signed").der().clone()
        };
        let (own, other) = (made(&["hook.a.svc"]), made(&["hook.a.svc"]));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(own.clone()).expect("a certificate");
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let pinned = Pinned {
            authorities: authorities.build().expect("a verifier"),
            bundle: vec![own.clone()],
        };
        let verify = |shown: &CertificateDer<'_>, name: &str, now: u64| {
            let name = ServerName::try_from(name.to_owned()).expect("a name");
            let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
            pinned
                .verify_server_cert(shown, &[], &name, &[], now)
                .is_ok()
        };
        let now = 1_800_000_000;
        assert!(verify(&own, "hook.a.svc", now));
        assert!(!verify(&own, "hook.b.svc", now));
        assert!(!verify(&own, "hook.a.svc", 0));
        assert!(!verify(&other, "hook.a.svc", now));
    }
}
