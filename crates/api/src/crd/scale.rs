//! The `scale` subresource of a custom resource: a Scale made from the fields that the definition names.

use serde_json::{Value, json};

use super::value::show_number;
use crate::field::{Error, Kind};

/// Where the numbers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    /// `specReplicasPath`
    pub spec_path: String,
    /// `statusReplicasPath`
    pub status_path: String,
    /// `labelSelectorPath`; may be absent or empty.
    pub selector_path: Option<String>,
}

/// Why there is no Scale of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScaleError {
    /// There is no number of wanted replicas.
    #[error("the spec replicas field {} does not exist", crate::field::quote(.0))]
    Missing(String),
    /// A field has the wrong type.
    #[error("{0}")]
    Type(String),
}

fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('.').unwrap_or(path).split('.')
}

/// A member by its path, as upstream's `NestedFieldNoCopy`.
fn nested<'v>(object: &'v Value, path: &str) -> Result<Option<&'v Value>, String> {
    let mut at = object;
    let mut walked = String::new();
    for step in steps(path) {
        let Some(members) = at.as_object() else {
            if at.is_null() {
                return Ok(None);
            }
            return Err(format!(
                "{walked} accessor error: {} is of the type {}, expected map[string]interface{{}}",
                go_value(at),
                go_type(at)
            ));
        };
        walked.push('.');
        walked.push_str(step);
        match members.get(step) {
            Some(value) => at = value,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

fn go_value(value: &Value) -> String {
    match value {
        Value::Number(number) => show_number(number),
        other => crate::patch::go_print(other),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn wrong_type(path: &str, value: &Value, expected: &str) -> String {
    let path: Vec<&str> = steps(path).collect();
    format!(
        ".{} accessor error: {} is of the type {}, expected {expected}",
        path.join("."),
        go_value(value),
        go_type(value)
    )
}

fn integer(object: &Value, path: &str) -> Result<Option<i64>, String> {
    match nested(object, path)? {
        None => Ok(None),
        Some(value) => match value.as_i64() {
            Some(number) => Ok(Some(number)),
            None => Err(wrong_type(path, value, "int64")),
        },
    }
}

fn text(object: &Value, path: &str) -> Result<String, String> {
    match nested(object, path)? {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(value) => Err(wrong_type(path, value, "string")),
    }
}

impl Scale {
    /// From `subresources.scale`.
    pub fn read(scale: &Value) -> Option<Scale> {
        let text = |name: &str| Some(scale.get(name)?.as_str()?.to_owned());
        Some(Scale {
            spec_path: text("specReplicasPath")?,
            status_path: text("statusReplicasPath")?,
            selector_path: text("labelSelectorPath"),
        })
    }

    /// The names of the members that lead to the wanted replicas.
    pub fn spec_steps(&self) -> Vec<&str> {
        steps(&self.spec_path).collect()
    }

    /// The Scale of an object. Absent replicas are an error only when `must_exist`.
    pub fn of(&self, object: &Value, must_exist: bool) -> Result<Value, ScaleError> {
        let wanted = integer(object, &self.spec_path).map_err(ScaleError::Type)?;
        let have = integer(object, &self.status_path).map_err(ScaleError::Type)?;
        let selector = match self.selector_path.as_deref() {
            None | Some("") => String::new(),
            Some(path) => text(object, path).map_err(ScaleError::Type)?,
        };
        if wanted.is_none() && must_exist {
            return Err(ScaleError::Missing(self.spec_path.clone()));
        }
        let mut scale = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {}, "spec": {},
            "status": {"replicas": have.unwrap_or(0) as i32}});
        for name in [
            "name",
            "namespace",
            "uid",
            "resourceVersion",
            "creationTimestamp",
        ] {
            if let Some(value) = object["metadata"].get(name) {
                scale["metadata"][name] = value.clone();
            }
        }
        if let Some(wanted) = wanted.filter(|n| *n != 0) {
            scale["spec"]["replicas"] = (wanted as i32).into();
        }
        if !selector.is_empty() {
            scale["status"]["selector"] = selector.into();
        }
        Ok(scale)
    }

    /// Writes the wish of a Scale into an object.
    pub fn set(&self, object: &mut Value, scale: &Value) {
        let wanted = scale["spec"]["replicas"].as_i64().unwrap_or(0);
        let mut at = object;
        for step in steps(&self.spec_path) {
            if !at.is_object() {
                *at = json!({});
            }
            at = &mut at[step];
        }
        *at = wanted.into();
    }

    /// What is wrong with the numbers of an object; those of the spec are not looked at through `/status`.
    pub fn validate(&self, errors: &mut Vec<Error>, object: &Value, with_spec: bool) {
        if with_spec {
            replicas(errors, object, &self.spec_path);
        }
        replicas(errors, object, &self.status_path);
        if let Some(path) = &self.selector_path
            && let Err(why) = text(object, path)
        {
            errors.push(invalid(path, "".into(), why));
        }
    }
}

/// The path is shown as the definition writes it.
fn invalid(path: &str, value: Value, detail: String) -> Error {
    Error {
        kind: Kind::Invalid,
        field: path.to_owned(),
        value: value.into(),
        detail,
    }
}

fn replicas(errors: &mut Vec<Error>, object: &Value, path: &str) {
    const MAX: i64 = i32::MAX as i64;
    match integer(object, path) {
        Err(why) => errors.push(invalid(path, 0.into(), why)),
        Ok(Some(n)) if n < 0 => {
            let detail = "should be a non-negative integer";
            errors.push(invalid(path, n.into(), detail.to_owned()));
        }
        Ok(Some(n)) if n > MAX => {
            let detail = format!("should be less than or equal to {MAX}");
            errors.push(invalid(path, n.into(), detail));
        }
        Ok(_) => {}
    }
}
