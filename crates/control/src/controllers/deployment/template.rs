//! Pod templates: their sameness, their hash, and the ReplicaSet for one.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::sets::View;
use crate::ownership::controller_reference;

pub(super) const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// True if the ReplicaSet's pods are those that the Deployment asks for now.
pub(super) fn is_same(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let wanted = &deployment.spec.template;
    let template = set.spec.template.as_ref();
    template.is_some_and(|template| {
        template.spec == wanted.spec && without_hash(template) == without_hash(wanted)
    })
}

fn without_hash(template: &PodTemplateSpec) -> ObjectMeta {
    let mut meta = template.metadata.clone().unwrap_or_default();
    if let Some(labels) = &mut meta.labels {
        labels.remove(POD_TEMPLATE_HASH);
    }
    meta.labels = meta.labels.filter(|labels| !labels.is_empty());
    meta
}

/// The ReplicaSet for the Deployment's template, asked for no pods yet.
pub(super) fn replica_set(view: &View<'_>) -> ReplicaSet {
    let deployment = view.deployment;
    let spec = deployment.spec.clone();
    let collisions = deployment
        .status
        .as_ref()
        .and_then(|status| status.collision_count);
    let hash = hash(&spec.template, collisions);
    let mut template = spec.template;
    let labels = &mut template.metadata.get_or_insert_default().labels;
    labels
        .get_or_insert_default()
        .insert(POD_TEMPLATE_HASH.into(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector;
    let wanted = selector.match_labels.get_or_insert_default();
    wanted.insert(POD_TEMPLATE_HASH.into(), hash.clone());
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: deployment.metadata.namespace.clone(),
            labels,
            owner_references: Some(vec![controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        },
        status: None,
    }
}

/// A short name for a template (and the number of collisions so far).
///
/// It looks as upstream's (a 32-bit hash in digits, spelled in letters that
/// make no words) but is not the same number: upstream hashes Go's own print
/// of the structure. Only sameness of templates decides, never the hash.
fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut bytes = serde_json::to_vec(template).unwrap_or_default();
    if let Some(count) = collisions {
        bytes.extend(count.to_le_bytes());
    }
    let digits = fnv1a(&bytes).to_string();
    let letter = |digit: u8| char::from(LETTERS[usize::from(digit) % LETTERS.len()]);
    digits.bytes().map(letter).collect()
}

/// FNV-1a, 32 bits.
fn fnv1a(bytes: &[u8]) -> u32 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, step)
}
