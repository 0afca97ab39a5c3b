//! Access reviews: may a user do something?

use std::collections::BTreeMap;

use karve_api::field::{self, Path};
use karve_api::selector::{FieldSelector, FieldTerm, LabelSelector};
use karve_api::status::Status;
use serde_json::{Value, json};

use crate::answer::Refusal;
use crate::authorize::{Attributes, Authorizer, Decision};
use crate::identity::Identity;

/// Refuses what upstream's validation refuses.
pub fn validate(plural: &str, review: &Value) -> Result<(), Refusal> {
    let errors = errors(plural, review);
    match errors.is_empty() {
        true => Ok(()),
        // Upstream leaves the kind out.
        false => Err(Status::invalid("authorization.k8s.io", "", "", &errors).into()),
    }
}

fn errors(plural: &str, review: &Value) -> Vec<field::Error> {
    let (spec, path) = (&review["spec"], Path::root("spec"));
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let attributes = path.field("resourceAttributes");
    let mut errors = Vec::new();
    if resource.is_null() == other.is_null() {
        // Upstream shows the structure of Go.
        let shown = match other.is_null() {
            true => Value::Null,
            false => json!({"Path": text(other, "path"), "Verb": text(other, "verb")}),
        };
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.push(field::Error::invalid(&path, &shown, why));
    }
    let no_groups = spec["groups"].as_array().is_none_or(Vec::is_empty);
    if plural != "selfsubjectaccessreviews" && text(spec, "user").is_empty() && no_groups {
        let why = "at least one of user or group must be specified";
        errors.push(field::Error::invalid(&path.field("user"), "", why));
    }
    for selector in ["fieldSelector", "labelSelector"] {
        let at = attributes.field(selector);
        errors.extend(selector_errors(&resource[selector], &at));
    }
    errors.extend(metadata_error(plural, review));
    if plural == "localsubjectaccessreviews" {
        let namespace = text(&review["metadata"], "namespace");
        let asked = text(resource, "namespace");
        if !resource.is_null() && asked != namespace {
            let at = attributes.field("namespace");
            errors.push(field::Error::invalid(
                &at,
                asked,
                "must match metadata.namespace",
            ));
        }
        if !other.is_null() {
            let shown = json!({"Path": text(other, "path"), "Verb": text(other, "verb")});
            let why = "disallowed on this kind of request";
            errors.push(field::Error::invalid(
                &path.field("nonResourceAttributes"),
                &shown,
                why,
            ));
        }
    }
    errors
}

fn metadata_error(plural: &str, review: &Value) -> Option<field::Error> {
    let local = plural == "localsubjectaccessreviews";
    let members = review["metadata"].as_object()?;
    let allowed = |name: &str| name == "managedFields" || local && name == "namespace";
    members.keys().any(|name| !allowed(name)).then(|| {
        let why = if local {
            "must be empty except for namespace"
        } else {
            "must be empty"
        };
        field::Error::invalid(&Path::root("metadata"), &review["metadata"], why)
    })
}

fn selector_errors(selector: &Value, path: &Path) -> Vec<field::Error> {
    let raw = text(selector, "rawSelector");
    let requirements = selector["requirements"]
        .as_array()
        .is_some_and(|r| !r.is_empty());
    match (selector.is_null(), raw.is_empty(), requirements) {
        (true, ..) | (_, true, true) | (_, false, false) => Vec::new(),
        (_, false, true) => {
            let why = "may not specified at the same time as requirements";
            vec![field::Error::invalid(&path.field("rawSelector"), raw, why)]
        }
        (_, true, false) => {
            let why = format!("when {path} is specified, requirements or rawSelector is required");
            vec![field::Error::required(&path.field("requirements"), why)]
        }
    }
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The user that a review asks about, with the groups that it says and no others.
pub fn subject(spec: &Value) -> Identity {
    let extra = spec["extra"].as_object().into_iter().flatten();
    let extra: BTreeMap<String, Vec<String>> = extra
        .map(|(key, values)| (key.clone(), texts(values)))
        .collect();
    Identity {
        user: text(spec, "user").into(),
        uid: text(spec, "uid").into(),
        groups: texts(&spec["groups"]).into(),
        extra: extra.into(),
    }
}

/// The status of a valid review.
pub fn answer(authorizer: &Authorizer, user: &Identity, spec: &Value) -> Value {
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let fields = field_selector(&resource["fieldSelector"]);
    let labels = label_selector(&resource["labelSelector"]);
    let attributes = match resource.is_null() {
        true => Attributes::path(user, text(other, "verb"), text(other, "path")),
        false => Attributes {
            version: match text(resource, "version") {
                "" => "*",
                version => version,
            },
            subresource: text(resource, "subresource"),
            name: text(resource, "name"),
            namespace: text(resource, "namespace"),
            fields: fields.as_ref(),
            labels: labels.as_ref(),
            ..Attributes::resource(
                user,
                text(resource, "verb"),
                text(resource, "group"),
                text(resource, "resource"),
            )
        },
    };
    let outcome = authorizer.decide(&attributes);
    let mut status = json!({"allowed": outcome.allowed()});
    if outcome.decision == Decision::Deny {
        status["denied"] = true.into();
    }
    if !outcome.reason.is_empty() {
        status["reason"] = outcome.reason.into();
    }
    if !outcome.error.is_empty() {
        status["evaluationError"] = outcome.error.into();
    }
    status
}

/// What of a field selector is understood; requirements that are not only make the question broader.
fn field_selector(selector: &Value) -> Option<FieldSelector> {
    if !text(selector, "rawSelector").is_empty() {
        return FieldSelector::parse(text(selector, "rawSelector")).ok();
    }
    let requirements = selector["requirements"].as_array()?;
    let terms = requirements.iter().filter_map(|r| {
        let values = texts(&r["values"]);
        let negated = match text(r, "operator") {
            "In" => false,
            "NotIn" => true,
            _ => return None,
        };
        let [value] = values.as_slice() else {
            return None;
        };
        Some(FieldTerm {
            field: text(r, "key").to_owned(),
            value: value.clone(),
            negated,
        })
    });
    let terms: Vec<FieldTerm> = terms.collect();
    (!terms.is_empty()).then_some(FieldSelector { terms })
}

fn label_selector(selector: &Value) -> Option<LabelSelector> {
    if !text(selector, "rawSelector").is_empty() {
        return LabelSelector::parse(text(selector, "rawSelector")).ok();
    }
    let requirements = selector["requirements"].as_array()?;
    let expressions: Vec<&Value> = requirements
        .iter()
        .filter(|r| LabelSelector::from_object(Some(&json!({"matchExpressions": [r]}))).is_ok())
        .collect();
    let selector = json!({"matchExpressions": expressions});
    LabelSelector::from_object(Some(&selector))
        .ok()
        .filter(|s| !s.is_everything())
}
