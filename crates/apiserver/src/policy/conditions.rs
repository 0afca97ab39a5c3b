//! Match conditions: expressions that all have to hold for a webhook or a policy to be asked.

use karve_cel::types::Type;
use karve_cel::value::Value;
use serde_json::Value as Json;

use super::env::{Given, env};
use super::scope::{Asker, CONDITIONS_BUDGET, Expression, Failure, Inputs, Scope};
use crate::admission::Attributes;
use crate::answer::Refusal;
use crate::matching::Target;
use crate::server::Server;
use crate::webhook::review;

/// The match conditions of a webhook or a policy.
#[derive(Debug)]
pub struct Conditions(Vec<Expression>);

impl Conditions {
    /// Of a list of `name` and `expression`.
    pub fn new(conditions: &Json, params: bool) -> Conditions {
        let conditions = conditions.as_array().map(Vec::as_slice).unwrap_or_default();
        if conditions.is_empty() {
            return Conditions(Vec::new());
        }
        let given = Given {
            stored: true,
            params,
            authorizer: true,
            mutation: false,
        };
        let env = env(given, None);
        let compile = |condition: &Json| {
            let text = condition["expression"].as_str().unwrap_or_default();
            Expression::compile(text.trim(), &env, &[Type::Bool])
        };
        Conditions(conditions.iter().map(compile).collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all hold. One that does not is enough, whatever is wrong with others.
    pub fn hold(&self, inputs: Inputs<'_>) -> Result<bool, String> {
        if self.is_empty() {
            return Ok(true);
        }
        let inputs = Inputs {
            namespace: &Json::Null,
            ..inputs
        };
        let scope = Scope::new(inputs, &[], CONDITIONS_BUDGET);
        let mut errors = Vec::new();
        for condition in &self.0 {
            match scope.run(condition) {
                Ok(Value::Bool(true)) => {}
                Ok(_) => return Ok(false),
                Err(Failure::Budget) => return Err(Failure::Budget.text()),
                Err(failure) => errors.push(failure.text()),
            }
        }
        match &*errors {
            [] => Ok(true),
            [one] => Err(one.clone()),
            several => Err(format!("[{}]", several.join(", "))),
        }
    }

    /// Whether all hold for what a webhook would see.
    pub async fn hold_for(
        &self,
        server: &Server,
        attributes: &Attributes<'_>,
        target: &Target,
    ) -> Result<Result<bool, String>, Refusal> {
        if self.is_empty() {
            return Ok(Ok(true));
        }
        let (object, old) = review::both_shown(server, target, attributes).await?;
        let asker = Asker::new(server, attributes);
        Ok(self.hold(Inputs {
            object: &object,
            old: &old,
            request: &review::described(target, attributes),
            params: None,
            namespace: &Json::Null,
            asker: Some(&asker),
        }))
    }
}
