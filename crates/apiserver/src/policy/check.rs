//! Whether the expressions of policies, and of the match conditions of webhooks, compile.
//!
//! Expressions that an update leaves as they were may use what new ones may not yet.

use std::collections::{BTreeMap, HashSet};

use karve_api::field::Error;
use karve_api::resource::Resource;
use karve_api::validate::{Purpose, admission_policy, webhook_conditions};
use karve_cel::types::Type;
use serde_json::Value;

use super::env::{Given, env, variable_type};
use super::scope::compile;

/// Adds what is wrong with a policy, a binding, or the match conditions of a webhook configuration.
pub fn check(errors: &mut Vec<Error>, resource: &Resource, old: Option<&Value>, new: &Value) {
    if resource.group != "admissionregistration.k8s.io" {
        return;
    }
    let mut known = HashSet::new();
    old.into_iter().for_each(|old| collect(old, &mut known));
    let mut compiler = Compiler {
        known,
        params: new["spec"]["paramKind"].is_object(),
        mutation: &*resource.plural == "mutatingadmissionpolicies",
        variables: BTreeMap::new(),
    };
    let mut compile = |purpose: Purpose<'_>, text: &str| compiler.compile(purpose, text);
    match resource.plural.ends_with("webhookconfigurations") {
        true => webhook_conditions(errors, new, old, &mut compile),
        false => admission_policy(errors, resource, new, old, &mut compile),
    }
}

/// All texts within a value: an expression among them was accepted before.
fn collect(value: &Value, into: &mut HashSet<String>) {
    match value {
        Value::String(text) => {
            into.insert(text.trim().to_owned());
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
        Value::Object(members) => members.values().for_each(|value| collect(value, into)),
        _ => {}
    }
}

struct Compiler {
    known: HashSet<String>,
    params: bool,
    mutation: bool,
    variables: BTreeMap<String, Type>,
}

impl Compiler {
    fn compile(&mut self, purpose: Purpose<'_>, text: &str) -> Option<String> {
        let given = Given {
            stored: self.known.contains(text.trim()),
            params: self.params,
            authorizer: purpose != Purpose::Message,
            mutation: self.mutation && purpose != Purpose::Condition,
        };
        let variables = (purpose != Purpose::Condition).then_some(&self.variables);
        let outputs: &[Type] = &match purpose {
            Purpose::Condition | Purpose::Validation => vec![Type::Bool],
            Purpose::Variable(_) => Vec::new(),
            Purpose::Message => vec![Type::String],
            Purpose::Annotation => vec![Type::String, Type::Null],
            Purpose::Apply => vec![Type::object("Object")],
            Purpose::Patch => vec![Type::list(Type::object("JSONPatch"))],
        };
        let compiled = compile(text, &env(given, variables), outputs);
        if let Purpose::Variable(name) = purpose {
            let ty = match &compiled {
                Ok(program) => variable_type(program.output()),
                Err(_) => Type::Dyn,
            };
            self.variables.insert(name.to_owned(), ty);
        }
        compiled.err()
    }
}
