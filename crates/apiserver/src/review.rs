//! Reviews: questions about users and what they may do, answered and never kept.
//!
//! DEVIATION: TokenReview and SelfSubjectRulesReview are not built; an answer gives no reason.

use karve_api::field;
use karve_api::status::Status;
use serde_json::{Value, json};

use crate::answer::{HttpResponse, Refusal};
use crate::authorize::{Attributes, Authorizer};
use crate::call::Call;
use crate::identity::Identity;
use crate::object::{self, Meta};
use crate::server::Server;
use crate::write::{self, FieldValidation};
use crate::{admission, respond, semantics};

/// Answers `create` of a review.
pub async fn create(
    server: &Server,
    call: &mut Call,
    body: &[u8],
) -> Result<HttpResponse, Refusal> {
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
    admission::create(server, call, &mut review, false).await?;
    let authorizer = &server.authorizer;
    let status = match &*call.resource.plural {
        "selfsubjectreviews" => json!({"userInfo": call.identity.user_info()}),
        "selfsubjectaccessreviews" => access(authorizer, &call.identity.clone(), &review["spec"])?,
        "subjectaccessreviews" | "localsubjectaccessreviews" => {
            access(authorizer, &subject(&review["spec"])?, &review["spec"])?
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
        uid: spec["uid"].as_str().unwrap_or_default().into(),
        groups: groups.into(),
        extra: Default::default(),
    })
}

fn access(authorizer: &Authorizer, identity: &Identity, spec: &Value) -> Result<Value, Refusal> {
    let (resource, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if resource.is_null() == other.is_null() {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        return Err(invalid(field::Error::invalid(
            &field::Path::root("spec"),
            other,
            why,
        )));
    }
    let text = |value: &'_ Value| value.as_str().unwrap_or_default().to_owned();
    let (verb, path) = (text(&other["verb"]), text(&other["path"]));
    let asked = [
        "verb",
        "group",
        "version",
        "resource",
        "subresource",
        "name",
        "namespace",
    ]
    .map(|m| text(&resource[m]));
    let attributes = match resource.is_null() {
        true => Attributes::path(identity, &verb, &path),
        false => Attributes {
            version: &asked[2],
            subresource: &asked[4],
            name: &asked[5],
            namespace: &asked[6],
            ..Attributes::resource(identity, &asked[0], &asked[1], &asked[3])
        },
    };
    let outcome = authorizer.decide(&attributes);
    Ok(json!({"allowed": outcome.allowed()}))
}
