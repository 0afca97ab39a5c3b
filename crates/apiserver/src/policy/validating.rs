//! ValidatingAdmissionPolicy: refuses, warns or notes what does not hold.

use karve_api::status::{Cause, Status};
use karve_cel::value::Value;
use serde_json::{Value as Json, json};

use super::definition::{Binding, Parts, Policy, Validation};
use super::scope::{Asker, BUDGET, Failure, Inputs, Scope};
use super::{is_exempt, params};
use crate::admission::{Attributes, Notes, lookup};
use crate::answer::Refusal;
use crate::matching::{Matching, Target};
use crate::server::Server;
use crate::webhook::review;

/// The longest message and annotation that an expression may make.
const MESSAGE_MAX: usize = 5 * 1024;
const ANNOTATION_MAX: usize = 10 * 1024;
/// How many failures are noted for the audit log.
const NOTED_MAX: usize = 50;

/// Runs the policies that the request concerns.
pub async fn validate(
    server: &Server,
    attributes: &Attributes<'_>,
    notes: &mut Notes,
) -> Result<(), Refusal> {
    let policies = server.policies.validating.snapshot();
    if policies.0.is_empty() || is_exempt(attributes) {
        return Ok(());
    }
    let bindings = server.policies.validating_bindings.snapshot();
    let mut run = Run {
        server,
        attributes,
        namespace: None,
        verdicts: Verdicts::default(),
    };
    for policy in policies.0.values() {
        let target = match concerned(policy.matching.as_ref(), server, attributes) {
            Ok(Some(target)) => target,
            Ok(None) => continue,
            Err(why) => {
                run.misconfigured(policy, None, &why);
                continue;
            }
        };
        for binding in bindings.of(&policy.name) {
            run.binding(policy, binding, &target).await?;
        }
    }
    run.verdicts.tell(attributes, notes)
}

/// Whether a policy with these constraints is about the request, and as what it wants to see the object.
pub fn concerned(
    matching: Option<&Matching>,
    server: &Server,
    attributes: &Attributes<'_>,
) -> Result<Option<Target>, String> {
    let matching = matching.ok_or("policy contained no match constraints, a required field")?;
    target(matching.target(server, attributes))
}

/// The error of a match as its text.
pub fn target<T>(matched: Result<T, Refusal>) -> Result<T, String> {
    matched.map_err(|refusal| refusal.status().message.clone())
}

struct Run<'a, 'b> {
    server: &'a Server,
    attributes: &'a Attributes<'b>,
    /// The namespace of the object, once it was needed.
    namespace: Option<Json>,
    verdicts: Verdicts,
}

impl Run<'_, '_> {
    /// Refuses because of a policy or a binding that can't be used.
    fn misconfigured(&mut self, policy: &Policy, binding: Option<&Binding>, why: &str) {
        if !policy.fails {
            return;
        }
        let message = match binding {
            None => format!("failed to configure policy: {why}"),
            Some(_) => format!("failed to configure binding: {why}"),
        };
        let denied = Denied {
            policy: policy.name.clone(),
            binding: binding.map(|b| b.name.clone()).unwrap_or_default(),
            message,
            reason: String::new(),
        };
        self.verdicts.denied.push(denied);
    }

    async fn binding(
        &mut self,
        policy: &Policy,
        binding: &Binding,
        shown_as: &Target,
    ) -> Result<(), Refusal> {
        if let Some(matching) = &binding.matching {
            match target(matching.target(self.server, self.attributes)) {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(why) => {
                    self.misconfigured(policy, Some(binding), &why);
                    return Ok(());
                }
            }
        }
        let params = match params::find(self.server, policy, binding, self.attributes) {
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
        let (object, old) = review::both_shown(self.server, shown_as, self.attributes).await?;
        let namespace = namespace_object(self.server, self.attributes, &mut self.namespace)?;
        let request = review::described(shown_as, self.attributes);
        let asker = Asker::new(self.server, self.attributes);
        for param in &params {
            let inputs = Inputs {
                object: &object,
                old: &old,
                request: &request,
                params: param.as_ref(),
                namespace,
                asker: Some(&asker),
            };
            let evaluation = evaluate(policy, inputs);
            self.verdicts.take(policy, binding, evaluation);
        }
        Ok(())
    }
}

/// The namespace of the object, read once; `null` at the cluster scope.
pub fn namespace_object<'n>(
    server: &Server,
    attributes: &Attributes<'_>,
    known: &'n mut Option<Json>,
) -> Result<&'n Json, Refusal> {
    let name = match attributes.concerns("", "namespaces") {
        true => "",
        false => attributes.namespace(),
    };
    if known.is_none() {
        let namespace = match name {
            "" => Some(Json::Null),
            name => lookup::get(server, "", "namespaces", "", name),
        };
        *known = Some(namespace.ok_or_else(|| Status::not_found("", "namespaces", name))?);
    }
    Ok(known.as_ref().unwrap_or(&Json::Null))
}

/// What does not hold.
struct Violation {
    index: usize,
    message: String,
    reason: String,
}

/// What came of a policy, for one binding and one object of parameters.
#[derive(Default)]
struct Evaluation {
    violations: Vec<Violation>,
    /// Refusals that do not depend on the binding's actions, such as failed annotations.
    annotations: Vec<(String, String)>,
    errors: Vec<String>,
}

fn evaluate(policy: &Policy, inputs: Inputs<'_>) -> Evaluation {
    let parts = policy.parts();
    let mut evaluation = Evaluation::default();
    match parts.conditions.hold(inputs) {
        Ok(true) => {}
        Ok(false) => return evaluation,
        Err(why) => {
            if policy.fails {
                evaluation.fail(0, why);
            }
            return evaluation;
        }
    }
    let scope = Scope::new(inputs, &parts.variables, BUDGET);
    for (index, validation) in parts.validations.iter().enumerate() {
        match scope.run(&validation.expression) {
            Ok(Value::Bool(true)) => {}
            Ok(_) => evaluation.violations.push(Violation {
                index,
                message: message(&scope, validation),
                reason: validation.reason.clone(),
            }),
            Err(failure) => {
                let spent = failure == Failure::Budget;
                if policy.fails {
                    evaluation.fail(index, failure.text());
                }
                if spent {
                    return evaluation;
                }
            }
        }
    }
    annotate(policy, parts, &scope, &mut evaluation);
    evaluation
}

impl Evaluation {
    fn fail(&mut self, index: usize, message: String) {
        self.violations.push(Violation {
            index,
            message,
            reason: String::new(),
        });
    }
}

/// The message of a validation that does not hold.
fn message<'a>(scope: &Scope<'a>, validation: &'a Validation) -> String {
    let made = validation
        .message_expression
        .as_ref()
        .and_then(|expression| scope.run(expression).ok());
    if let Some(Value::String(text)) = made {
        let text = text.trim();
        if !text.is_empty() && text.len() <= MESSAGE_MAX && !text.contains('\n') {
            return text.to_owned();
        }
    }
    match validation.message.is_empty() {
        false => validation.message.clone(),
        true => format!("failed expression: {}", validation.expression.text.trim()),
    }
}

fn annotate<'a>(policy: &Policy, parts: &'a Parts, scope: &Scope<'a>, evaluation: &mut Evaluation) {
    for annotation in &parts.annotations {
        match scope.run(&annotation.value) {
            Ok(Value::String(text)) => {
                let text = text.trim();
                let end = (0..=text.len().min(ANNOTATION_MAX))
                    .rev()
                    .find(|end| text.is_char_boundary(*end))
                    .unwrap_or_default();
                if end > 0 {
                    evaluation
                        .annotations
                        .push((annotation.key.clone(), text[..end].to_owned()));
                }
            }
            Ok(Value::Null) => {}
            Ok(other) => evaluation.errors.push(format!(
                "valueExpression '{}' resulted in unsupported return type: {}. Return type must be either string or null.",
                annotation.value.text,
                other.ty()
            )),
            Err(failure) => evaluation.errors.push(failure.text()),
        }
    }
    if !policy.fails {
        evaluation.errors.clear();
    }
}

/// Why a request is refused.
struct Denied {
    policy: String,
    /// Empty when it is the policy's own fault.
    binding: String,
    message: String,
    reason: String,
}

/// What all policies say.
#[derive(Default)]
struct Verdicts {
    denied: Vec<Denied>,
    warnings: Vec<String>,
    noted: Vec<Json>,
    annotations: Vec<(String, Vec<String>)>,
}

impl Verdicts {
    fn take(&mut self, policy: &Policy, binding: &Binding, evaluation: Evaluation) {
        let denied = |message: String, reason: String| Denied {
            policy: policy.name.clone(),
            binding: binding.name.clone(),
            message,
            reason,
        };
        for violation in evaluation.violations {
            for action in &binding.actions {
                match action.as_str() {
                    "Deny" => {
                        let reason = violation.reason.clone();
                        self.denied.push(denied(violation.message.clone(), reason));
                    }
                    "Warn" => self.warnings.push(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                        policy.name, binding.name, violation.message
                    )),
                    "Audit" if self.noted.len() < NOTED_MAX => self.noted.push(json!({
                        "message": violation.message, "policy": policy.name, "binding": binding.name,
                        "expressionIndex": violation.index, "validationActions": binding.actions,
                    })),
                    _ => {}
                }
            }
        }
        for why in evaluation.errors {
            self.denied.push(denied(why, String::new()));
        }
        for (key, value) in evaluation.annotations {
            let key = format!("{}/{key}", policy.name);
            match self.annotations.iter_mut().find(|(known, _)| *known == key) {
                Some((_, values)) if values.contains(&value) => {}
                Some((_, values)) => values.push(value),
                None => self.annotations.push((key, vec![value])),
            }
        }
    }

    /// Tells warnings and annotations, and refuses by the first refusal.
    fn tell(self, attributes: &Attributes<'_>, notes: &mut Notes) -> Result<(), Refusal> {
        notes.warnings.extend(self.warnings);
        if !self.noted.is_empty() {
            let key = "validation.policy.admission.k8s.io/validation_failure".to_owned();
            notes
                .annotations
                .push((key, Json::from(self.noted).to_string()));
        }
        let joined = |(key, values): (String, Vec<String>)| (key, values.join(", "));
        notes
            .annotations
            .extend(self.annotations.into_iter().map(joined));
        match self.denied.into_iter().next() {
            None => Ok(()),
            Some(denied) => Err(denied.refusal(attributes)),
        }
    }
}

impl Denied {
    fn refusal(self, attributes: &Attributes<'_>) -> Refusal {
        let message = match self.binding.is_empty() {
            true => format!(
                "ValidatingAdmissionPolicy '{}' denied request: {}",
                self.policy, self.message
            ),
            false => format!(
                "ValidatingAdmissionPolicy '{}' with binding '{}' denied request: {}",
                self.policy, self.binding, self.message
            ),
        };
        let mut status = attributes.forbidden_status(&message);
        let (reason, code) = match self.reason.as_str() {
            "Forbidden" => ("Forbidden", 403),
            "Unauthorized" => ("Unauthorized", 401),
            "RequestEntityTooLarge" => ("RequestEntityTooLarge", 413),
            _ => ("Invalid", 422),
        };
        status.reason = reason.into();
        status.code = code;
        if let Some(details) = &mut status.details {
            details.causes.push(Cause {
                message,
                ..Cause::default()
            });
        }
        status.into()
    }
}
