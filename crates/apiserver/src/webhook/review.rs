//! AdmissionReview: what is asked, and what may come back.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use karve_api::resource::Resource;
use serde_json::{Map, Value, json};

use crate::admission::Attributes;
use crate::answer::Refusal;
use crate::call::Call;
use crate::crd::conversion;
use crate::matching::Target;
use crate::server::Server;
use crate::{convert, semantics};

/// The versions of AdmissionReview that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V1Beta1,
}

impl Version {
    /// The first one that the webhook understands.
    pub(super) fn of(versions: &[String]) -> Option<Version> {
        versions.iter().find_map(|version| match version.as_str() {
            "v1" => Some(Version::V1),
            "v1beta1" => Some(Version::V1Beta1),
            _ => None,
        })
    }

    fn api_version(self) -> &'static str {
        match self {
            Version::V1 => "admission.k8s.io/v1",
            Version::V1Beta1 => "admission.k8s.io/v1beta1",
        }
    }
}

/// What a webhook says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Answer {
    pub(super) allowed: bool,
    pub(super) result: Value,
    /// A JSON patch; empty when there is none.
    pub(super) patch: Vec<u8>,
    pub(super) patch_type: String,
    pub(super) warnings: Vec<String>,
    pub(super) annotations: Vec<(String, String)>,
}

/// An object as a webhook sees it: in the version of its rule, with its kind.
pub(crate) async fn shown(
    server: &Server,
    target: &Target,
    own: &Resource,
    object: &Value,
) -> Result<Value, Refusal> {
    if object.is_null() {
        return Ok(Value::Null);
    }
    let mut shown = match target.kind.kind == target.resource.kind {
        true => convert::read_value(&target.resource, object.clone()),
        false => object.clone(),
    };
    if shown["kind"]
        .as_str()
        .is_none_or(|kind| kind == target.kind.kind || kind.is_empty())
    {
        shown["kind"] = (&*target.kind.kind).into();
        if target.resource.version != own.version && target.resource.is_custom() {
            shown["apiVersion"] = (&*own.api_version()).into();
            shown = conversion::between(server, own, &target.resource, shown).await?;
        }
        shown["apiVersion"] = (&*target.kind.api_version()).into();
    }
    Ok(shown)
}

/// What a webhook made of the object that it was shown, as the endpoint has it and with defaults.
pub(crate) async fn taken_back(
    server: &Server,
    target: &Target,
    call: &Call,
    object: Value,
) -> Result<Value, Refusal> {
    let own = conversion::between(server, &target.resource, &call.resource, object).await?;
    let mut own = convert::written(&target.resource, own);
    own["apiVersion"] = (&*call.resource.api_version()).into();
    semantics::set_defaults(call, &mut own);
    Ok(own)
}

/// The object and what it was before, as a webhook sees them.
pub(crate) async fn both_shown(
    server: &Server,
    target: &Target,
    attributes: &Attributes<'_>,
) -> Result<(Value, Value), Refusal> {
    let own = &attributes.call.resource;
    let old = attributes.old.unwrap_or(&Value::Null);
    Ok((
        shown(server, target, own, attributes.object()).await?,
        shown(server, target, own, old).await?,
    ))
}

/// What is asked, without the objects.
pub(crate) fn described(target: &Target, attributes: &Attributes<'_>) -> Value {
    let call = attributes.call;
    let resource =
        |r: &Resource| json!({"group": r.group, "version": r.version, "resource": r.plural});
    let kind = |k: &karve_api::resource::GroupVersionKind| json!({"group": k.group, "version": k.version, "kind": k.kind});
    let mut request = json!({
        "kind": kind(&target.kind),
        "resource": resource(&target.resource),
        "requestKind": kind(&call.body_kind()),
        "requestResource": resource(&call.resource),
        "operation": attributes.operation.as_str(),
        "userInfo": call.identity.user_info(),
        "dryRun": attributes.dry_run,
        "options": attributes.options(),
    });
    let subresource = &call.path.subresource;
    for (member, text) in [
        ("subResource", subresource.as_str()),
        ("requestSubResource", subresource),
        ("name", attributes.name()),
        ("namespace", attributes.namespace()),
    ] {
        if !text.is_empty() {
            request[member] = text.into();
        }
    }
    request
}

/// The body of a request.
pub(super) fn request(
    version: Version,
    uid: &str,
    target: &Target,
    attributes: &Attributes<'_>,
    (object, old): (Value, Value),
) -> Bytes {
    let mut request = described(target, attributes);
    request["uid"] = uid.into();
    request["object"] = object;
    request["oldObject"] = old;
    let review = json!({
        "kind": "AdmissionReview",
        "apiVersion": version.api_version(),
        "request": request,
    });
    serde_json::to_vec(&review)
        .expect("reviews have string keys only")
        .into()
}

/// Reads what a webhook answered.
pub(super) fn read(
    version: Version,
    uid: &str,
    mutating: bool,
    body: &[u8],
) -> Result<Answer, String> {
    let review: Value = serde_json::from_slice(body)
        .map_err(|err| format!("couldn't get version/kind; json parse error: {err}"))?;
    let response = match review
        .get("response")
        .filter(|response| !response.is_null())
    {
        Some(Value::Object(response)) => response,
        Some(_) => return Err("response is no object".into()),
        None => return Err("webhook response was absent".into()),
    };
    if version == Version::V1 {
        check_identity(&review, response, uid)?;
    }
    let mut answer = Answer {
        allowed: boolean(response, "allowed")?,
        result: response.get("status").cloned().unwrap_or_default(),
        warnings: texts(response, "warnings")?,
        annotations: annotations(response)?,
        ..Answer::default()
    };
    let patch = BASE64_STANDARD
        .decode(text(response, "patch")?.unwrap_or_default())
        .map_err(|err| format!("illegal base64 data in response.patch: {err}"))?;
    let patch_type = text(response, "patchType")?;
    match version {
        Version::V1 => check_patch(mutating, &patch, patch_type)?,
        // It was never checked there.
        Version::V1Beta1 if !mutating => return Ok(answer),
        Version::V1Beta1 => {}
    }
    answer.patch_type = match version {
        Version::V1 => patch_type.unwrap_or_default().to_owned(),
        Version::V1Beta1 => "JSONPatch".to_owned(),
    };
    answer.patch = patch;
    Ok(answer)
}

fn check_identity(review: &Value, response: &Map<String, Value>, uid: &str) -> Result<(), String> {
    let given = text(response, "uid")?.unwrap_or_default();
    if given != uid {
        return Err(format!(
            "expected response.uid={}, got {}",
            karve_api::field::quote(uid),
            karve_api::field::quote(given)
        ));
    }
    let own = |member: &str| review[member].as_str().unwrap_or_default();
    let (api_version, kind) = (own("apiVersion"), own("kind"));
    if api_version != "admission.k8s.io/v1" || kind != "AdmissionReview" {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        return Err(format!(
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {group}/{version}, Kind={kind}"
        ));
    }
    Ok(())
}

fn check_patch(mutating: bool, patch: &[u8], patch_type: Option<&str>) -> Result<(), String> {
    let why = match (mutating, patch.is_empty(), patch_type) {
        (true, false, None) => "webhook returned response.patch but not response.patchType",
        (true, true, Some(_)) => "webhook returned response.patchType but not response.patch",
        (true, _, Some("")) => "webhook returned invalid response.patchType of \"\"",
        (false, false, _) => "validating webhook may not return response.patch",
        (false, _, Some(_)) => "validating webhook may not return response.patchType",
        _ => return Ok(()),
    };
    Err(why.to_owned())
}

fn wrong(member: &str, value: &Value) -> String {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    format!(
        "json: cannot unmarshal {kind} into Go struct field AdmissionResponse.response.{member}"
    )
}

fn text<'r>(response: &'r Map<String, Value>, member: &str) -> Result<Option<&'r str>, String> {
    match response.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong(member, other)),
    }
}

fn boolean(response: &Map<String, Value>, member: &str) -> Result<bool, String> {
    match response.get(member) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(other) => Err(wrong(member, other)),
    }
}

fn texts(response: &Map<String, Value>, member: &str) -> Result<Vec<String>, String> {
    match response.get(member) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| {
                item.as_str()
                    .map(str::to_owned)
                    .ok_or_else(|| wrong(member, item))
            })
            .collect(),
        Some(other) => Err(wrong(member, other)),
    }
}

fn annotations(response: &Map<String, Value>) -> Result<Vec<(String, String)>, String> {
    const MEMBER: &str = "auditAnnotations";
    match response.get(MEMBER) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(members)) => members
            .iter()
            .map(|(key, value)| {
                let value = value.as_str().ok_or_else(|| wrong(MEMBER, value))?;
                Ok((key.clone(), value.to_owned()))
            })
            .collect(),
        Some(other) => Err(wrong(MEMBER, other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(mutating: bool, response: Value) -> Result<Answer, String> {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        read(
            Version::V1,
            "u",
            mutating,
            &serde_json::to_vec(&review).expect("JSON"),
        )
    }

    #[test]
    fn answers_are_checked_with_upstreams_words() {
        let patch = BASE64_STANDARD.encode("[]");
        let rows = [
            (true, json!(null), "webhook response was absent"),
            (
                true,
                json!({"uid": "v"}),
                "expected response.uid=\"u\", got \"v\"",
            ),
            (
                true,
                json!({"uid": "u", "patch": patch}),
                "webhook returned response.patch but not response.patchType",
            ),
            (
                true,
                json!({"uid": "u", "patchType": "JSONPatch"}),
                "webhook returned response.patchType but not response.patch",
            ),
            (
                false,
                json!({"uid": "u", "patch": patch}),
                "validating webhook may not return response.patch",
            ),
            (
                false,
                json!({"uid": "u", "patchType": "JSONPatch"}),
                "validating webhook may not return response.patchType",
            ),
        ];
        for (mutating, response, want) in rows {
            assert_eq!(answer(mutating, response).map(|_| ()), Err(want.to_owned()));
        }
        let whole = answer(
            true,
            json!({"uid": "u", "allowed": true, "patch": patch, "patchType": "JSONPatch", "warnings": ["w"],
                "auditAnnotations": {"k": "v"}}),
        );
        let whole = whole.expect("right");
        assert_eq!((whole.allowed, whole.patch.as_slice()), (true, &b"[]"[..]));
        assert_eq!(whole.annotations, [("k".to_owned(), "v".to_owned())]);
        let other = json!({"apiVersion": "v1", "kind": "Status", "response": {"uid": "u"}});
        let other = read(Version::V1, "u", true, other.to_string().as_bytes());
        assert_eq!(
            other,
            Err("expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /v1, Kind=Status".into())
        );
    }

    #[test]
    fn old_reviews_are_not_checked() {
        let review = json!({"response": {"allowed": true, "patch": BASE64_STANDARD.encode("[]")}});
        let read = |mutating| {
            read(
                Version::V1Beta1,
                "u",
                mutating,
                review.to_string().as_bytes(),
            )
        };
        assert_eq!(read(true).expect("right").patch_type, "JSONPatch");
        assert!(read(false).expect("right").patch.is_empty());
    }

    proptest! {
        #[test]
        fn whatever_comes_back_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = read(Version::V1, "u", true, &body);
        }

        #[test]
        fn members_of_any_type_are_read_or_refused(
            member in "(uid|allowed|patch|patchType|status|warnings|auditAnnotations)",
            value in "(null|true|1|\"x\"|\\[1\\]|\\[\"a\"\\]|\\{\"a\":1\\}|\\{\"a\":\"b\"\\})",
        ) {
            let body = format!("{{\"response\":{{\"{member}\":{value}}}}}");
            let _ = read(Version::V1, "u", true, body.as_bytes());
            let _ = read(Version::V1Beta1, "u", false, body.as_bytes());
        }
    }
}
