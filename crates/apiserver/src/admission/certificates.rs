//! CertificateApproval, CertificateSigning, ClusterTrustBundleAttest and CertificateSubjectRestriction: who may say what
//! about certificates of which signer.

use serde_json::Value;

use super::plugins::Plugin;
use super::{Attributes, Operation};
use crate::answer::Refusal;
use crate::authorize;
use crate::server::Server;
use crate::signing_request;

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";

/// Refuses what those of the four plugins refuse that are on.
pub fn validate(
    server: &Server,
    attributes: &Attributes<'_>,
    on: &impl Fn(Plugin) -> bool,
) -> Result<(), Refusal> {
    if attributes.call.resource.group != GROUP {
        return Ok(());
    }
    let refused = |plugin, check: &dyn Fn() -> Option<String>| on(plugin).then(check).flatten();
    let refused = refused(Plugin::CertificateApproval, &|| {
        approval(server, attributes)
    })
    .or_else(|| refused(Plugin::CertificateSigning, &|| signing(server, attributes)))
    .or_else(|| {
        refused(Plugin::ClusterTrustBundleAttest, &|| {
            attest(server, attributes)
        })
    })
    .or_else(|| {
        refused(Plugin::CertificateSubjectRestriction, &|| {
            subject(attributes)
        })
    });
    match refused {
        None => Ok(()),
        Some(why) => Err(attributes.forbidden(&why)),
    }
}

/// For the signer itself, or for all of its domain.
fn may(server: &Server, attributes: &Attributes<'_>, verb: &str, signer: &str) -> bool {
    let domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
    [signer, &domain].into_iter().any(|name| {
        let asked = authorize::Attributes {
            version: "*",
            name,
            ..authorize::Attributes::resource(&attributes.call.identity, verb, GROUP, "signers")
        };
        server.authorizer.decide(&asked).allowed()
    })
}

fn signer(object: &Value) -> &str {
    object["spec"]["signerName"].as_str().unwrap_or_default()
}

fn changes<'a>(attributes: &'a Attributes<'_>, subresource: &str) -> Option<&'a Value> {
    let about =
        attributes.concerns(GROUP, REQUESTS) && attributes.call.path.subresource == subresource;
    attributes
        .old
        .filter(|_| about && attributes.operation == Operation::Update)
}

fn approval(server: &Server, attributes: &Attributes<'_>) -> Option<String> {
    // The stored signer counts, whatever is written.
    let signer = signer(changes(attributes, "approval")?);
    (!may(server, attributes, "approve", signer))
        .then(|| format!("user not permitted to approve requests with signerName \"{signer}\""))
}

fn signing(server: &Server, attributes: &Attributes<'_>) -> Option<String> {
    let old = changes(attributes, "status")?;
    let new = attributes.object();
    let list = |object: &Value| {
        object["status"]["conditions"]
            .as_array()
            .filter(|l| !l.is_empty())
            .cloned()
    };
    if old["status"]["certificate"] == new["status"]["certificate"] && list(old) == list(new) {
        return None;
    }
    let signer = signer(old);
    (!may(server, attributes, "sign", signer))
        .then(|| format!("user not permitted to sign requests with signerName \"{signer}\""))
}

fn attest(server: &Server, attributes: &Attributes<'_>) -> Option<String> {
    let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
    if !writes || !attributes.concerns(GROUP, "clustertrustbundles") {
        return None;
    }
    let new = attributes.object();
    let signer = signer(new);
    let unchanged = attributes.old.is_some_and(|old| old["spec"] == new["spec"]);
    let refused = !signer.is_empty() && !unchanged && !may(server, attributes, "attest", signer);
    refused.then(|| format!("user not permitted to attest for signerName \"{signer}\""))
}

fn subject(attributes: &Attributes<'_>) -> Option<String> {
    const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
    let object = attributes.object();
    if !attributes.makes(GROUP, REQUESTS) || signer(object) != CLIENT {
        return None;
    }
    match signing_request::subject(object["spec"]["request"].as_str().unwrap_or_default()) {
        Err(why) => Some(format!("failed to parse CSR: {why}")),
        Ok(subject) => subject
            .organizations
            .iter()
            .any(|group| group == crate::identity::MASTERS)
            .then(|| format!("use of {CLIENT} signer with system:masters group is not allowed")),
    }
}
