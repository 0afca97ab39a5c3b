//! Rules of custom resources: `x-kubernetes-validations` at one place of a schema.
//!
//! Whoever validates an object goes through it along its schema, runs the rules of each place, and keeps the
//! budget of the request. The texts are upstream's.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::cost::CALL_MAX;
use crate::env::Env;
use crate::eval::Activation;
use crate::program::{CompileError, Program};
use crate::schema::Decl;
use crate::types::Type;
use crate::value::{EvalError, Value};

/// The longest message that an expression may make, in bytes.
const MESSAGE_MAX: usize = 5 * 1024;

/// The variables that rules have.
const SELF: &str = "self";
const OLD_SELF: &str = "oldSelf";

/// The environment of the rules of one place of a schema.
#[derive(Debug, Clone)]
pub struct Rules {
    decl: Arc<Decl>,
    plain: Env,
    optional: Env,
}

/// A compiled rule, with the expression of its message if it has one.
#[derive(Debug)]
pub struct Rule {
    program: Program,
    optional: bool,
}

/// What came of a rule or a message.
#[derive(Debug)]
pub struct Ran<T> {
    /// The result, or why there is none.
    pub result: Result<T, EvalError>,
    /// What it cost, to be taken from the budget.
    pub cost: u64,
}

impl Rules {
    /// The rules of a place whose values are declared so. `stored` rules may use what new ones may not yet.
    pub fn new(decl: &Arc<Decl>, stored: bool) -> Rules {
        let base = Env::new(stored).declared(SELF, decl).sizes(decl);
        Rules {
            decl: Arc::clone(decl),
            plain: base.clone().declared(OLD_SELF, decl),
            optional: base.declared_optional(OLD_SELF, decl),
        }
    }

    fn env(&self, optional: bool) -> &Env {
        if optional {
            &self.optional
        } else {
            &self.plain
        }
    }

    /// Compiles a rule. With `optional`, `oldSelf` is an optional value, and the rule runs on create too. The
    /// error is the detail of upstream's field error.
    pub fn compile(&self, rule: &str, optional: bool) -> Result<Rule, String> {
        let program = Program::compile(rule, self.env(optional)).map_err(|err| match err {
            CompileError::Issues(issues) => format!("compilation failed: {issues}"),
            CompileError::Constant(text) => format!("program instantiation failed: {text}"),
        })?;
        if *program.output() != Type::Bool {
            return Err("cel expression must evaluate to a bool".to_owned());
        }
        Ok(Rule { program, optional })
    }

    /// Compiles the expression of a message.
    pub fn compile_message(&self, expression: &str, optional: bool) -> Result<Program, String> {
        let program =
            Program::compile(expression, self.env(optional)).map_err(|err| match err {
                CompileError::Issues(issues) => {
                    format!("messageExpression compilation failed: {issues}")
                }
                CompileError::Constant(text) => {
                    format!("messageExpression instantiation failed: {text}")
                }
            })?;
        if *program.output() != Type::String {
            return Err("messageExpression must evaluate to a string".to_owned());
        }
        Ok(program)
    }

    /// How often values of this place may occur in one request at most.
    pub fn max_cardinality(&self) -> u64 {
        self.decl.max_cardinality()
    }

    /// Runs a rule on a value and on what it was before.
    pub fn run(&self, rule: &Rule, value: &Json, old: Option<&Json>) -> Ran<bool> {
        let outcome = rule
            .program
            .evaluate(&self.activation(value, old, rule.optional), CALL_MAX);
        let result = outcome.value.and_then(|value| match value {
            Value::Bool(holds) => Ok(holds),
            _ => Err(EvalError::no_such_overload()),
        });
        Ran {
            result,
            cost: outcome.cost,
        }
    }

    /// Makes a message about a value. One that can't be shown is an error; the rule's own text then stands in.
    pub fn message(&self, program: &Program, value: &Json, old: Option<&Json>) -> Ran<String> {
        let outcome = program.evaluate(&self.activation(value, old, false), CALL_MAX);
        Ran {
            result: outcome.value.and_then(|value| message_text(&value)),
            cost: outcome.cost,
        }
    }

    fn activation<'a>(
        &'a self,
        value: &'a Json,
        old: Option<&'a Json>,
        optional: bool,
    ) -> Activation<'a> {
        let activation = Activation::new().with_evaluated(SELF, Value::declared(value, &self.decl));
        let old = old
            .filter(|old| !old.is_null())
            .map(|old| Value::declared(old, &self.decl));
        match (old, optional) {
            (Some(old), false) => activation.with_evaluated(OLD_SELF, old),
            (Some(old), true) => activation.with_evaluated(OLD_SELF, old.map(Value::some)),
            (None, true) => activation.with(OLD_SELF, Value::Optional(None)),
            (None, false) => activation,
        }
    }
}

impl Rule {
    /// Whether the rule compares with what was before. It then runs only when there was something, unless
    /// `oldSelf` is optional.
    pub fn uses_old_self(&self) -> bool {
        self.program.uses(OLD_SELF)
    }

    /// What it costs at most by estimate.
    pub fn max_cost(&self) -> u64 {
        self.program.estimate().max
    }
}

/// The text of a message: one line, not empty, not too long.
pub fn message_text(value: &Value<'_>) -> Result<String, EvalError> {
    let Value::String(text) = value else {
        return Err(EvalError::failed(
            "messageExpression failed to convert to string",
        ));
    };
    let text = text.trim();
    if text.len() > MESSAGE_MAX {
        return Err(EvalError::failed(format!(
            "messageExpression beyond allowable length of {MESSAGE_MAX}"
        )));
    }
    if text.contains('\n') {
        return Err(EvalError::failed(
            "messageExpression should not contain line breaks",
        ));
    }
    if text.is_empty() {
        return Err(EvalError::failed(
            "messageExpression should evaluate to a non-empty string",
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules() -> Rules {
        let schema = json!({
            "type": "object",
            "properties": {
                "min": {"type": "integer"},
                "max": {"type": "integer"},
                "name": {"type": "string", "maxLength": 20},
            },
        });
        Rules::new(&Decl::of(&schema, false, "selfType").unwrap(), false)
    }

    #[test]
    fn rules_hold_or_not() {
        let rules = rules();
        for (rule, value, holds) in [
            ("self.min <= self.max", json!({"min": 1, "max": 2}), true),
            ("self.min <= self.max", json!({"min": 5, "max": 1}), false),
            (
                "!has(self.name) || self.name.startsWith('a')",
                json!({}),
                true,
            ),
            (
                "!has(self.name) || self.name.startsWith('a')",
                json!({"name": "b"}),
                false,
            ),
        ] {
            let rule = rules.compile(rule, false).unwrap();
            assert_eq!(rules.run(&rule, &value, None).result, Ok(holds));
        }
    }

    #[test]
    fn wrong_rules_are_refused_with_the_place() {
        let rules = rules();
        for (rule, text) in [
            (
                "self.foo > 1",
                "compilation failed: ERROR: <input>:1:5: undefined field 'foo'\n | self.foo > 1\n | ....^",
            ),
            ("self.min + 1", "cel expression must evaluate to a bool"),
            (
                "int('x') == 1",
                "program instantiation failed: type conversion error from 'string' to 'int'",
            ),
        ] {
            assert_eq!(rules.compile(rule, false).err().as_deref(), Some(text));
        }
    }

    #[test]
    fn an_optional_old_self_is_none_on_create() {
        let rules = rules();
        let rule = rules
            .compile(
                "!oldSelf.hasValue() || oldSelf.value().min <= self.min",
                true,
            )
            .unwrap();
        assert!(rule.uses_old_self());
        let (one, two) = (json!({"min": 1}), json!({"min": 2}));
        assert_eq!(rules.run(&rule, &one, None).result, Ok(true));
        assert_eq!(rules.run(&rule, &two, Some(&one)).result, Ok(true));
        assert_eq!(rules.run(&rule, &one, Some(&two)).result, Ok(false));
    }

    #[test]
    fn messages_are_one_line() {
        let rules = rules();
        let value = json!({"name": "b"});
        for (expression, text) in [
            ("'bad name: ' + self.name", Some("bad name: b")),
            ("'a\\nb'", None),
            ("' '", None),
        ] {
            let program = rules.compile_message(expression, false).unwrap();
            assert_eq!(
                rules.message(&program, &value, None).result.ok().as_deref(),
                text
            );
        }
    }
}
