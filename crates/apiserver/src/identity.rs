//! Who asks: the user and groups of a client certificate, of an in-process client, or nobody.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user's name.
    pub user: Arc<str>,
    /// Its groups, with `system:authenticated` or `system:unauthenticated`.
    pub groups: Arc<[String]>,
}

/// The group whose members may do anything.
pub const MASTERS: &str = "system:masters";
const AUTHENTICATED: &str = "system:authenticated";

impl Identity {
    /// A user that has proven to be so.
    pub fn authenticated(user: &str, groups: impl IntoIterator<Item = String>) -> Identity {
        let mut groups: Vec<String> = groups.into_iter().collect();
        if !groups.iter().any(|g| g == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        Identity {
            user: user.into(),
            groups: groups.into(),
        }
    }

    /// Somebody without a certificate.
    pub fn anonymous() -> Identity {
        Identity {
            user: "system:anonymous".into(),
            groups: [String::from("system:unauthenticated")].into(),
        }
    }

    /// From a certificate that the TLS layer has verified: the common name and the organizations. `None` when it
    /// has no common name.
    pub fn from_certificate(certificate: &CertificateDer<'_>) -> Option<Identity> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let subject = certificate.subject();
        let user = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let groups = subject
            .iter_organization()
            .filter_map(|o| o.as_str().ok())
            .map(str::to_owned);
        Some(Identity::authenticated(&user, groups))
    }

    /// Whether it is in the group.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The name of the node whose agent it is.
    pub fn node(&self) -> Option<&str> {
        let node = self.user.strip_prefix("system:node:")?;
        self.in_group("system:nodes").then_some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_needs_name_and_group() {
        let node = |groups: &[&str]| {
            Identity::authenticated("system:node:n1", groups.iter().map(|g| g.to_string()))
        };
        assert_eq!(node(&["system:nodes"]).node(), Some("n1"));
        assert_eq!(node(&[]).node(), None);
        assert!(node(&[]).in_group(AUTHENTICATED));
        assert!(!Identity::anonymous().in_group(AUTHENTICATED));
    }
}
