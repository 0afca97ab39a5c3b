//! Which fields can be selected by, and how their values are read.

use super::field_selector::FieldSelector;
use crate::resource::Resource;
use serde_json::Value;
use std::borrow::Cow;

/// A field that objects of a resource can't be selected by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnsupportedField(String);

#[derive(Debug, Clone)]
enum Getter {
    /// The value at a path; the text for an absent one.
    Path(Vec<Box<str>>, &'static str),
    /// Accepted, but no object has it.
    Never,
    /// `source.component`, else `reportingComponent`.
    EventSource,
}

impl Getter {
    fn dotted(path: &str, absent: &'static str) -> Getter {
        Getter::Path(path.split('.').map(Into::into).collect(), absent)
    }

    fn read<'a>(&self, object: &'a Value) -> Cow<'a, str> {
        match self {
            Getter::Never => Cow::Borrowed(""),
            Getter::EventSource => {
                let source = object.pointer("/source/component").and_then(Value::as_str);
                let reporter = object.get("reportingComponent").and_then(Value::as_str);
                Cow::Borrowed(source.filter(|s| !s.is_empty()).or(reporter).unwrap_or(""))
            }
            Getter::Path(path, absent) => {
                let value = path.iter().try_fold(object, |at, name| at.get(&**name));
                match value {
                    Some(Value::String(text)) => Cow::Borrowed(text),
                    Some(Value::Bool(true)) => Cow::Borrowed("true"),
                    Some(Value::Bool(false)) => Cow::Borrowed("false"),
                    Some(Value::Number(number)) => Cow::Owned(number.to_string()),
                    _ => Cow::Borrowed(absent),
                }
            }
        }
    }
}

/// A field selector that fits a resource.
#[derive(Debug, Clone, Default)]
pub struct CompiledFieldSelector {
    terms: Vec<(Getter, String, bool)>,
}

impl CompiledFieldSelector {
    /// Whether an object matches.
    pub fn matches(&self, object: &Value) -> bool {
        self.terms
            .iter()
            .all(|(getter, value, negated)| (getter.read(object) == **value) != *negated)
    }

    /// Whether it matches every object.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }
}

/// The path, and the text for an absent value, of a field of a built-in resource.
fn builtin(resource: &Resource, field: &str) -> Option<Getter> {
    let absent = match (&*resource.group, &*resource.plural, field) {
        ("", "pods", "status.podIPs") => return Some(Getter::Never),
        ("", "pods", "spec.host") => return Some(Getter::dotted("spec.nodeName", "")),
        ("", "pods", "spec.hostNetwork") => "false",
        ("", "pods", "spec.nodeName" | "spec.restartPolicy" | "spec.schedulerName")
        | ("", "pods", "spec.serviceAccountName" | "status.phase" | "status.podIP")
        | ("", "pods", "status.nominatedNodeName") => "",
        ("", "nodes", "spec.unschedulable") => "false",
        ("", "namespaces", "status.phase") => "",
        ("", "secrets", "type") => "",
        ("", "services", "spec.clusterIP" | "spec.type") => "",
        ("", "replicationcontrollers", "status.replicas") => "0",
        ("", "events", "source") => return Some(Getter::EventSource),
        ("", "events", "reason" | "type" | "reportingComponent") => "",
        ("", "events", _) => event_object(field, "involvedObject")?,
        ("events.k8s.io", "events", "reason" | "type" | "reportingController") => "",
        ("events.k8s.io", "events", _) => event_object(field, "regarding")?,
        ("batch", "jobs", "status.successful") => {
            return Some(Getter::dotted("status.succeeded", "0"));
        }
        ("certificates.k8s.io", "certificatesigningrequests", "spec.signerName") => "",
        ("certificates.k8s.io", "clustertrustbundles", "spec.signerName") => "",
        ("certificates.k8s.io", "podcertificaterequests", "spec.signerName")
        | ("certificates.k8s.io", "podcertificaterequests", "spec.podName" | "spec.nodeName") => "",
        (
            "resource.k8s.io",
            "resourceslices",
            "spec.nodeName" | "spec.driver" | "spec.pool.name",
        ) => "",
        _ => return None,
    };
    Some(Getter::dotted(field, absent))
}

fn event_object(field: &str, member: &str) -> Option<&'static str> {
    let rest = field.strip_prefix(member)?.strip_prefix('.')?;
    let known = [
        "kind",
        "namespace",
        "name",
        "uid",
        "apiVersion",
        "resourceVersion",
        "fieldPath",
    ];
    known.contains(&rest).then_some("")
}

fn unsupported(resource: &Resource, field: &str) -> UnsupportedField {
    let text = match (&*resource.group, &*resource.plural) {
        ("", "pods" | "nodes" | "namespaces" | "secrets" | "services" | "events")
        | ("", "replicationcontrollers")
        | ("events.k8s.io", "events")
        | ("certificates.k8s.io", _) => format!("field label not supported: {field}"),
        ("batch", "jobs") => format!(
            "field label {} not supported for Job",
            crate::field::quote(field)
        ),
        ("resource.k8s.io", "resourceslices") => {
            format!("field label not supported for ResourceSlice: {field}")
        }
        _ if resource.is_custom() => format!("field label not supported: {field}"),
        _ => format!(
            "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            crate::field::quote(field)
        ),
    };
    UnsupportedField(text)
}

impl FieldSelector {
    /// Checks the fields against a resource. `custom` are the selectable fields of a custom resource, as dotted paths.
    /// The error has the text of upstream's 400.
    pub fn compile(
        &self,
        resource: &Resource,
        custom: &[&str],
    ) -> Result<CompiledFieldSelector, UnsupportedField> {
        let terms = self
            .terms
            .iter()
            .map(|term| {
                let field = &*term.field;
                let getter = match field {
                    "metadata.name" | "metadata.namespace" => Some(Getter::dotted(field, "")),
                    _ if custom.contains(&field) => Some(Getter::dotted(field, "")),
                    _ => builtin(resource, field),
                }
                .ok_or_else(|| unsupported(resource, field))?;
                Ok((getter, term.value.clone(), term.negated))
            })
            .collect::<Result<_, _>>()?;
        Ok(CompiledFieldSelector { terms })
    }
}
