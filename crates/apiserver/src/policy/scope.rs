//! Running the expressions of a policy: variables are computed when they are asked for, and all is paid from a budget.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use karve_api::selector::{FieldSelector, LabelSelector};
use karve_cel::cost::CALL_MAX;
use karve_cel::eval::Activation;
use karve_cel::library::authorizer::{Authorizer, Decision, Question, ResourceName, Target};
use karve_cel::program::{CompileError, Program};
use karve_cel::types::Type;
use karve_cel::value::{EvalError, Evaluated, Fields, Map, Value};
use serde_json::Value as Json;

use crate::admission::Attributes;
use crate::authorize;
use crate::identity::Identity;
use crate::server::Server;

/// What the expressions of one binding may cost together.
pub const BUDGET: u64 = 10_000_000;
/// What match conditions may cost together.
pub const CONDITIONS_BUDGET: u64 = 2_500_000;

/// An expression, made ready.
#[derive(Debug)]
pub struct Expression {
    pub text: String,
    pub program: Result<Program, String>,
}

impl Expression {
    /// Compiles it; `outputs` are the types that it may have, none for any.
    pub fn compile(text: &str, env: &karve_cel::env::Env, outputs: &[Type]) -> Expression {
        Expression {
            text: text.to_owned(),
            program: compile(text, env, outputs),
        }
    }
}

/// Compiles an expression; the error is the detail of upstream's field error.
pub fn compile(text: &str, env: &karve_cel::env::Env, outputs: &[Type]) -> Result<Program, String> {
    let program = Program::compile(text, env).map_err(|err| match err {
        CompileError::Issues(issues) => format!("compilation failed: {issues}"),
        CompileError::Constant(text) => format!("program instantiation failed: {text}"),
    })?;
    let output = program.output();
    let fits = |ty: &Type| match (ty, output) {
        (_, Type::Dyn) => true,
        (Type::List(_), Type::List(element)) if element.is_dyn() => true,
        _ => ty == output,
    };
    if outputs.is_empty() || outputs.iter().any(fits) {
        return Ok(program);
    }
    Err(match outputs {
        [one] => format!("must evaluate to {} but got {}", name(one), name(output)),
        several => {
            let several: Vec<String> = several.iter().map(name).collect();
            format!(
                "must evaluate to one of [{}] but got {}",
                several.join(" "),
                name(output)
            )
        }
    })
}

/// The name of a type as declarations have it, which is not always how errors show it.
fn name(ty: &Type) -> String {
    match ty {
        Type::Null => "null_type".to_owned(),
        Type::Timestamp => "google.protobuf.Timestamp".to_owned(),
        Type::Duration => "google.protobuf.Duration".to_owned(),
        Type::List(element) => format!("list({})", name(element)),
        Type::Map(entry) => format!("map({}, {})", name(&entry.0), name(&entry.1)),
        other => other.to_string(),
    }
}

/// A composed variable.
#[derive(Debug)]
pub struct Variable {
    pub name: String,
    pub expression: Expression,
}

/// What expressions see.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    pub object: &'a Json,
    pub old: &'a Json,
    pub request: &'a Json,
    pub params: Option<&'a Json>,
    pub namespace: &'a Json,
    pub asker: Option<&'a Asker<'a>>,
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It is wrong, or does not fit what it is about.
    Expression(String),
    /// The budget is used up: nothing more is evaluated.
    Budget,
}

impl Failure {
    /// The text.
    pub fn text(self) -> String {
        match self {
            Failure::Expression(text) => text,
            Failure::Budget => "validation failed due to running out of cost budget, no further validation rules will be run".to_owned(),
        }
    }
}

/// Where the expressions of one policy run, for one binding and one object of parameters.
pub struct Scope<'a> {
    inputs: Inputs<'a>,
    variables: &'a [Variable],
    known: RefCell<Vec<Option<Evaluated<'a>>>>,
    budget: Cell<u64>,
    me: Weak<Scope<'a>>,
}

impl<'a> Scope<'a> {
    /// A scope with its budget.
    pub fn new(inputs: Inputs<'a>, variables: &'a [Variable], budget: u64) -> Rc<Scope<'a>> {
        Rc::new_cyclic(|me| Scope {
            inputs,
            variables,
            known: RefCell::new(vec![None; variables.len()]),
            budget: Cell::new(budget),
            me: Weak::clone(me),
        })
    }

    /// The value of an expression.
    pub fn run(&self, expression: &'a Expression) -> Result<Value<'a>, Failure> {
        let program = expression
            .program
            .as_ref()
            .map_err(|why| Failure::Expression(format!("compilation error: {why}")))?;
        self.evaluate(program).map_err(|err| match err {
            _ if self.budget.get() == 0 => Failure::Budget,
            err => Failure::Expression(format!(
                "expression '{}' resulted in error: {err}",
                expression.text
            )),
        })
    }

    fn evaluate(&self, program: &'a Program) -> Evaluated<'a> {
        let outcome = program.evaluate(&self.activation(), CALL_MAX);
        let left = self.budget.get();
        self.budget.set(left.saturating_sub(outcome.cost));
        if outcome.cost > left {
            return Err(EvalError::CostLimit);
        }
        outcome.value
    }

    fn activation(&self) -> Activation<'a> {
        let Inputs {
            object,
            old,
            request,
            params,
            namespace,
            asker,
        } = self.inputs;
        let mut activation = Activation::new()
            .with("object", Value::dynamic(object))
            .with("oldObject", Value::dynamic(old))
            .with("request", Value::dynamic(request))
            .with("namespaceObject", Value::dynamic(namespace))
            .with("params", Value::dynamic(params.unwrap_or(&Json::Null)));
        if let Some(asker) = asker {
            activation = activation
                .with("authorizer", Value::authorizer(asker))
                .with(
                    "authorizer.requestResource",
                    Value::resource_authorizer(asker, asker.resource.clone()),
                );
        }
        match self.me.upgrade() {
            Some(me) => activation.with("variables", Value::Map(Map::Lazy(me))),
            None => activation,
        }
    }
}

impl<'a> Fields<'a> for Scope<'a> {
    fn get(&self, name: &str) -> Option<Evaluated<'a>> {
        let index = self.variables.iter().position(|v| v.name == name)?;
        if let Some(known) = &self.known.borrow()[index] {
            return Some(known.clone());
        }
        let variable = &self.variables[index];
        let value = match &variable.expression.program {
            Ok(program) => self.evaluate(program).map_err(|err| match err {
                EvalError::Failed(why) => EvalError::failed(format!(
                    "composited variable \"{name}\" fails to evaluate: {why}"
                )),
                limit => limit,
            }),
            Err(why) => Err(EvalError::failed(format!(
                "composited variable \"{name}\" fails to compile: {why}"
            ))),
        };
        self.known.borrow_mut()[index] = Some(value.clone());
        Some(value)
    }
}

/// Asks the server's authorizer for whoever made the request.
pub struct Asker<'a> {
    server: &'a Server,
    identity: &'a Identity,
    resource: ResourceName,
}

impl<'a> Asker<'a> {
    /// For the request that is admitted.
    pub fn new(server: &'a Server, attributes: &Attributes<'a>) -> Asker<'a> {
        let call = attributes.call;
        Asker {
            server,
            identity: &call.identity,
            resource: ResourceName {
                group: call.resource.group.to_string(),
                resource: call.resource.plural.to_string(),
                subresource: call.path.subresource.clone(),
                namespace: attributes.namespace().to_owned(),
                name: attributes.name().to_owned(),
                ..ResourceName::default()
            },
        }
    }
}

impl Authorizer for Asker<'_> {
    fn authorize(&self, question: &Question<'_>) -> Decision {
        let account = question.service_account.map(|(namespace, name)| {
            let groups = [
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
            ];
            Identity::authenticated(&format!("system:serviceaccount:{namespace}:{name}"), groups)
        });
        let user = account.as_ref().unwrap_or(self.identity);
        let outcome = match &question.target {
            Target::Path(path) => {
                let asked = authorize::Attributes::path(user, question.verb, path);
                self.server.authorizer.decide(&asked)
            }
            Target::Resource(resource) => {
                let fields = FieldSelector::parse(&resource.field_selector).ok();
                let labels = LabelSelector::parse(&resource.label_selector).ok();
                self.server.authorizer.decide(&authorize::Attributes {
                    version: "*",
                    subresource: &resource.subresource,
                    namespace: &resource.namespace,
                    name: &resource.name,
                    fields: fields.as_ref().filter(|f| !f.is_everything()),
                    labels: labels.as_ref().filter(|l| !l.is_everything()),
                    ..authorize::Attributes::resource(
                        user,
                        question.verb,
                        &resource.group,
                        &resource.resource,
                    )
                })
            }
        };
        Decision {
            allowed: outcome.allowed(),
            error: (!outcome.error.is_empty()).then_some(outcome.error),
            reason: outcome.reason,
        }
    }
}
