//! `serviceaccounts/NAME/token`: a token for an account, bound to a pod, secret or node.
//!
//! DEVIATION: tokens that are bound to webhook configurations (with attestations) are refused.

use karve_api::field::{self, Path, quote};
use karve_api::resource::GroupVersionKind;
use karve_api::status::Status;
use serde_json::{Value, json};

use crate::answer::{HttpResponse, Refusal};
use crate::authenticate::{Bound, ServiceAccounts, bound};
use crate::call::Call;
use crate::object::{self, Meta};
use crate::server::Server;
use crate::write::{self, FieldValidation};
use crate::{admission, keys, respond, semantics};

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";
const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;

/// Answers `POST serviceaccounts/NAME/token`.
pub async fn create(
    server: &Server,
    call: &mut Call,
    body: &[u8],
) -> Result<HttpResponse, Refusal> {
    let accounts = server
        .authenticator
        .accounts()
        .filter(|accounts| accounts.issues());
    let accounts = accounts.ok_or_else(Status::unknown_resource)?;
    let validation = FieldValidation::parse(call, "CreateOptions")?;
    let kind = call.body_kind();
    let mut request = write::decode_body(call, body, &kind, validation)?;
    write::check_names(call, &request)?;
    // What is absent is owned by nobody.
    object::member_of(&mut request).remove("status");
    let spec = object::member_mut(&mut request, "spec");
    spec.retain(|_, value| !value.is_null());
    spec.entry("expirationSeconds")
        .or_insert(DEFAULT_SECONDS.into());
    semantics::record_made(call, &kind, &mut request);
    admission::mutate(server, call, &mut request, None, false).await?;
    let entry = server
        .store
        .get(&call.key())
        .ok_or_else(|| call.not_found())?;
    let account = object::decode(entry.value(), &call.resource);
    let now = jiff::Timestamp::now();
    complete(call, accounts, &account, &mut request, now)?;
    check(&request)?;
    admission::validate(server, call, &mut request, None, false).await?;
    let (object, node) = bound_object(server, call, &request["spec"]["boundObjectRef"])?;
    let seconds = limit(call, accounts, &mut request);
    let object = object.as_ref().map(|(kind, object)| (&**kind, object));
    let claims = bound(call.namespace(), &account, object, node);
    let audiences: Vec<String> = texts(&request["spec"]["audiences"]);
    let issued = accounts.issue(claims, &audiences, now.as_second(), seconds);
    let issued =
        issued.map_err(|why| Status::internal(format!("failed to generate token: {why}")))?;
    let ends =
        jiff::Timestamp::from_second(now.as_second() + seconds).unwrap_or(jiff::Timestamp::MAX);
    request["status"] =
        json!({"token": issued.token, "expirationTimestamp": write::timestamp(ends)});
    Ok(respond::value(call, 201, &request))
}

fn texts(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Fills in what the account and the server say.
fn complete(
    call: &Call,
    accounts: &ServiceAccounts,
    account: &Value,
    request: &mut Value,
    now: jiff::Timestamp,
) -> Result<(), Refusal> {
    let (uid, own) = (
        request.meta("uid").to_owned(),
        account.meta("uid").to_owned(),
    );
    if !uid.is_empty() && uid != own {
        let why = format!(
            "the UID in the token request ({uid}) does not match the UID of the service account ({own})"
        );
        return Err(Status::conflict(GROUP, KIND, call.name(), &why).into());
    }
    if texts(&request["spec"]["audiences"]).is_empty() {
        request["spec"]["audiences"] = json!(accounts.audiences());
    }
    if request["spec"].get("boundObjectRef").is_none() {
        request["spec"]["boundObjectRef"] = Value::Null;
    }
    request.set_meta("name", call.name().to_owned());
    request.set_meta("namespace", call.namespace().to_owned());
    request.set_meta("uid", own);
    request.set_meta("creationTimestamp", write::timestamp(now));
    object::member_of(request).remove("status");
    Ok(())
}

fn check(request: &Value) -> Result<(), Refusal> {
    let (spec, path) = (&request["spec"], Path::root("spec"));
    let seconds = object::number(&spec["expirationSeconds"]);
    let at = path.field("expirationSeconds");
    let mut errors = Vec::new();
    if seconds < MIN_SECONDS {
        errors.push(field::Error::invalid(
            &at,
            seconds,
            "may not specify a duration less than 10 minutes",
        ));
    }
    if seconds > MAX_SECONDS {
        errors.push(field::Error::invalid(
            &at,
            seconds,
            "may not specify a duration larger than 2^32 seconds",
        ));
    }
    let attestations = &spec["attestations"];
    if attestations.as_object().is_some_and(|a| !a.is_empty()) {
        let why = "attestations may only be specified with a webhook bound object reference";
        errors = vec![field::Error::invalid(
            &path.field("attestations"),
            attestations,
            why,
        )];
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Status::invalid(GROUP, KIND, "", &errors).into()),
    }
}

type Object = (String, Value);

/// The object that the token ends with, and the node of a pod.
fn bound_object(
    server: &Server,
    call: &Call,
    reference: &Value,
) -> Result<(Option<Object>, Option<Bound>), Refusal> {
    if reference.is_null() {
        return Ok((None, None));
    }
    let text = |member: &str| reference[member].as_str().unwrap_or_default();
    let (group, version) =
        karve_api::resource::split_api_version(text("apiVersion")).unwrap_or_default();
    let kind = GroupVersionKind {
        group: group.to_owned().into(),
        version: version.to_owned().into(),
        kind: text("kind").to_owned().into(),
    };
    let plural = match (group, text("kind")) {
        ("", "Pod") => "pods",
        ("", "Secret") => "secrets",
        ("", "Node") => "nodes",
        _ => {
            let shown = format!("{}/{}, Kind={}", kind.group, kind.version, kind.kind);
            return Err(Status::bad_request(format!(
                "cannot bind token to object of type {shown}"
            ))
            .into());
        }
    };
    let namespace = if plural == "nodes" {
        ""
    } else {
        call.namespace()
    };
    let name = text("name");
    let stored = |plural: &str, namespace: &str, name: &str| -> Option<Value> {
        let entry = server.store.get(&keys::core(plural, namespace, name))?;
        serde_json::from_slice(entry.value()).ok()
    };
    let object =
        stored(plural, namespace, name).ok_or_else(|| Status::not_found("", plural, name))?;
    let mut node = None;
    if plural == "pods" {
        if object["spec"]["serviceAccountName"] != call.name() {
            let account = quote(call.name());
            let why = format!(
                "cannot bind token for serviceaccount {account} to pod running with different serviceaccount name."
            );
            return Err(Status::bad_request(why).into());
        }
        let on = object["spec"]["nodeName"]
            .as_str()
            .filter(|n| !n.is_empty());
        node = on.map(|on| Bound {
            name: on.to_owned(),
            // A node that is gone is named all the same.
            uid: stored("nodes", "", on)
                .map(|n| n.meta("uid").to_owned())
                .unwrap_or_default(),
        });
    }
    let (wanted, uid) = (text("uid"), object.meta("uid"));
    if !wanted.is_empty() && wanted != uid {
        let why = format!(
            "the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        );
        return Err(Status::conflict("", text("kind"), name, &why).into());
    }
    Ok((Some((text("kind").to_owned(), object)), node))
}

/// Shortens what is too long, with a warning.
fn limit(call: &mut Call, accounts: &ServiceAccounts, request: &mut Value) -> i64 {
    let wanted = object::number(&request["spec"]["expirationSeconds"]);
    let Some(max) = accounts
        .max_seconds()
        .filter(|max| *max > 0 && wanted > *max)
    else {
        return wanted;
    };
    call.warnings.push(format!(
        "requested expiration of {wanted} seconds shortened to {max} seconds"
    ));
    request["spec"]["expirationSeconds"] = max.into();
    max
}
