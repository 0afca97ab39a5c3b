//! Rules that upstream has as tags of its Go types (KEP-5073). It tells of them after all that is written as code, in
//! the order of the types' fields; and of a field that can't change it does not show the value.

use super::checks::Errors;
use crate::field::{Bad, Error, Kind};
use crate::resource::Resource;
use serde_json::Value;

const IMMUTABLE: &str = "field is immutable";

/// What a tag says of a field.
#[derive(Clone, Copy, PartialEq)]
enum Tag {
    Required,
    Enum,
    Immutable,
    MaxItems,
    MaxLength,
    /// Bounds of numbers and forms of texts.
    Form,
    /// None: the rule is written as code.
    Code,
}

use Tag::{Code, Enum, Form, Immutable, MaxItems, MaxLength, Required};

type Line = (&'static str, &'static [Tag]);

fn lines(resource: &Resource) -> &'static [Line] {
    match (&*resource.group, &*resource.plural) {
        ("", "replicationcontrollers") => &[
            ("spec.replicas", &[Form]),
            ("spec.minReadySeconds", &[Form]),
        ],
        ("batch", "cronjobs") => &[("spec.schedule", &[Required])],
        ("autoscaling", _) => &[
            ("spec.minReplicas", &[Form]),
            ("spec.maxReplicas", &[Required, Form]),
        ],
        ("networking.k8s.io", "networkpolicies") => &[
            ("spec.ingress[].from[].ipBlock.cidr", &[Required]),
            ("spec.egress[].to[].ipBlock.cidr", &[Required]),
        ],
        ("networking.k8s.io", "ingressclasses") => &[
            ("spec.parameters.kind", &[Required]),
            ("spec.parameters.name", &[Required]),
        ],
        ("networking.k8s.io", "ipaddresses") => &[
            ("spec.parentRef", &[Required, Immutable]),
            ("spec.parentRef.resource", &[Required]),
            ("spec.parentRef.name", &[Required]),
        ],
        ("discovery.k8s.io", _) => &[
            ("addressType", &[Required, Immutable, Enum]),
            ("endpoints[].addresses", &[Required, MaxItems]),
        ],
        ("rbac.authorization.k8s.io", _) => &[
            ("rules[].verbs", &[Required]),
            ("subjects[].name", &[Required]),
            ("roleRef.name", &[Required]),
        ],
        ("storage.k8s.io", "storageclasses") => &[
            ("provisioner", &[Required, Immutable]),
            ("parameters", &[Immutable]),
            ("reclaimPolicy", &[Immutable]),
            ("volumeBindingMode", &[Immutable]),
        ],
        ("storage.k8s.io", "volumeattachments") => &[
            ("spec", &[Immutable]),
            ("spec.attacher", &[Required, MaxLength, Form]),
        ],
        ("node.k8s.io", _) => &[("handler", &[Required, Immutable, Form])],
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => &[
            ("spec.type", &[Required]),
            ("spec.limited", &[Required]),
            ("spec.limited.limitResponse.type", &[Required]),
            ("spec.limited.limitResponse.queuing", &[Required]),
        ],
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings") => &[
            ("spec.policyName", &[Required]),
            ("spec.validationActions", &[Required]),
        ],
        ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings") => {
            &[("spec.policyName", &[Required])]
        }
        _ => &[],
    }
}

/// A field without the places in its lists.
fn shape(field: &str) -> String {
    let mut parts = field.split('[');
    let mut shape = parts.next().unwrap_or("").to_owned();
    for part in parts {
        shape.push_str("[]");
        shape.push_str(part.split_once(']').map_or("", |(_, rest)| rest));
    }
    shape
}

fn tag(error: &Error) -> Tag {
    match error.kind {
        Kind::Required => Required,
        Kind::NotSupported => Enum,
        Kind::TooMany => MaxItems,
        Kind::TooLong => MaxLength,
        _ if error.detail == IMMUTABLE => Immutable,
        // Bounds that are other fields are written as code.
        _ if error.detail.contains('`') => Code,
        _ => Form,
    }
}

/// Brings errors into upstream's order.
pub(super) fn order(errors: &mut Errors, resource: &Resource) {
    let lines = lines(resource);
    if lines.is_empty() || errors.is_empty() {
        return;
    }
    let place = |error: &Error| -> usize {
        let (shape, tag) = (shape(&error.field), tag(error));
        let line = lines
            .iter()
            .position(|(path, tags)| *path == shape && tags.contains(&tag));
        line.map_or(0, |line| line + 1)
    };
    // What can't change is not looked at further by tags, so the rest is told of where the code has it.
    let stays: Vec<usize> = errors
        .iter()
        .filter(|e| tag(e) == Immutable)
        .map(place)
        .collect();
    let place = |error: &Error| match place(error) {
        line if tag(error) != Immutable && stays.contains(&line) => 0,
        line => line,
    };
    errors.sort_by_cached_key(place);
    for error in errors
        .iter_mut()
        .filter(|e| tag(e) == Immutable && place(e) > 0)
    {
        error.value = Bad::Value(Value::Null);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Path;

    #[test]
    fn what_tags_say_comes_last() {
        let root = Path::root("rules");
        let rule = root.index(0);
        let mut errors = vec![
            Error::required(&rule.field("verbs"), ""),
            Error::required(&rule.field("resources"), "x"),
        ];
        let resource = crate::resource::Table::builtin()
            .by_kind("rbac.authorization.k8s.io", "v1", "Role")
            .expect("a kind");
        order(&mut errors, resource);
        assert_eq!(errors[1].field, "rules[0].verbs");
    }
}
