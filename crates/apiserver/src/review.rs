//! Reviews: questions about users and what they may do, answered and never kept.

mod access;

use karve_api::status::Status;
use serde_json::{Value, json};

use crate::answer::{HttpResponse, Refusal};
use crate::call::Call;
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
        let namespace = call.namespace().to_owned();
        review.set_meta("namespace", namespace);
    }
    semantics::record_manager(call, None, &mut review);
    admission::mutate(server, call, &mut review, None, false).await?;
    let plural = call.resource.plural.clone();
    match &*plural {
        "tokenreviews"
            if review["spec"]["token"]
                .as_str()
                .unwrap_or_default()
                .is_empty() =>
        {
            return Err(
                Status::bad_request("token is required for TokenReview in authentication").into(),
            );
        }
        "selfsubjectrulesreviews"
            if review["spec"]["namespace"]
                .as_str()
                .unwrap_or_default()
                .is_empty() =>
        {
            return Err(Status::bad_request("no namespace on request").into());
        }
        "selfsubjectaccessreviews" | "subjectaccessreviews" | "localsubjectaccessreviews" => {
            access::validate(&plural, &review)?;
        }
        _ => {}
    }
    admission::validate(server, call, &mut review, None, false).await?;
    let spec = &review["spec"];
    let status = match &*plural {
        "selfsubjectreviews" => json!({"userInfo": call.identity.user_info()}),
        "selfsubjectaccessreviews" => access::answer(&server.authorizer, &call.identity, spec),
        "subjectaccessreviews" | "localsubjectaccessreviews" => {
            access::answer(&server.authorizer, &access::subject(spec), spec)
        }
        "selfsubjectrulesreviews" => {
            rules(server, call, spec["namespace"].as_str().unwrap_or_default())
        }
        "tokenreviews" => token(server, spec),
        _ => return Err(Status::method_not_allowed().into()),
    };
    if plural == "selfsubjectrulesreviews" {
        // Upstream answers a new object.
        review = json!({"kind": review["kind"], "apiVersion": review["apiVersion"], "metadata": {}, "spec": {}});
    }
    object::member_of(&mut review).insert("status".into(), status);
    Ok(respond::value(call, 201, &review))
}

fn rules(server: &Server, call: &Call, namespace: &str) -> Value {
    let rules = server.authorizer.rules(&call.identity, namespace);
    let mut status = json!({
        "resourceRules": rules.resource,
        "nonResourceRules": rules.path,
        "incomplete": rules.incomplete,
    });
    if let Some(error) = rules.error {
        status["evaluationError"] = error.into();
    }
    status
}

fn token(server: &Server, spec: &Value) -> Value {
    let audiences = spec["audiences"].as_array().filter(|list| !list.is_empty());
    let audiences: Option<Vec<String>> = audiences.map(|list| {
        list.iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    });
    let token = spec["token"].as_str().unwrap_or_default();
    match server.authenticator.token(token, audiences.as_deref()) {
        Ok(user) => {
            let mut status = json!({"authenticated": true, "user": user.identity.user_info()});
            if !user.audiences.is_empty() {
                status["audiences"] = json!(user.audiences);
            }
            status
        }
        Err(why) => json!({"user": {}, "error": why}),
    }
}
