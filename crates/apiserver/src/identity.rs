//! Who asks: the user and groups of a client certificate, of an in-process client, or nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use serde_json::{Map, Value, json};
use x509_parser::der_parser::{Oid, oid};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user's name.
    pub user: Arc<str>,
    /// Tells users of the same name apart over time; may be empty.
    pub uid: Arc<str>,
    /// Its groups, with `system:authenticated` or `system:unauthenticated`.
    pub groups: Arc<[String]>,
    /// What else its credentials say.
    pub extra: Arc<BTreeMap<String, Vec<String>>>,
}

/// The group whose members may do anything.
pub const MASTERS: &str = "system:masters";
/// Kubernetes' own attribute of a subject, for the uid.
const UID: Oid<'static> = oid!(1.3.6.1.4.1.57683.2);
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
            uid: "".into(),
            groups: groups.into(),
            extra: Arc::default(),
        }
    }

    /// A user that somebody who is believed speaks for. Who is said to be nobody stays so.
    pub fn claimed(
        user: &str,
        uid: &str,
        groups: Vec<String>,
        extra: BTreeMap<String, Vec<String>>,
    ) -> Identity {
        let nobody = user == "system:anonymous"
            || groups.iter().any(|group| group == "system:unauthenticated");
        let identity = match nobody {
            true => Identity {
                user: user.into(),
                groups: groups.into(),
                ..Identity::anonymous()
            },
            false => Identity::authenticated(user, groups),
        };
        identity.with(uid, extra)
    }

    /// Somebody without a certificate.
    pub fn anonymous() -> Identity {
        Identity {
            user: "system:anonymous".into(),
            uid: "".into(),
            extra: Arc::default(),
            groups: [String::from("system:unauthenticated")].into(),
        }
    }

    /// From a certificate that the TLS layer has verified: the common name and the organizations. `None` when it
    /// has no common name.
    pub fn from_certificate(der: &CertificateDer<'_>) -> Option<Identity> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let subject = certificate.subject();
        let user = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let groups = subject
            .iter_organization()
            .filter_map(|o| o.as_str().ok())
            .map(str::to_owned);
        let uid = subject
            .iter_by_oid(&UID)
            .next()
            .and_then(|uid| uid.as_str().ok());
        let hash = ring::digest::digest(&ring::digest::SHA256, der);
        let hash: String = hash
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let credential = (
            "authentication.kubernetes.io/credential-id".to_owned(),
            vec![format!("X509SHA256={hash}")],
        );
        Some(
            Identity::authenticated(&user, groups)
                .with(uid.unwrap_or_default(), BTreeMap::from([credential])),
        )
    }

    /// Whether it is nobody.
    pub fn is_anonymous(&self) -> bool {
        *self.user == *"system:anonymous"
    }

    /// The same user with a uid and extra facts.
    #[must_use]
    pub fn with(mut self, uid: &str, extra: BTreeMap<String, Vec<String>>) -> Identity {
        self.uid = uid.into();
        self.extra = Arc::new(extra);
        self
    }

    /// As `userInfo` of reviews and admission has it.
    pub fn user_info(&self) -> Value {
        let mut info = Map::new();
        info.insert("username".into(), (*self.user).into());
        if !self.uid.is_empty() {
            info.insert("uid".into(), (*self.uid).into());
        }
        if !self.groups.is_empty() {
            info.insert("groups".into(), json!(&*self.groups));
        }
        if !self.extra.is_empty() {
            info.insert("extra".into(), json!(&*self.extra));
        }
        Value::Object(info)
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
