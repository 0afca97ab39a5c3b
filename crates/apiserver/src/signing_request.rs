//! What a certificate signing request (PKCS #10) says of its subject.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

/// The subject of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Empty when there is none.
    pub common_name: String,
    /// In their order.
    pub organizations: Vec<String>,
}

/// Reads `spec.request`: PEM in base64.
///
/// # Errors
/// Upstream's words, or the parser's.
pub fn subject(request: &str) -> Result<Subject, String> {
    let pem = STANDARD.decode(request).map_err(|err| err.to_string())?;
    let first = <(SectionKind, Vec<u8>)>::pem_slice_iter(&pem).next();
    let Some(Ok((SectionKind::Csr, der))) = first else {
        return Err("PEM block type must be CERTIFICATE REQUEST".to_owned());
    };
    let (_, request) = X509CertificationRequest::from_der(&der).map_err(|err| err.to_string())?;
    let name = &request.certification_request_info.subject;
    let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        value.as_str().unwrap_or_default().to_owned()
    };
    Ok(Subject {
        common_name: name.iter_common_name().last().map(text).unwrap_or_default(),
        organizations: name.iter_organization().map(text).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_read() {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::OrganizationName, "system:nodes");
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "system:node:n1");
        let key = rcgen::KeyPair::generate().expect("a key");
        let pem = params
            .serialize_request(&key)
            .expect("signed")
            .pem()
            .expect("PEM");
        let want = Subject {
            common_name: "system:node:n1".into(),
            organizations: vec!["system:nodes".into()],
        };
        assert_eq!(subject(&STANDARD.encode(pem)), Ok(want));
        for wrong in [
            "",
            "!",
            &STANDARD.encode(
                "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n",
            ),
        ] {
            assert!(subject(wrong).is_err(), "{wrong}");
        }
    }
}
