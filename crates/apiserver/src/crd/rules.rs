//! Rules in the expression language (`x-kubernetes-validations`): checked in definitions, and kept by objects.
//!
//! The rules of a version are compiled once, when its first object is written. A rule that compares with what was before
//! runs only where there was something to compare with. A failure that was there before, at a value that has not changed,
//! is a warning. Absent: what expressions mean (`karve_cel`).

mod definition;
mod path;

use std::collections::BTreeMap;

use karve_api::crd::Custom;
use karve_api::crd::props::Props;
use karve_api::crd::value::ratchet::Old;
use karve_api::field::{Bad, Error, Kind};
use karve_cel::cost::REQUEST_MAX;
use karve_cel::program::Program;
use karve_cel::rule::{Rule, Rules};
use karve_cel::schema::Decl;
use karve_cel::value::EvalError;
use serde_json::Value;

pub use definition::check as check_definition;

/// What failed, and what failed but did before, too.
#[derive(Debug, Default)]
pub struct Failures {
    /// These refuse the object.
    pub errors: Vec<Error>,
    /// These are told.
    pub warnings: Vec<String>,
}

/// Runs the rules of a version on an object.
pub fn check(custom: &Custom, old: Option<&Value>, new: &Value) -> Failures {
    let compiled = custom.compiled.get_or_init(|| {
        let tree = Node::new(&custom.source, &custom.source, true);
        Box::new(tree)
    });
    let mut run = Run {
        failures: Failures::default(),
        budget: REQUEST_MAX,
    };
    if let Some(Some(tree)) = compiled.downcast_ref::<Option<Node>>() {
        let here = Here {
            new,
            old,
            now: old.map(|old| Old::new(new, old, &custom.schema)),
            above: None,
            schema: Some(&custom.schema),
            whole: true,
        };
        // A stop has left its error behind.
        let _stopped = run.node(tree, &here, "");
    }
    run.failures
}

/// The rules of a place of a schema, and of the places below.
#[derive(Debug)]
struct Node {
    ty: String,
    rules: Option<Result<Own, String>>,
    all_of: Vec<Node>,
    properties: BTreeMap<String, Node>,
    additional: Option<Box<Node>>,
    items: Option<Box<Node>>,
}

#[derive(Debug)]
struct Own {
    env: Rules,
    rules: Vec<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    rule: Result<Rule, String>,
    optional: bool,
    source: String,
    message: String,
    message_source: String,
    message_program: Option<Program>,
    reason: String,
    path: String,
}

/// The rules that a schema has itself.
fn own(schema: &Value) -> &[Value] {
    let rules = schema["x-kubernetes-validations"].as_array();
    rules.map(Vec::as_slice).unwrap_or_default()
}

fn is_embedded(schema: &Value) -> bool {
    schema["x-kubernetes-embedded-resource"] == true
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

const NO_TYPE: &str = "unable to convert structural schema to CEL declarations";

impl Node {
    /// The rules of `schema`, about values of the structural schema `spine`. `root`: it is the schema of a resource.
    fn new(schema: &Value, spine: &Value, root: bool) -> Option<Node> {
        let rules = own(schema);
        let rules = (!rules.is_empty()).then(|| match Decl::of(spine, root, "selfType") {
            Some(decl) => {
                let env = Rules::new(&decl, true);
                let rules = rules
                    .iter()
                    .map(|r| Compiled::new(&env, r, spine))
                    .collect();
                Ok(Own { env, rules })
            }
            None => Err(NO_TYPE.to_owned()),
        });
        let child = |name: &str| {
            let (schema, spine) = (schema.get(name)?, spine.get(name)?);
            Node::new(schema, spine, is_embedded(spine)).map(Box::new)
        };
        let properties = schema["properties"].as_object().into_iter().flatten();
        let properties = properties.filter_map(|(name, schema)| {
            let spine = spine["properties"].get(name)?;
            Some((name.clone(), Node::new(schema, spine, is_embedded(spine))?))
        });
        let all_of = schema["allOf"].as_array().into_iter().flatten();
        let node = Node {
            ty: text(spine, "type").to_owned(),
            rules,
            all_of: all_of.filter_map(|s| Node::new(s, spine, root)).collect(),
            properties: properties.collect(),
            additional: child("additionalProperties"),
            items: child("items"),
        };
        let empty = node.rules.is_none()
            && node.all_of.is_empty()
            && node.properties.is_empty()
            && node.additional.is_none()
            && node.items.is_none();
        (!empty).then_some(node)
    }
}

impl Compiled {
    fn new(env: &Rules, rule: &Value, spine: &Value) -> Compiled {
        let optional = rule["optionalOldSelf"] == true;
        let message_source = text(rule, "messageExpression");
        let message_program = match message_source.is_empty() {
            true => None,
            false => env.compile_message(message_source, optional).ok(),
        };
        Compiled {
            rule: env.compile(text(rule, "rule"), optional),
            optional,
            source: text(rule, "rule").trim().to_owned(),
            message: text(rule, "message").trim().to_owned(),
            message_source: message_source.to_owned(),
            message_program,
            reason: text(rule, "reason").to_owned(),
            path: path::normal(text(rule, "fieldPath"), spine),
        }
    }

    /// The rule in errors.
    fn name(&self) -> &str {
        match self.message.is_empty() {
            true => &self.source,
            false => &self.message,
        }
    }

    fn default_message(&self) -> String {
        match self.message.is_empty() {
            true => format!("failed rule: {}", self.source),
            false => self.message.clone(),
        }
    }

    fn error(&self, at: &str, ty: &str, value: &Value, detail: String) -> Error {
        let shown = match ty {
            "object" | "array" => Bad::Omitted,
            _ => value.into(),
        };
        let (kind, value, detail) = match &*self.reason {
            "FieldValueForbidden" => (Kind::Forbidden, Bad::Omitted, detail),
            "FieldValueRequired" => (Kind::Required, Bad::Omitted, detail),
            "FieldValueDuplicate" => (Kind::Duplicate, shown, String::new()),
            _ => (Kind::Invalid, shown, detail),
        };
        Error {
            kind,
            field: shown_path(at),
            value,
            detail,
        }
    }
}

fn shown_path(at: &str) -> String {
    match at {
        "" => "<nil>".to_owned(),
        at => at.to_owned(),
    }
}

/// A part of an object, what it was, and how it compares.
struct Here<'a> {
    new: &'a Value,
    old: Option<&'a Value>,
    now: Option<Old<'a>>,
    above: Option<Old<'a>>,
    schema: Option<&'a Props>,
    whole: bool,
}

impl<'a> Here<'a> {
    fn is_unchanged(&self) -> bool {
        self.now.or(self.above).is_some_and(Old::is_unchanged)
    }

    fn member(&self, name: &'a str, value: &'a Value) -> Here<'a> {
        let typed = self.whole && matches!(name, "apiVersion" | "kind");
        let (now, above) = match self.now {
            Some(_) if typed => (None, None),
            Some(now) => (now.key(name), Some(now)),
            None => (None, self.above),
        };
        Here {
            new: value,
            old: self.old.and_then(|old| old.get(name)),
            now,
            above,
            schema: self.schema.and_then(|schema| schema.member(name)),
            whole: false,
        }
    }

    fn item(&self, at: usize, value: &'a Value) -> Here<'a> {
        let (now, above) = match self.now {
            Some(now) => (now.index(at), Some(now)),
            None => (None, self.above),
        };
        let lists = self.old.zip(self.schema);
        let before = lists.and_then(|(old, schema)| Old::new(self.new, old, schema).index(at));
        Here {
            new: value,
            old: before.map(Old::value),
            now,
            above,
            schema: self.schema.and_then(|schema| schema.items.as_deref()),
            whole: false,
        }
    }
}

/// No further rules run.
struct Stopped;

struct Run {
    failures: Failures,
    budget: u64,
}

impl Run {
    fn node(&mut self, node: &Node, here: &Here<'_>, at: &str) -> Result<(), Stopped> {
        if here.new.is_null() {
            return Ok(());
        }
        match &node.rules {
            None => {}
            Some(Err(why)) => {
                self.wrong(
                    at,
                    &node.ty,
                    format!("rule compiler initialization error: {why}"),
                );
            }
            Some(Ok(own)) => {
                for rule in &own.rules {
                    self.rule(rule, own, &node.ty, here, at)?;
                }
            }
        }
        for part in &node.all_of {
            let here = Here { now: None, ..*here };
            self.node(part, &here, at)?;
        }
        match here.new {
            Value::Array(items) => {
                let Some(node) = &node.items else {
                    return Ok(());
                };
                for (i, item) in items.iter().enumerate() {
                    self.node(node, &here.item(i, item), &format!("{at}[{i}]"))?;
                }
            }
            Value::Object(members) => {
                for (name, value) in members {
                    if let Some(node) = &node.additional {
                        self.node(node, &here.member(name, value), &format!("{at}[{name}]"))?;
                    }
                    if let Some(node) = node.properties.get(name) {
                        let at = path::child(at, name);
                        self.node(node, &here.member(name, value), &at)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn wrong(&mut self, at: &str, ty: &str, detail: String) {
        self.failures.errors.push(Error {
            kind: Kind::Invalid,
            field: shown_path(at),
            value: ty.into(),
            detail,
        });
    }

    fn pay(&mut self, cost: u64) -> bool {
        let left = self.budget.checked_sub(cost);
        self.budget = left.unwrap_or_default();
        left.is_some()
    }

    fn rule(
        &mut self,
        compiled: &Compiled,
        own: &Own,
        ty: &str,
        here: &Here<'_>,
        at: &str,
    ) -> Result<(), Stopped> {
        let rule = match &compiled.rule {
            Ok(rule) => rule,
            Err(why) => {
                self.wrong(at, ty, format!("rule compile error: {why}"));
                return Ok(());
            }
        };
        let old = here.old.filter(|old| !old.is_null());
        if rule.uses_old_self() && old.is_none() && !compiled.optional {
            return Ok(());
        }
        let ran = own.env.run(rule, here.new, old);
        if self.budget == 0 || !self.pay(ran.cost) {
            let detail = "validation failed due to running out of cost budget, no further validation rules will be run";
            self.wrong(at, ty, detail.to_owned());
            return Err(Stopped);
        }
        match ran.result {
            Ok(true) => Ok(()),
            Ok(false) => self.failed(compiled, rule, own, ty, here, at),
            Err(why) => {
                let name = compiled.name();
                let (detail, stop) = match &why {
                    EvalError::CostLimit => (
                        format!(
                            "'{why}': no further validation rules will be run due to call cost exceeds limit for rule: {name}"
                        ),
                        true,
                    ),
                    EvalError::Failed(text) if text.starts_with("no such overload") => (
                        format!(
                            "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {name}"
                        ),
                        false,
                    ),
                    EvalError::Failed(_) => (format!("{why} evaluating rule: {name}"), false),
                };
                self.wrong(at, ty, detail);
                match stop {
                    true => Err(Stopped),
                    false => Ok(()),
                }
            }
        }
    }

    fn failed(
        &mut self,
        compiled: &Compiled,
        rule: &Rule,
        own: &Own,
        ty: &str,
        here: &Here<'_>,
        at: &str,
    ) -> Result<(), Stopped> {
        let at = match &*compiled.path {
            "" => at.to_owned(),
            path => path::child(at, path),
        };
        let mut detail = compiled.default_message();
        let mut stop = None;
        if let Some(program) = &compiled.message_program {
            let old = here.old.filter(|old| !old.is_null());
            let ran = own.env.message(program, here.new, old);
            let quoted = || karve_api::field::quote(&compiled.message_source);
            if !self.pay(ran.cost) {
                stop = Some(
                    "messageExpression evaluation failed due to running out of cost budget, no further validation rules \
                     will be run"
                        .to_owned(),
                );
            } else {
                match ran.result {
                    Ok(text) => detail = text,
                    Err(EvalError::CostLimit) => {
                        stop = Some(format!(
                            "no further validation rules will be run due to call cost exceeds limit for messageExpression: {}",
                            quoted()
                        ));
                    }
                    // The rule's own message stands in.
                    Err(EvalError::Failed(_)) => {}
                }
            }
        }
        let error = match &stop {
            Some(detail) => Error {
                kind: Kind::Invalid,
                field: shown_path(&at),
                value: ty.into(),
                detail: detail.clone(),
            },
            None => compiled.error(&at, ty, here.new, detail),
        };
        if !rule.uses_old_self() && here.is_unchanged() {
            let warning = format!("{}: {}", error.field, error.body());
            self.failures.warnings.push(warning);
        } else {
            self.failures.errors.push(error);
        }
        match stop {
            Some(_) => Err(Stopped),
            None => Ok(()),
        }
    }
}
