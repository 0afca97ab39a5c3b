//! ClusterTrustBundles (KEP-3257): names that tell of the signer, and certificates of authorities, each once.

use super::certificates::signer_name;
use super::checks::{Errors, immutable, text};
use crate::field::{Error, Path};
use crate::names;
use crate::pem;
use serde_json::Value;
use std::collections::BTreeMap;
use x509_parser::prelude::{FromDer as _, X509Certificate};

const BUNDLE_MAX: usize = 1024 * 1024;

/// What is wrong with a name, or with what a name is generated from.
pub(super) fn name(signer: &str, name: &str) -> Vec<String> {
    if signer.is_empty() {
        return match name.contains(':') {
            true => vec![
                "ClusterTrustBundle without signer name must not have \":\" in its name".to_owned(),
            ],
            false => names::dns1123_subdomain(name),
        };
    }
    let prefix = format!("{}:", signer.replace('/', ":"));
    match name.strip_prefix(&prefix) {
        Some(rest) => names::dns1123_subdomain(rest),
        None => vec![format!(
            "ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"
        )],
    }
}

/// `old` is the version that an update replaces: a bundle that stays is not read again.
pub(super) fn trust_bundle(errors: &mut Errors, object: &Value, old: Option<&Value>) {
    let (spec, path) = (&object["spec"], Path::root("spec"));
    let signer = text(spec, "signerName");
    let meta = Path::root("metadata");
    for member in ["generateName", "name"] {
        let value = text(&object["metadata"], member);
        let masked = match member {
            "generateName" => names::mask_trailing_dash(value),
            _ => value.into(),
        };
        if !value.is_empty() {
            super::checks::invalid_each(errors, &meta.field(member), value, name(signer, &masked));
        }
    }
    if !signer.is_empty() {
        signer_name(errors, &path.field("signerName"), signer);
    }
    let bundle = text(spec, "trustBundle");
    if old.is_none_or(|old| text(&old["spec"], "trustBundle") != bundle) {
        anchors(errors, &path.field("trustBundle"), bundle);
    }
    if let Some(old) = old {
        immutable(errors, &path, &old["spec"], spec, "signerName");
    }
}

/// What is wrong with one block, if anything.
fn fault(block: &pem::Block) -> Option<String> {
    if block.kind != "CERTIFICATE" {
        return Some(format!("has bad block type: {}", block.kind));
    }
    if block.headers {
        return Some("has PEM block headers".to_owned());
    }
    let Ok((rest, certificate)) = X509Certificate::from_der(&block.bytes) else {
        return Some("does not parse as X.509".to_owned());
    };
    if !rest.is_empty() {
        return Some("does not parse as X.509".to_owned());
    }
    (!certificate.is_ca()).then(|| "does not have the CA bit set".to_owned())
}

fn anchors(errors: &mut Errors, path: &Path<'_>, bundle: &str) {
    if bundle.len() > BUNDLE_MAX {
        errors.push(Error::too_long(path, BUNDLE_MAX));
        return;
    }
    let mut say = |why: String| errors.push(Error::invalid(path, "<value omitted>", why));
    let mut found: BTreeMap<Vec<u8>, Vec<String>> = BTreeMap::new();
    let mut wrong = false;
    for (i, block) in pem::blocks(bundle.as_bytes()).into_iter().enumerate() {
        match fault(&block) {
            Some(why) => {
                say(format!("entry {i} {why}"));
                wrong = true;
            }
            None => found.entry(block.bytes).or_default().push(i.to_string()),
        }
    }
    // What is malformed is told of alone.
    if wrong {
        return;
    }
    if found.is_empty() {
        say("at least one trust anchor must be provided".to_owned());
    }
    for places in found.values().filter(|places| places.len() > 1) {
        say(format!(
            "duplicate trust anchor (indices [{}])",
            places.join(" ")
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_with_their_signer() {
        let table = [
            ("", "a", true),
            ("", "a:b", false),
            ("a.b/c", "a.b:c:d", true),
            ("a.b/c", "a.b:d", false),
        ];
        for (signer, text, right) in table {
            assert_eq!(name(signer, text).is_empty(), right, "{signer} {text}");
        }
    }
}
