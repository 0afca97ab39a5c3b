//! The objects that a binding parametrizes its policy with.

use std::sync::Arc;

use karve_api::resource::Resource;
use karve_api::selector::LabelSelector;
use serde_json::Value;

use super::definition::{Binding, Policy};
use crate::admission::{Attributes, lookup};
use crate::server::Server;

/// Why there are no parameters.
pub enum Failure {
    /// The policy is wrong.
    Policy(String),
    /// The binding is wrong, or what it names is missing.
    Binding(String),
}

/// The parameters, one after another; one `None` where there are none to have.
pub fn find(
    server: &Server,
    policy: &Policy,
    binding: &Binding,
    attributes: &Attributes<'_>,
) -> Result<Vec<Option<Value>>, Failure> {
    let Some((api_version, kind)) = &policy.param_kind else {
        return Ok(vec![None]);
    };
    let resource = resource(server, api_version, kind).ok_or_else(|| {
        Failure::Policy(format!(
            "failed to find resource referenced by paramKind: '{}, Kind={kind}'",
            match api_version.contains('/') {
                true => api_version.clone(),
                false => format!("/{api_version}"),
            }
        ))
    })?;
    let reference = &binding.param_ref;
    if !reference.is_object() {
        return Ok(vec![None]);
    }
    let namespace = namespace(&resource, reference, attributes)?;
    let text = |member: &str| reference[member].as_str().unwrap_or_default();
    let found: Vec<Value> = match (text("name"), &reference["selector"]) {
        ("", selector) if selector.is_object() => {
            let selector = LabelSelector::from_object(Some(selector))
                .map_err(|why| Failure::Binding(why.to_string()))?;
            let all = lookup::list_any(server, &resource, namespace);
            all.into_iter()
                .filter(|object| selector.matches_object(object))
                .collect()
        }
        ("", _) => Vec::new(),
        (name, _) => lookup::get_any(server, &resource, namespace, name)
            .into_iter()
            .collect(),
    };
    if found.is_empty() && text("parameterNotFoundAction") == "Deny" {
        return Err(Failure::Binding(
            "no params found for policy binding with `Deny` parameterNotFoundAction".to_owned(),
        ));
    }
    let named = |mut object: Value| {
        object["kind"] = (&*resource.kind).into();
        object["apiVersion"] = (&*resource.api_version()).into();
        Some(object)
    };
    Ok(found.into_iter().map(named).collect())
}

fn resource(server: &Server, api_version: &str, kind: &str) -> Option<Arc<Resource>> {
    let served = server.served();
    let found = served.table.resources().find(|resource| {
        resource.storage.is_some()
            && *resource.kind == *kind
            && &*resource.api_version() == api_version
    });
    found.cloned()
}

fn namespace<'a>(
    resource: &Resource,
    reference: &'a Value,
    attributes: &'a Attributes<'_>,
) -> Result<&'a str, Failure> {
    let given = reference["namespace"].as_str().unwrap_or_default();
    let wrong = |why: &str| Err(Failure::Binding(why.to_owned()));
    match (resource.namespaced, given, attributes.namespace()) {
        (false, "", _) => Ok(""),
        (false, ..) => {
            wrong("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        }
        (true, "", "") => wrong(
            "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources",
        ),
        (true, "", own) => Ok(own),
        (true, given, _) => Ok(given),
    }
}
