//! MutatingAdmissionPolicy: each mutation sees what the one before it made of the object.

use karve_api::apply::merge_unowned;
use karve_api::patch;
use karve_api::schema::{Schema, Type};
use karve_api::status::Cause;
use karve_cel::value::{Map, Value};
use serde_json::Value as Json;

use super::definition::{Binding, Mutation, Policy};
use super::scope::{Asker, BUDGET, Expression, Inputs, Scope};
use super::validating::{concerned, namespace_object, target};
use super::{is_exempt, params};
use crate::admission::{Attributes, Operation};
use crate::answer::Refusal;
use crate::matching::Target;
use crate::semantics;
use crate::server::Server;
use crate::webhook::review;

/// Runs the policies that the request concerns. In the second round, only those that ran before the object changed again.
pub async fn mutate(server: &Server, attributes: &mut Attributes<'_>) -> Result<(), Refusal> {
    let policies = server.policies.mutating.snapshot();
    let deletes = attributes.operation == Operation::Delete;
    if policies.0.is_empty() || deletes || attributes.object.is_none() || is_exempt(attributes) {
        return Ok(());
    }
    let bindings = server.policies.mutating_bindings.snapshot();
    if attributes.reinvocation.second {
        let object = attributes.object.as_deref().unwrap_or(&Json::Null);
        attributes.reinvocation.policies.resume(object);
    }
    let mut run = Run {
        server,
        namespace: None,
        faults: Vec::new(),
    };
    for policy in policies.0.values() {
        match concerned(policy.matching.as_ref(), server, attributes) {
            Ok(None) => {}
            Ok(Some(shown_as)) => {
                for binding in bindings.of(&policy.name) {
                    run.binding(policy, binding, &shown_as, attributes).await?;
                }
            }
            Err(why) => run.misconfigured(policy, None, &why),
        }
    }
    let object = attributes.object.as_deref().unwrap_or(&Json::Null);
    attributes.reinvocation.policies.leave(object);
    run.verdict(attributes)
}

struct Run<'a> {
    server: &'a Server,
    /// The namespace of the object, once it was needed.
    namespace: Option<Json>,
    /// Why the request is refused.
    faults: Vec<String>,
}

impl Run<'_> {
    fn misconfigured(&mut self, policy: &Policy, binding: Option<&Binding>, why: &str) {
        let what = match binding {
            None => "policy",
            Some(_) => "binding",
        };
        self.fault(
            policy,
            binding,
            &format!("failed to configure {what}: {why}"),
        );
    }

    fn fault(&mut self, policy: &Policy, binding: Option<&Binding>, why: &str) {
        if policy.fails {
            self.faults.push(match binding {
                None => format!("policy \"{}\" denied request: {why}", policy.name),
                Some(binding) => format!(
                    "policy '{}' with binding '{}' denied request: {why}",
                    policy.name, binding.name
                ),
            });
        }
    }

    async fn binding(
        &mut self,
        policy: &Policy,
        binding: &Binding,
        shown_as: &Target,
        attributes: &mut Attributes<'_>,
    ) -> Result<(), Refusal> {
        if let Some(matching) = &binding.matching {
            match target(matching.target(self.server, attributes)) {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(why) => {
                    self.misconfigured(policy, Some(binding), &why);
                    return Ok(());
                }
            }
        }
        let params = match params::find(self.server, policy, binding, attributes) {
            Ok(params) => params,
            Err(params::Failure::Policy(why)) => {
                self.misconfigured(policy, None, &why);
                return Ok(());
            }
            Err(params::Failure::Binding(why)) => {
                self.misconfigured(policy, Some(binding), &why);
                return Ok(());
            }
        };
        for param in &params {
            let key = key(policy, binding, param.as_ref());
            let reinvocation = &attributes.reinvocation;
            if reinvocation.second && !reinvocation.policies.is_required(&key) {
                continue;
            }
            let outcome = self
                .run(policy, shown_as, attributes, param.as_ref())
                .await?;
            let reinvocation = &mut attributes.reinvocation;
            match outcome {
                Ok(true) => {
                    reinvocation.policies.require();
                    reinvocation.wanted = true;
                }
                Ok(false) => {}
                Err(why) => self.fault(policy, Some(binding), &why),
            }
            if policy.reinvokes {
                attributes.reinvocation.policies.remember(&key);
            }
        }
        Ok(())
    }

    /// All mutations of a policy; whether they changed the object.
    async fn run(
        &mut self,
        policy: &Policy,
        shown_as: &Target,
        attributes: &mut Attributes<'_>,
        params: Option<&Json>,
    ) -> Result<Result<bool, String>, Refusal> {
        let (before, old) = review::both_shown(self.server, shown_as, attributes).await?;
        let namespace = namespace_object(self.server, attributes, &mut self.namespace)?;
        let request = review::described(shown_as, attributes);
        let changed = {
            let asker = Asker::new(self.server, attributes);
            let inputs = Inputs {
                object: &before,
                old: &old,
                request: &request,
                params,
                namespace,
                asker: Some(&asker),
            };
            apply_all(policy, shown_as, attributes, inputs)
        };
        let after = match changed {
            Err(why) => return Ok(Err(why)),
            Ok(after) if after == before => return Ok(Ok(false)),
            Ok(after) => after,
        };
        let after = match is_whole(shown_as) {
            true => review::taken_back(self.server, shown_as, attributes.call, after).await?,
            false => after,
        };
        let Some(object) = attributes.object.as_deref_mut() else {
            return Ok(Ok(false));
        };
        let changed = after != *object;
        *object = after;
        Ok(Ok(changed))
    }

    fn verdict(self, attributes: &Attributes<'_>) -> Result<(), Refusal> {
        let Some(first) = self.faults.first() else {
            return Ok(());
        };
        let mut status = attributes.forbidden_status(first);
        status.message.clone_from(first);
        status.reason = "Invalid".into();
        if let Some(details) = &mut status.details {
            let cause = |message| Cause {
                message,
                ..Cause::default()
            };
            details.causes.extend(self.faults.into_iter().map(cause));
        }
        Err(status.into())
    }
}

/// Whether it is the object itself that is shown, not that of a subresource.
fn is_whole(shown_as: &Target) -> bool {
    shown_as.kind.kind == shown_as.resource.kind
}

/// Tells an evaluation from all others.
fn key(policy: &Policy, binding: &Binding, param: Option<&Json>) -> String {
    let meta = |member: &str| {
        let param = param.map(|param| &param["metadata"][member]);
        param.and_then(Json::as_str).unwrap_or_default().to_owned()
    };
    format!(
        "{}/{}/{}/{}",
        policy.name,
        binding.name,
        meta("namespace"),
        meta("name")
    )
}

/// The object after all mutations.
fn apply_all(
    policy: &Policy,
    shown_as: &Target,
    attributes: &Attributes<'_>,
    inputs: Inputs<'_>,
) -> Result<Json, String> {
    let parts = policy.parts();
    if !parts.conditions.hold(inputs)? {
        return Ok(inputs.object.clone());
    }
    let kind = &shown_as.kind;
    let ty = match is_whole(shown_as) {
        true => shown_as.resource.shown_type(),
        false => Schema::builtin().kind(&kind.group, &kind.version, &kind.kind),
    };
    let ty = ty.ok_or_else(|| "the kind has no schema".to_owned())?;
    let mut object = inputs.object.clone();
    for mutation in &parts.mutations {
        let mut changed = changed(mutation, policy, inputs, &object, ty)?;
        if is_whole(shown_as) && shown_as.resource.gvk() == attributes.call.resource.gvk() {
            semantics::set_defaults(attributes.call, &mut changed);
        }
        object = changed;
    }
    Ok(object)
}

fn changed(
    mutation: &Mutation,
    policy: &Policy,
    inputs: Inputs<'_>,
    object: &Json,
    ty: Type<'_>,
) -> Result<Json, String> {
    let inputs = Inputs { object, ..inputs };
    let scope = Scope::new(inputs, &policy.parts().variables, BUDGET);
    match mutation {
        Mutation::Apply(expression) => merged(&scope, expression, object, ty),
        Mutation::Patch(expression) => patched(&scope, expression, object),
    }
}

fn merged<'a>(
    scope: &Scope<'a>,
    expression: &'a Expression,
    object: &Json,
    ty: Type<'_>,
) -> Result<Json, String> {
    let value = scope.run(expression).map_err(|failure| failure.text())?;
    check_names(&value, "Object").map_err(|why| format!("type mismatch: {why}"))?;
    let config = value.to_json().map_err(|why| why.to_string())?;
    merge_unowned(object, &config, ty).map_err(|why| format!("error applying patch: {why}"))
}

/// Every made object is of the type of its path.
fn check_names(value: &Value<'_>, expected: &str) -> Result<(), String> {
    match value {
        Value::Map(Map::Made(made)) => {
            let (name, fields) = &**made;
            if name != expected {
                return Err(format!(
                    "unexpected type name \"{name}\", expected \"{expected}\", which matches field name path from root Object type"
                ));
            }
            fields
                .iter()
                .try_for_each(|(field, value)| check_names(value, &format!("{expected}.{field}")))
        }
        Value::List(list) => list.iter().try_for_each(|element| match element {
            Ok(element) => check_names(&element, expected),
            Err(why) => Err(why.to_string()),
        }),
        Value::Map(Map::Owned(entries)) => entries
            .iter()
            .try_for_each(|(_, value)| check_names(value, expected)),
        _ => Ok(()),
    }
}

fn patched<'a>(
    scope: &Scope<'a>,
    expression: &'a Expression,
    object: &Json,
) -> Result<Json, String> {
    let value = scope.run(expression).map_err(|failure| failure.text())?;
    let operations = value.to_json().map_err(|why| why.to_string())?;
    let operations = operations.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut changed = object.clone();
    for operation in operations {
        // A test that fails is no error: the object stays as it was.
        if operation["op"] == "test" {
            let path = operation["path"].as_str().unwrap_or_default();
            if changed
                .pointer(path)
                .is_some_and(|is| *is != operation["value"])
            {
                return Ok(object.clone());
            }
        }
        let body = serde_json::to_vec(&[operation]).map_err(|why| why.to_string())?;
        changed = patch::operations(&changed, &body).map_err(|why| format!("JSON Patch: {why}"))?;
    }
    Ok(changed)
}
