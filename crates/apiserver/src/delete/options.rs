//! What a deletion is asked to do: DeleteOptions, from the query or the body.

use karve_api::decode::{self, Format};
use karve_api::field;
use karve_api::resource::{GroupVersionKind, Resource};
use karve_api::schema::Schema;
use karve_api::status::Status;
use serde_json::{Value, json};

use crate::answer::Refusal;
use crate::call::Call;
use crate::object::Meta;
use crate::query;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What the client asks for, from the query and the body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    pub(super) grace: Option<i64>,
    pub(super) propagation: Option<String>,
    pub(super) orphan: Option<bool>,
    pub(super) uid: Option<String>,
    pub(super) version: Option<String>,
    pub(super) dry_run: bool,
}

impl Options {
    /// Reads and checks them.
    pub fn parse(call: &Call, body: &[u8]) -> Result<Options, Refusal> {
        match body.is_empty() {
            true => Options::from_value(&from_query(call)?),
            false => Options::from_value(&from_body(call, body)?),
        }
    }

    /// Reads and checks a DeleteOptions object.
    pub fn from_value(value: &Value) -> Result<Options, Refusal> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let given: Vec<&str> = value["dryRun"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let options = Options {
            grace: value["gracePeriodSeconds"].as_i64(),
            propagation: text(&value["propagationPolicy"]).filter(|p| !p.is_empty()),
            orphan: value["orphanDependents"].as_bool(),
            uid: text(&value["preconditions"]["uid"]),
            version: text(&value["preconditions"]["resourceVersion"]),
            dry_run: query::dry_run(&given, "DeleteOptions")?,
        };
        options.check()?;
        Ok(options)
    }

    /// Whether the deletion is only tried.
    pub fn dry_run(&self) -> bool {
        self.dry_run
    }

    /// As a DeleteOptions object.
    pub fn to_value(&self) -> Value {
        let mut value = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
        let mut set = |name: &str, member: Option<Value>| {
            if let Some(member) = member {
                value[name] = member;
            }
        };
        set("gracePeriodSeconds", self.grace.map(Value::from));
        set(
            "propagationPolicy",
            self.propagation.as_deref().map(Value::from),
        );
        set("orphanDependents", self.orphan.map(Value::from));
        set("dryRun", self.dry_run.then(|| json!(["All"])));
        let given = [("uid", &self.uid), ("resourceVersion", &self.version)];
        let preconditions: serde_json::Map<String, Value> = given
            .into_iter()
            .filter_map(|(name, text)| Some((name.to_owned(), text.as_deref()?.into())))
            .collect();
        set(
            "preconditions",
            (!preconditions.is_empty()).then(|| preconditions.into()),
        );
        value
    }

    fn check(&self) -> Result<(), Refusal> {
        let Some(policy) = &self.propagation else {
            return Ok(());
        };
        let path = field::Path::root("propagationPolicy");
        let error = if self.orphan.is_some() {
            field::Error::invalid(
                &path,
                policy.as_str(),
                "orphanDependents and deletionPropagation cannot be both set",
            )
        } else if !matches!(policy.as_str(), "Foreground" | "Background" | "Orphan") {
            let known = ["Foreground", "Background", "Orphan", "nil"];
            field::Error::not_supported(&path, policy.as_str(), &known)
        } else {
            return Ok(());
        };
        Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &[error]).into())
    }

    /// The finalizers that an object has once this deletion is asked for, when they differ.
    pub(super) fn finalizers(&self, resource: &Resource, object: &Value) -> Option<Vec<String>> {
        let have = object.finalizers();
        let has = |name: &str| have.contains(&name);
        let (orphan, foreground) = match (self.orphan, self.propagation.as_deref()) {
            (Some(orphan), _) => (orphan, false),
            (None, Some(policy)) => (policy == "Orphan", policy == "Foreground"),
            (None, None) if has(ORPHAN) => (true, false),
            (None, None) if has(FOREGROUND) => (false, true),
            (None, None) => (orphans_by_default(resource), false),
        };
        if orphan == has(ORPHAN) && foreground == has(FOREGROUND) {
            return None;
        }
        let mut next: Vec<String> = have
            .iter()
            .filter(|f| **f != ORPHAN && **f != FOREGROUND)
            .map(|f| f.to_string())
            .collect();
        next.extend(orphan.then(|| ORPHAN.to_owned()));
        next.extend(foreground.then(|| FOREGROUND.to_owned()));
        Some(next)
    }
}

/// Whether dependents are orphaned when the client does not say: so it was before there was garbage collection.
fn orphans_by_default(resource: &Resource) -> bool {
    matches!(
        (&*resource.group, &*resource.plural),
        ("", "replicationcontrollers") | ("batch", "jobs")
    )
}

fn from_query(call: &Call) -> Result<Value, Refusal> {
    let query = &call.query;
    let mut value = json!({"dryRun": query.all("dryRun").collect::<Vec<_>>()});
    if let Some(seconds) = query.number("gracePeriodSeconds")? {
        value["gracePeriodSeconds"] = seconds.into();
    }
    if let Some(policy) = query.get("propagationPolicy") {
        value["propagationPolicy"] = policy.into();
    }
    if query.get("orphanDependents").is_some() {
        value["orphanDependents"] = query.flag("orphanDependents").into();
    }
    Ok(value)
}

fn from_body(call: &Call, body: &[u8]) -> Result<Value, Refusal> {
    let format = Format::of(&call.content_type).unwrap_or(Format::Json);
    let kind = GroupVersionKind {
        group: "".into(),
        version: "v1".into(),
        kind: "DeleteOptions".into(),
    };
    decode_options(body, format, &kind).map_err(|e| Status::bad_request(e).into())
}

/// Upstream decodes these without naming the endpoint's kind, so its texts are the bare causes.
fn decode_options(body: &[u8], format: Format, kind: &GroupVersionKind) -> Result<Value, String> {
    use decode::DecodeError;
    match decode::decode(body, format, kind, Schema::builtin()) {
        Ok(decoded) => Ok(decoded.object),
        Err(DecodeError::Unrecognized { cause, .. } | DecodeError::Unhandled { cause, .. }) => {
            Err(cause)
        }
        Err(err) => Err(err.to_string()),
    }
}
