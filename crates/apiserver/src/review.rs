//! Reviews: questions about users and what they may do, answered and never kept.
//!
//! DEVIATION: TokenReview and SelfSubjectRulesReview are not built; an answer gives no reason.

use karve_api::field;
use karve_api::resource::Verb;
use karve_api::status::Status;
use serde_json::{Value, json};

use crate::answer::{HttpResponse, Refusal};
use crate::authorize;
use crate::call::Call;
use crate::identity::Identity;
use crate::object::{self, Meta};
use crate::path::ResourcePath;
use crate::write::{self, FieldValidation};
use crate::{respond, semantics};

/// Answers `create` of a review.
pub fn create(call: &mut Call, body: &[u8]) -> Result<HttpResponse, Refusal> {
    let validation = FieldValidation::parse(call, "CreateOptions")?;
    let kind = call.body_kind();
    let mut review = write::decode_body(call, body, &kind, validation)?;
    write::check_names(call, &review)?;
    if call.resource.plural == "selfsubjectreviews" {
        review.set_meta("creationTimestamp", write::now());
    }
    if call.resource.namespaced {
        local(call, &review)?;
        let namespace = call.namespace().to_owned();
        review.set_meta("namespace", namespace);
    }
    semantics::record_manager(call, None, &mut review);
    let status = match &*call.resource.plural {
        "selfsubjectreviews" => user_info(&call.identity),
        "selfsubjectaccessreviews" => access(&call.identity.clone(), &review["spec"])?,
        "subjectaccessreviews" | "localsubjectaccessreviews" => {
            access(&subject(&review["spec"])?, &review["spec"])?
        }
        _ => return Err(Status::method_not_allowed().into()),
    };
    object::member_of(&mut review).insert("status".into(), status);
    Ok(respond::value(call, 201, &review))
}

/// A review in a namespace is about that namespace.
fn local(call: &Call, review: &Value) -> Result<(), Refusal> {
    let asked = &review["spec"]["resourceAttributes"]["namespace"];
    if asked.as_str().unwrap_or_default() == call.namespace() {
        return Ok(());
    }
    let spec = field::Path::root("spec");
    let attributes = spec.field("resourceAttributes");
    let error = field::Error::invalid(
        &attributes.field("namespace"),
        asked,
        "must match metadata.namespace",
    );
    Err(invalid(error))
}

fn user_info(identity: &Identity) -> Value {
    json!({"userInfo": {"username": &*identity.user, "groups": &*identity.groups}})
}

fn invalid(error: field::Error) -> Refusal {
    // Upstream leaves the kind out.
    Status::invalid("authorization.k8s.io", "", "", &[error]).into()
}

/// The user that a review asks about, with the groups that it says and no others.
fn subject(spec: &Value) -> Result<Identity, Refusal> {
    let user = spec["user"].as_str().unwrap_or_default();
    let groups: Vec<String> = spec["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    if user.is_empty() && groups.is_empty() {
        let path = field::Path::root("spec");
        let why = "at least one of user or group must be specified";
        return Err(invalid(field::Error::invalid(&path.field("user"), "", why)));
    }
    Ok(Identity {
        user: user.into(),
        groups: groups.into(),
    })
}

fn access(identity: &Identity, spec: &Value) -> Result<Value, Refusal> {
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if resource.is_null() == other.is_null() {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        return Err(invalid(field::Error::invalid(
            &field::Path::root("spec"),
            other,
            why,
        )));
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let allowed = match resource.is_null() {
        true => authorize::path(identity, &text(&other["verb"]), &text(&other["path"])).is_ok(),
        false => {
            let path = ResourcePath {
                group: text(&resource["group"]),
                version: text(&resource["version"]),
                namespace: text(&resource["namespace"]),
                resource: text(&resource["resource"]),
                name: text(&resource["name"]),
                subresource: text(&resource["subresource"]),
                ..ResourcePath::default()
            };
            let verb = text(&resource["verb"]);
            match Verb::ALL.into_iter().find(|v| v.as_str() == verb) {
                Some(verb) => {
                    authorize::resource(identity, authorize::Request { verb, path: &path }).is_ok()
                }
                // A verb that no request has, such as `use`.
                None => authorize::unlimited(identity),
            }
        }
    };
    Ok(json!({"allowed": allowed}))
}
