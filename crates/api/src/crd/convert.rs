//! Objects between the versions of a definition.
//!
//! Stored objects say their version. [`read`] makes one an object of another version when that needs no webhook;
//! [`request`] and [`answer`] are the two sides of asking one. Absent: calling it.

use serde_json::{Map, Value, json};

use super::decode::fit;
use super::definition::Family;
use super::prune;
use crate::field::{Error, Path};
use crate::validate;

/// A stored object, defaulted by the schema of the version that it is stored in.
pub fn stored(object: &mut Value, family: &Family) {
    let version = version_of(object).to_owned();
    if let Some(schema) = family.schema(&version) {
        object["metadata"] = super::metadata::conform_leniently(&object["metadata"]);
        if fit(object, Some(schema), family).is_ok() {
            prune::default(object, schema);
        }
    }
}

/// The version that an object says.
pub fn version_of(object: &Value) -> &str {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    api_version.rsplit('/').next().unwrap_or_default()
}

/// The same object as one of another version: only what it says of itself changes, and what that version's schema does
/// not know goes.
pub fn relabel(object: &mut Value, version: &str, family: &Family) {
    if version_of(object) == version {
        return;
    }
    object["apiVersion"] = format!("{}/{version}", family.group).into();
    if let Some(schema) = family.schema(version) {
        // Its metadata fits already.
        let _ = fit(object, Some(schema), family);
    }
}

/// The `ConversionReview` for some objects, and the version of it that the webhook understands.
pub fn request(objects: &[Value], api_version: &str, uid: &str, webhook: &Value) -> Option<Value> {
    let versions = webhook["conversionReviewVersions"].as_array()?;
    let version = versions
        .iter()
        .filter_map(Value::as_str)
        .find(|v| matches!(*v, "v1" | "v1beta1"))?;
    Some(json!({
        "kind": "ConversionReview",
        "apiVersion": format!("apiextensions.k8s.io/{version}"),
        "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": objects},
    }))
}

/// The objects in the answer to a [`request`], with the metadata that only their labels and annotations may change.
/// The error is upstream's, without its beginning.
pub fn answer(
    originals: &[Value],
    api_version: &str,
    uid: &str,
    review: &Value,
) -> Result<Vec<Value>, Fault> {
    let failed = |text: String| Err(Fault::Failed(text));
    let response = &review["response"];
    let v1 = review["apiVersion"] == "apiextensions.k8s.io/v1";
    if v1 && review["kind"] != "ConversionReview" {
        let kind = review["kind"].as_str().unwrap_or_default();
        return failed(format!(
            "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got apiextensions.k8s.io/v1, Kind={kind}"
        ));
    }
    if response.is_null() {
        return failed("no response provided".to_owned());
    }
    if v1 && response["uid"] != uid {
        let found = response["uid"].as_str().unwrap_or_default();
        return failed(format!("expected response.uid=\"{uid}\", got \"{found}\""));
    }
    let result = &response["result"];
    if result["status"] != "Success" {
        let message = result["message"].as_str().unwrap_or_default();
        let status = result["status"].as_str().unwrap_or_default();
        return failed(match message {
            "" => format!("response.result.status was '{status}', not 'Success'"),
            message => message.to_owned(),
        });
    }
    let converted = response["convertedObjects"].as_array();
    let converted = converted.map_or(&[][..], Vec::as_slice);
    if converted.len() != originals.len() {
        return Err(Fault::Count(converted.len(), originals.len()));
    }
    originals
        .iter()
        .zip(converted)
        .enumerate()
        .map(|(i, (original, converted))| {
            checked(original, converted, api_version).map_err(|why| Fault::Object(i, why))
        })
        .collect()
}

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The webhook says no, or its answer is none.
    Failed(String),
    /// Not as many objects as were asked about.
    Count(usize, usize),
    /// One object is wrong.
    Object(usize, String),
}

impl Fault {
    /// Upstream's text. `kind` is `GROUP/VERSION, Kind=KIND` of what was converted; one object has no place.
    pub fn text(&self, kind: &str, single: bool) -> String {
        match self {
            Fault::Failed(why) => format!("conversion webhook for {kind} failed: {why}"),
            Fault::Count(found, expected) => {
                format!(
                    "conversion webhook for {kind} returned {found} objects, expected {expected}"
                )
            }
            Fault::Object(_, why) if single && why.starts_with("invalid metadata") => {
                format!("conversion webhook for {kind} returned {why}")
            }
            Fault::Object(_, why) if single && why.starts_with("must have") => {
                format!("conversion webhook for {kind} returned invalid object: {why}")
            }
            Fault::Object(i, why) => format!(
                "conversion webhook for {kind} returned invalid converted object at index {i}: {why}"
            ),
        }
    }
}

fn checked(original: &Value, converted: &Value, api_version: &str) -> Result<Value, String> {
    let text = |object: &Value, pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let found = text(converted, "/apiVersion");
    if found != api_version {
        return Err(format!(
            "invalid groupVersion (expected {api_version}, received {found})"
        ));
    }
    let (expected, found) = (text(original, "/kind"), text(converted, "/kind"));
    if expected != found {
        return Err(format!(
            "invalid kind (expected {expected}, received {found})"
        ));
    }
    let fixed = [
        ("name", "/metadata/name"),
        ("namespace", "/metadata/namespace"),
        ("UID", "/metadata/uid"),
    ];
    for (what, pointer) in fixed {
        let (expected, found) = (text(original, pointer), text(converted, pointer));
        if expected != found {
            return Err(format!("must have the same {what}: {expected} != {found}"));
        }
    }
    let mut object = converted.clone();
    object["metadata"] = metadata(&original["metadata"], converted.get("metadata"))?;
    Ok(object)
}

/// The metadata of the original, with the labels and annotations of the converted object.
fn metadata(original: &Value, converted: Option<&Value>) -> Result<Value, String> {
    let Some(converted) = converted else {
        return Err("missing metadata in converted object".to_owned());
    };
    if !converted.is_object() {
        return Err("invalid metadata of type in converted object".to_owned());
    }
    let mut merged = match original {
        Value::Object(members) => members.clone(),
        _ => Map::new(),
    };
    for name in ["labels", "annotations"] {
        let Some(value) = converted.get(name).filter(|v| !v.is_null()) else {
            merged.remove(name);
            continue;
        };
        let texts = value
            .as_object()
            .filter(|m| m.values().all(Value::is_string));
        if texts.is_none() {
            return Err(format!("invalid metadata.{name} in converted object"));
        }
        if merged.get(name) != Some(value) {
            check(name, value)?;
        }
        merged.insert(name.to_owned(), value.clone());
    }
    Ok(Value::Object(merged))
}

fn check(name: &str, value: &Value) -> Result<(), String> {
    let root = Path::root("metadata");
    let mut errors: Vec<Error> = Vec::new();
    match name {
        "labels" => validate::labels(&mut errors, &root.field("labels"), value),
        _ => validate::annotations(
            &mut errors,
            &root.field("annotation"),
            &json!({"annotations": value}),
        ),
    }
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    match &texts[..] {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}
