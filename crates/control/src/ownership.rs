//! Who controls an object: owner references, adoption and release.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;
use serde_json::{Value, json};

use crate::selector;

/// The owner that controls an object, if any.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    let mut owners = meta.owner_references.iter().flatten();
    owners.find(|owner| owner.controller == Some(true))
}

/// True if the object with this metadata is controlled by `owner`.
pub(crate) fn is_controlled_by(meta: &ObjectMeta, owner: &ObjectMeta) -> bool {
    controller_of(meta).is_some_and(|reference| Some(&reference.uid) == owner.uid.as_ref())
}

/// The reference by which `owner` controls what it makes.
pub(crate) fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    let meta = owner.meta();
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// What is to be done about one object that an owner might control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is ours.
    Keep,
    /// It matches and nobody controls it.
    Adopt,
    /// We control it, but it no longer matches.
    Release,
    /// It is none of our business.
    Ignore,
}

/// Decides about one object (`ControllerRefManager.ClaimObject` upstream).
pub(crate) fn claim(owner: &ObjectMeta, selector: &LabelSelector, object: &ObjectMeta) -> Claim {
    let matches = selector::matches(selector, object.labels.as_ref());
    let owner_ends = owner.deletion_timestamp.is_some();
    match controller_of(object) {
        Some(reference) if Some(&reference.uid) != owner.uid.as_ref() => Claim::Ignore,
        Some(_) if matches => Claim::Keep,
        Some(_) if owner_ends => Claim::Ignore,
        Some(_) => Claim::Release,
        None if owner_ends || !matches || object.deletion_timestamp.is_some() => Claim::Ignore,
        None => Claim::Adopt,
    }
}

/// The strategic merge patch that makes `reference` the controller.
pub(crate) fn adopt_patch(object: &ObjectMeta, reference: &OwnerReference) -> Value {
    json!({"metadata": {"uid": object.uid, "ownerReferences": [reference]}})
}

/// The strategic merge patch that removes the owner with this UID.
pub(crate) fn release_patch(object: &ObjectMeta, owner_uid: &str) -> Value {
    json!({"metadata": {
        "uid": object.uid,
        "ownerReferences": [{"$patch": "delete", "uid": owner_uid}],
    }})
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

    use super::*;

    fn meta(uid: &str, label: &str, owner: Option<&str>) -> ObjectMeta {
        ObjectMeta {
            uid: Some(uid.into()),
            labels: Some([("app".to_owned(), label.to_owned())].into()),
            owner_references: owner.map(|uid| {
                vec![OwnerReference {
                    uid: uid.into(),
                    controller: Some(true),
                    ..OwnerReference::default()
                }]
            }),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn claims_follow_owner_and_labels() {
        let selector = LabelSelector {
            match_labels: Some([("app".to_owned(), "web".to_owned())].into()),
            ..LabelSelector::default()
        };
        let table = [
            ("web", None, Claim::Adopt),
            ("web", Some("me"), Claim::Keep),
            ("web", Some("other"), Claim::Ignore),
            ("db", None, Claim::Ignore),
            ("db", Some("me"), Claim::Release),
            ("db", Some("other"), Claim::Ignore),
        ];
        let owner = meta("me", "", None);
        for (label, controller, expected) in table {
            let object = meta("x", label, controller);
            assert_eq!(
                claim(&owner, &selector, &object),
                expected,
                "{label} {controller:?}"
            );
        }
        let mut ending = owner;
        ending.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        for (label, controller) in [("web", None), ("db", Some("me"))] {
            let object = meta("x", label, controller);
            assert_eq!(claim(&ending, &selector, &object), Claim::Ignore);
        }
    }
}
