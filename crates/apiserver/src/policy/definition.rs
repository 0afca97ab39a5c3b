//! Policies and bindings as they are kept: read when they change, compiled when they are first needed.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use karve_cel::types::Type;
use serde_json::Value;

use super::conditions::Conditions;
use super::env::{Given, env, variable_type};
use super::scope::{Expression, Variable};
use crate::follow::Index;
use crate::matching::{Matching, texts};

/// A policy.
pub struct Policy {
    pub name: String,
    pub matching: Option<Matching>,
    /// Version and kind of parameters, as the policy writes them.
    pub param_kind: Option<(String, String)>,
    /// Whether a failure refuses the request.
    pub fails: bool,
    /// Whether it wants to see what others changed after it.
    pub reinvokes: bool,
    spec: Value,
    parts: OnceLock<Parts>,
}

/// The expressions of a policy.
pub struct Parts {
    pub conditions: Conditions,
    pub variables: Vec<Variable>,
    pub validations: Vec<Validation>,
    pub annotations: Vec<Annotation>,
    pub mutations: Vec<Mutation>,
}

/// What has to hold, and what is said when it does not.
pub struct Validation {
    pub expression: Expression,
    pub message_expression: Option<Expression>,
    pub message: String,
    pub reason: String,
}

/// What is told to the audit log.
pub struct Annotation {
    pub key: String,
    pub value: Expression,
}

/// What changes an object.
pub enum Mutation {
    /// An expression that makes an `Object`, which is merged in.
    Apply(Expression),
    /// An expression that makes a list of `JSONPatch`.
    Patch(Expression),
}

impl Policy {
    fn new(policy: &Value) -> Policy {
        let spec = &policy["spec"];
        let kind = &spec["paramKind"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Policy {
            name: text(&policy["metadata"]["name"]),
            matching: spec["matchConstraints"]
                .is_object()
                .then(|| Matching::of_policy(&spec["matchConstraints"])),
            param_kind: kind
                .is_object()
                .then(|| (text(&kind["apiVersion"]), text(&kind["kind"]))),
            fails: spec["failurePolicy"] != "Ignore",
            reinvokes: spec["reinvocationPolicy"] == "IfNeeded",
            spec: spec.clone(),
            parts: OnceLock::new(),
        }
    }

    /// The expressions, compiled.
    pub fn parts(&self) -> &Parts {
        self.parts.get_or_init(|| self.compile())
    }

    fn compile(&self) -> Parts {
        let spec = &self.spec;
        let text = |value: &Value| value.as_str().unwrap_or_default().trim().to_owned();
        let given = Given {
            stored: true,
            params: self.param_kind.is_some(),
            authorizer: true,
            mutation: spec["mutations"].is_array(),
        };
        let (variables, types) = compose(&spec["variables"], given);
        let full = env(given, Some(&types));
        let unasked = Given {
            authorizer: false,
            ..given
        };
        let messages = env(unasked, Some(&types));
        let list = |name: &str| spec[name].as_array().cloned().unwrap_or_default();
        let validation = |validation: &Value| Validation {
            expression: Expression::compile(&text(&validation["expression"]), &full, &[Type::Bool]),
            message_expression: validation["messageExpression"]
                .as_str()
                .filter(|text| !text.is_empty())
                .map(|text| Expression::compile(text.trim(), &messages, &[Type::String])),
            message: text(&validation["message"]),
            reason: text(&validation["reason"]),
        };
        let annotation = |annotation: &Value| Annotation {
            key: text(&annotation["key"]),
            value: Expression::compile(
                &text(&annotation["valueExpression"]),
                &full,
                &[Type::String, Type::Null],
            ),
        };
        Parts {
            conditions: Conditions::new(&spec["matchConditions"], given.params),
            validations: list("validations").iter().map(validation).collect(),
            mutations: list("mutations")
                .iter()
                .map(|mutation| compile_mutation(mutation, given, &types))
                .collect(),
            annotations: list("auditAnnotations").iter().map(annotation).collect(),
            variables,
        }
    }
}

fn compile_mutation(mutation: &Value, given: Given, types: &BTreeMap<String, Type>) -> Mutation {
    let expression = |member: &str, output: Type| {
        let text = mutation[member]["expression"].as_str().unwrap_or_default();
        Expression::compile(text.trim(), &env(given, Some(types)), &[output])
    };
    match mutation["patchType"].as_str() {
        Some("JSONPatch") => Mutation::Patch(expression(
            "jsonPatch",
            Type::list(Type::object("JSONPatch")),
        )),
        _ => Mutation::Apply(expression("applyConfiguration", Type::object("Object"))),
    }
}

/// Compiles composed variables: each may use those before it.
pub fn compose(variables: &Value, given: Given) -> (Vec<Variable>, BTreeMap<String, Type>) {
    let mut types = BTreeMap::new();
    let mut composed = Vec::new();
    for variable in variables.as_array().into_iter().flatten() {
        let name = variable["name"].as_str().unwrap_or_default();
        let text = variable["expression"].as_str().unwrap_or_default();
        let expression = Expression::compile(text.trim(), &env(given, Some(&types)), &[]);
        let ty = match &expression.program {
            Ok(program) => variable_type(program.output()),
            Err(_) => Type::Dyn,
        };
        types.insert(name.to_owned(), ty);
        composed.push(Variable {
            name: name.to_owned(),
            expression,
        });
    }
    (composed, types)
}

/// Where a policy holds.
pub struct Binding {
    pub name: String,
    pub policy: String,
    pub param_ref: Value,
    pub matching: Option<Matching>,
    /// What to do about failures: Deny, Warn, Audit.
    pub actions: Vec<String>,
}

impl Binding {
    fn new(binding: &Value) -> Binding {
        let spec = &binding["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Binding {
            name: text(&binding["metadata"]["name"]),
            policy: text(&spec["policyName"]),
            param_ref: spec["paramRef"].clone(),
            matching: spec["matchResources"]
                .is_object()
                .then(|| Matching::of_policy(&spec["matchResources"])),
            actions: texts(&spec["validationActions"]),
        }
    }
}

/// All policies of a kind, by the keys of their objects.
#[derive(Clone, Default)]
pub struct Definitions(pub BTreeMap<String, Arc<Policy>>);

impl Index for Definitions {
    fn apply(&mut self, key: &str, value: Option<&[u8]>) {
        match value.map(|v| serde_json::from_slice(v).unwrap_or_default()) {
            Some(policy) => self
                .0
                .insert(key.to_owned(), Arc::new(Policy::new(&policy))),
            None => self.0.remove(key),
        };
    }
}

/// All bindings of a kind, by the keys of their objects.
#[derive(Clone, Default)]
pub struct Bindings(BTreeMap<String, Arc<Binding>>);

impl Bindings {
    /// The bindings of a policy, by name.
    pub fn of<'a>(&'a self, policy: &'a str) -> impl Iterator<Item = &'a Arc<Binding>> {
        self.0.values().filter(move |b| b.policy == policy)
    }
}

impl Index for Bindings {
    fn apply(&mut self, key: &str, value: Option<&[u8]>) {
        match value.map(|v| serde_json::from_slice(v).unwrap_or_default()) {
            Some(binding) => self
                .0
                .insert(key.to_owned(), Arc::new(Binding::new(&binding))),
            None => self.0.remove(key),
        };
    }
}
