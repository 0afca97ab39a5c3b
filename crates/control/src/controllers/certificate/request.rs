//! What is asked for: read once, checked by the rules of its signer. Pure.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

/// Signers whose certificates the cluster's authority signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signer {
    Client,
    KubeletClient,
    KubeletServing,
    LegacyUnknown,
}

impl Signer {
    fn parse(name: &str) -> Option<Signer> {
        Some(match name {
            "kubernetes.io/kube-apiserver-client" => Signer::Client,
            "kubernetes.io/kube-apiserver-client-kubelet" => Signer::KubeletClient,
            "kubernetes.io/kubelet-serving" => Signer::KubeletServing,
            "kubernetes.io/legacy-unknown" => Signer::LegacyUnknown,
            _ => return None,
        })
    }
}

/// Kinds of names beside the subject.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Names {
    dns: bool,
    email: bool,
    ip: bool,
    uri: bool,
}

/// A request that was read.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) signer: Option<Signer>,
    pub(super) usages: Vec<String>,
    pub(super) common_name: String,
    organizations: Vec<String>,
    names: Names,
    /// The subject, DER.
    pub(super) subject: Vec<u8>,
    /// The public key with its algorithm, DER.
    pub(super) key: Vec<u8>,
    /// The value of the extension with other names, DER.
    pub(super) alternative_names: Option<Vec<u8>>,
}

/// Why a request can't be read.
#[derive(Debug, thiserror::Error)]
#[error("read the request")]
pub(super) struct Unreadable;

impl Asked {
    pub(super) fn parse(request: &CertificateSigningRequest) -> Result<Asked, Unreadable> {
        let first = <(SectionKind, Vec<u8>)>::pem_slice_iter(&request.spec.request.0).next();
        let Some(Ok((SectionKind::Csr, der))) = first else {
            return Err(Unreadable);
        };
        let (_, parsed) = X509CertificationRequest::from_der(&der).map_err(|_| Unreadable)?;
        let info = &parsed.certification_request_info;
        let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            value.as_str().unwrap_or_default().to_owned()
        };
        let mut asked = Asked {
            signer: Signer::parse(&request.spec.signer_name),
            usages: request.spec.usages.clone().unwrap_or_default(),
            common_name: info
                .subject
                .iter_common_name()
                .last()
                .map(text)
                .unwrap_or_default(),
            organizations: info.subject.iter_organization().map(text).collect(),
            names: Names::default(),
            subject: info.subject.as_raw().to_vec(),
            key: info.subject_pki.raw.to_vec(),
            alternative_names: None,
        };
        for attribute in info.attributes() {
            let ParsedCriAttribute::ExtensionRequest(extensions) = attribute.parsed_attribute()
            else {
                continue;
            };
            for extension in &extensions.extensions {
                if let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension()
                {
                    asked.alternative_names = Some(extension.value.to_vec());
                    names.general_names.iter().for_each(|name| asked.note(name));
                }
            }
        }
        Ok(asked)
    }

    fn note(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(_) => self.names.dns = true,
            GeneralName::RFC822Name(_) => self.names.email = true,
            GeneralName::IPAddress(_) => self.names.ip = true,
            GeneralName::URI(_) => self.names.uri = true,
            _ => {}
        }
    }

    /// Whether its signer signs such a request; else upstream's words.
    pub(super) fn check(&self) -> Result<(), String> {
        match self.signer {
            None | Some(Signer::LegacyUnknown) => Ok(()),
            Some(Signer::Client) => self.check_client(),
            Some(Signer::KubeletClient) => {
                self.check_nodes()?;
                let refused = [
                    (self.names.dns, "DNS subjectAltNames are not allowed"),
                    (self.names.email, "Email subjectAltNames are not allowed"),
                    (self.names.ip, "IP subjectAltNames are not allowed"),
                    (self.names.uri, "URI subjectAltNames are not allowed"),
                ];
                first(&refused)?;
                self.check_node_name()?;
                self.check_usages("client auth")
            }
            Some(Signer::KubeletServing) => {
                self.check_nodes()?;
                let refused = [
                    (
                        !self.names.dns && !self.names.ip,
                        "DNS or IP subjectAltName is required",
                    ),
                    (self.names.email, "Email subjectAltNames are not allowed"),
                    (self.names.uri, "URI subjectAltNames are not allowed"),
                ];
                first(&refused)?;
                self.check_usages("server auth")?;
                self.check_node_name()
            }
        }
    }

    fn check_client(&self) -> Result<(), String> {
        let known = ["digital signature", "key encipherment", "client auth"];
        if let Some(other) = self
            .usages
            .iter()
            .find(|usage| !known.contains(&usage.as_str()))
        {
            return Err(format!("invalid usage for client certificate: {other}"));
        }
        match self.usages.iter().any(|usage| usage == "client auth") {
            true => Ok(()),
            false => Err("missing required usage for client certificate: client auth".to_owned()),
        }
    }

    fn check_nodes(&self) -> Result<(), String> {
        match self.organizations.as_slice() {
            [only] if only == "system:nodes" => Ok(()),
            _ => Err("subject organization is not system:nodes".to_owned()),
        }
    }

    fn check_node_name(&self) -> Result<(), String> {
        match self.common_name.starts_with("system:node:") {
            true => Ok(()),
            false => Err("subject common name does not begin with system:node:".to_owned()),
        }
    }

    /// Exactly signatures and the purpose, and key encipherment where the key can do it.
    fn check_usages(&self, purpose: &str) -> Result<(), String> {
        let mut usages: Vec<&str> = self.usages.iter().map(String::as_str).collect();
        usages.sort_unstable();
        usages.dedup();
        let mut with = vec!["digital signature", "key encipherment", purpose];
        with.sort_unstable();
        let without: Vec<&str> = with
            .iter()
            .copied()
            .filter(|u| *u != "key encipherment")
            .collect();
        match usages == with || usages == without {
            true => Ok(()),
            false => Err(format!("usages did not match [{}]", with.join(" "))),
        }
    }
}

fn first(refused: &[(bool, &str)]) -> Result<(), String> {
    match refused.iter().find(|(is, _)| *is) {
        Some((_, why)) => Err((*why).to_owned()),
        None => Ok(()),
    }
}
