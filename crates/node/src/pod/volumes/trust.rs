//! Certificates of ClusterTrustBundles, for projected volumes. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::certificates::v1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::ClusterTrustBundleProjection;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use karve_watch::ObjectName;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Bundles by name.
pub type Bundles = BTreeMap<ObjectName, Arc<ClusterTrustBundle>>;

/// The certificates that a source asks for, each once, as PEM; or why there are none, in upstream's words.
///
/// DEVIATION: they are in the order of their bytes; upstream shuffles them, so that nobody relies on an order.
pub fn anchors(source: &ClusterTrustBundleProjection, bundles: &Bundles) -> Result<String, String> {
    let optional = source.optional == Some(true);
    let found: Vec<&ClusterTrustBundle> = match (&source.name, &source.signer_name) {
        (Some(name), _) => match bundles.get(&ObjectName::new("", name)) {
            Some(bundle) => vec![bundle],
            None if optional => vec![],
            None => {
                return Err(format!(
                    "while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io \"{name}\" not found"
                ));
            }
        },
        (None, Some(signer)) => {
            let of_signer = bundles
                .values()
                .filter(|b| b.spec.signer_name.as_ref() == Some(signer))
                .filter(|b| selects(source.label_selector.as_ref(), b.metadata.labels.as_ref()));
            let found: Vec<_> = of_signer.map(|bundle| &**bundle).collect();
            if found.is_empty() && !optional {
                return Err(
                    "combination of signerName and labelSelector matched zero ClusterTrustBundles"
                        .to_owned(),
                );
            }
            found
        }
        (None, None) => {
            return Err(
                "ClusterTrustBundle projection requires either name or signerName to be set"
                    .to_owned(),
            );
        }
    };
    Ok(normalized(found.into_iter()))
}

/// Each certificate once, without what stands around them.
fn normalized<'a>(bundles: impl Iterator<Item = &'a ClusterTrustBundle>) -> String {
    let texts = bundles.map(|bundle| bundle.spec.trust_bundle.as_bytes());
    let certificates: BTreeSet<Vec<u8>> = texts
        .flat_map(|text| CertificateDer::pem_slice_iter(text).map_while(Result::ok))
        .map(|certificate| certificate.to_vec())
        .collect();
    certificates
        .iter()
        .map(|der| pem("CERTIFICATE", der))
        .collect()
}

/// A PEM block, as Go writes it: 64 characters a line.
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.extend(line.iter().map(|byte| char::from(*byte)));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

/// Whether a selector takes such labels; none takes nothing.
fn selects(selector: Option<&LabelSelector>, labels: Option<&BTreeMap<String, String>>) -> bool {
    let Some(selector) = selector else {
        return false;
    };
    let value = |key: &str| labels.and_then(|labels| labels.get(key));
    let equal = selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, wanted)| value(key) == Some(wanted));
    let expressions = selector.match_expressions.iter().flatten();
    equal
        && expressions.into_iter().all(|expression| {
            let values = expression.values.as_deref().unwrap_or_default();
            let value = value(&expression.key);
            let listed = value.is_some_and(|value| values.contains(value));
            match expression.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A bundle with certificates of these bytes.
    fn bundle(name: &str, signer: Option<&str>, labels: Value, certificates: &[&[u8]]) -> Value {
        let text: String = certificates
            .iter()
            .map(|der| pem("CERTIFICATE", der))
            .collect();
        let text = format!("who issued it\n{text}");
        json!({"metadata": {"name": name, "labels": labels}, "spec": {"signerName": signer, "trustBundle": text}})
    }

    #[test]
    fn certificates_are_selected_and_shown_once() {
        let bundles = [
            bundle("one", None, json!({}), &[b"b", b"a", b"b"]),
            bundle(
                "s:live",
                Some("x/s"),
                json!({"alive": "true"}),
                &[b"c", b"a"],
            ),
            bundle("s:dead", Some("x/s"), json!({"alive": "false"}), &[b"d"]),
            bundle("t:live", Some("x/t"), json!({"alive": "true"}), &[b"e"]),
        ];
        let bundles: Bundles = bundles
            .into_iter()
            .map(|bundle| {
                let bundle: ClusterTrustBundle = serde_json::from_value(bundle).expect("a bundle");
                (ObjectName::of(&bundle), Arc::new(bundle))
            })
            .collect();
        let zero = "combination of signerName and labelSelector matched zero ClusterTrustBundles";
        let expression = |operator: &str, values: Value| json!({"matchExpressions": [{"key": "alive", "operator": operator, "values": values}]});
        let rows = [
            (json!({"name": "one"}), Ok("ab")),
            (json!({"name": "no", "optional": true}), Ok("")),
            (
                json!({"name": "no"}),
                Err(
                    "while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io \"no\" not found",
                ),
            ),
            (json!({"signerName": "x/s", "labelSelector": {}}), Ok("acd")),
            (
                json!({"signerName": "x/s", "labelSelector": {"matchLabels": {"alive": "true"}}}),
                Ok("ac"),
            ),
            (
                json!({"signerName": "x/s", "labelSelector": expression("NotIn", json!(["true"]))}),
                Ok("d"),
            ),
            (
                json!({"signerName": "x/s", "labelSelector": expression("Exists", json!([]))}),
                Ok("acd"),
            ),
            (json!({"signerName": "x/s"}), Err(zero)),
            (json!({"signerName": "x/s", "optional": true}), Ok("")),
        ];
        for (source, want) in rows {
            let mut whole = source.clone();
            whole["path"] = json!("p");
            let source: ClusterTrustBundleProjection =
                serde_json::from_value(whole).expect("a source");
            let got = anchors(&source, &bundles);
            let want = want.map(|letters: &str| {
                let letters = letters.bytes();
                letters
                    .map(|l| pem("CERTIFICATE", &[l]))
                    .collect::<String>()
            });
            assert_eq!(got, want.map_err(str::to_owned), "{source:?}");
        }
    }

    #[test]
    fn a_block_has_lines_of_64_characters() {
        let text = pem("X", &[0; 60]);
        let lengths: Vec<usize> = text.lines().map(str::len).collect();
        assert_eq!(lengths, [17, 64, 16, 15]);
    }
}
