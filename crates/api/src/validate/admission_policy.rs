//! Admission policies and their bindings, validating and mutating.
//!
//! Whether an expression compiles is asked of the caller, who knows the expression language.

use std::collections::HashSet;

use serde_json::Value;

use super::checks::{
    Errors, invalid_each, label_selector, list, one_of_if_set, one_of_words, some, text,
};
use super::webhook::rule_with_operations;
use crate::field::{Error, Path};
use crate::names;
use crate::resource::Resource;

const CONDITIONS_MAX: usize = 64;
const ANNOTATIONS_MAX: usize = 20;
const ANNOTATION_EXPRESSION_MAX: usize = 5 * 1024;
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];
const MUTABLE: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];
/// What can't be the name of a variable.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// What an expression is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// Whether a policy is about a request.
    Condition,
    /// The value of a variable with this name, which later expressions may use.
    Variable(&'a str),
    /// Whether a request is right.
    Validation,
    /// What to say when it is not.
    Message,
    /// The value of an annotation for the audit log.
    Annotation,
    /// A configuration that is merged in.
    Apply,
    /// The operations of a JSON patch.
    Patch,
}

/// Says what is wrong with an expression.
pub type Compile<'c> = dyn FnMut(Purpose<'_>, &str) -> Option<String> + 'c;

struct Check<'c, 'f> {
    errors: &'c mut Errors,
    compile: &'c mut Compile<'f>,
}

/// Adds what is wrong with a policy or a binding; any other object has nothing wrong. `old` is what is changed.
pub fn admission_policy(
    errors: &mut Vec<Error>,
    resource: &Resource,
    object: &Value,
    old: Option<&Value>,
    compile: &mut Compile<'_>,
) {
    if resource.group != "admissionregistration.k8s.io" {
        return;
    }
    let mut check = Check { errors, compile };
    let (path, spec) = (Path::root("spec"), &object["spec"]);
    let name = text(&object["metadata"], "name");
    let old = old.map(|old| &old["spec"]);
    match &*resource.plural {
        "validatingadmissionpolicies" => {
            check.common(&path, spec, old, false);
            check.validations(&path, spec, name);
        }
        "mutatingadmissionpolicies" => {
            check.common(&path, spec, old, true);
            check.mutations(&path, spec);
        }
        "validatingadmissionpolicybindings" => check.binding(&path, spec, false),
        "mutatingadmissionpolicybindings" => check.binding(&path, spec, true),
        _ => {}
    }
}

/// Adds what is wrong with the expressions of a webhook configuration's match conditions.
pub fn webhook_conditions(
    errors: &mut Vec<Error>,
    object: &Value,
    old: Option<&Value>,
    compile: &mut Compile<'_>,
) {
    let hooks = list(object, "webhooks");
    let before = old.map(|old| list(old, "webhooks"));
    let conditions = |hooks: &[Value]| -> Vec<Value> {
        hooks.iter().map(|h| h["matchConditions"].clone()).collect()
    };
    if before.is_some_and(|before| conditions(before) == conditions(hooks)) {
        return;
    }
    let path = Path::root("webhooks");
    for (i, hook) in hooks.iter().enumerate() {
        let at = path.index(i);
        let at = at.field("matchConditions");
        for (i, condition) in list(hook, "matchConditions").iter().enumerate() {
            let at = at.index(i);
            let expression = text(condition, "expression").trim();
            if !expression.is_empty()
                && let Some(why) = compile(Purpose::Condition, expression)
            {
                errors.push(Error::invalid(&at.field("expression"), expression, why));
            }
        }
    }
}

impl Check<'_, '_> {
    /// What policies of both kinds have.
    fn common(&mut self, path: &Path<'_>, spec: &Value, old: Option<&Value>, mutating: bool) {
        self.word(path, spec, "failurePolicy", &["Fail", "Ignore"]);
        if let Some(kind) = some(spec, "paramKind") {
            param_kind(self.errors, &path.field("paramKind"), kind);
        }
        let at = path.field("matchConstraints");
        match some(spec, "matchConstraints") {
            None => self.errors.push(Error::required(&at, "")),
            Some(constraints) => {
                self.resources(&at, constraints, mutating);
                if list(constraints, "resourceRules").is_empty() {
                    let at = at.field("resourceRules");
                    self.errors.push(Error::required(&at, ""));
                }
            }
        }
        let kept = |member: &str| old.is_some_and(|old| old[member] == spec[member]);
        if !kept("paramKind") || !kept("matchConditions") {
            self.conditions(
                &path.field("matchConditions"),
                list(spec, "matchConditions"),
            );
        }
        let at = path.field("variables");
        for (i, variable) in list(spec, "variables").iter().enumerate() {
            self.variable(&at.index(i), variable);
        }
    }

    /// A word that has to be there.
    fn word(&mut self, path: &Path<'_>, node: &Value, member: &str, words: &[&str]) {
        let at = path.field(member);
        match some(node, member).and_then(Value::as_str) {
            None => self.errors.push(Error::required(&at, "")),
            Some(word) if !words.contains(&word) => {
                self.errors.push(Error::not_supported(&at, word, words));
            }
            Some(_) => {}
        }
    }

    fn resources(&mut self, path: &Path<'_>, resources: &Value, mutating: bool) {
        self.word(path, resources, "matchPolicy", &["Equivalent", "Exact"]);
        for member in ["namespaceSelector", "objectSelector"] {
            let at = path.field(member);
            match some(resources, member) {
                None => self.errors.push(Error::required(&at, "")),
                Some(selector) => label_selector(self.errors, &at, selector),
            }
        }
        for member in ["resourceRules", "excludeResourceRules"] {
            let at = path.field(member);
            for (i, rule) in list(resources, member).iter().enumerate() {
                named_rule(self.errors, &at.index(i), rule);
            }
        }
        if mutating {
            let rules = path.field("resourceRules");
            let at = rules.field("operations");
            for rule in list(resources, "resourceRules") {
                for operation in list(rule, "operations").iter().filter_map(Value::as_str) {
                    if !MUTABLE.contains(&operation) {
                        let error = Error::not_supported(&at, operation, &MUTABLE);
                        self.errors.push(error);
                    }
                }
            }
        }
    }

    fn conditions(&mut self, path: &Path<'_>, conditions: &[Value]) {
        if conditions.len() > CONDITIONS_MAX {
            let error = Error::too_many(path, conditions.len(), CONDITIONS_MAX);
            self.errors.push(error);
        }
        let mut seen = HashSet::new();
        for (i, condition) in conditions.iter().enumerate() {
            let at = path.index(i);
            let expression = text(condition, "expression").trim();
            match expression {
                "" => {
                    let error = Error::required(&at.field("expression"), "");
                    self.errors.push(error);
                }
                _ => self.compiles(&at.field("expression"), Purpose::Condition, expression),
            }
            let name = text(condition, "name");
            if name.is_empty() {
                self.errors.push(Error::required(&at.field("name"), ""));
                continue;
            }
            let wrong = names::qualified_name(name);
            invalid_each(self.errors, &at.field("name"), name, wrong);
            if !seen.insert(name) {
                self.errors.push(Error::duplicate(&at.field("name"), name));
            }
        }
    }

    fn compiles(&mut self, path: &Path<'_>, purpose: Purpose<'_>, expression: &str) {
        if let Some(why) = (self.compile)(purpose, expression) {
            self.errors.push(Error::invalid(path, expression, why));
        }
    }

    fn variable(&mut self, path: &Path<'_>, variable: &Value) {
        let (name, expression) = (text(variable, "name"), text(variable, "expression"));
        let at = path.field("name");
        if name.trim().is_empty() {
            self.errors
                .push(Error::required(&at, "name is not specified"));
        } else if !is_identifier(name) {
            let why = "must be a valid CEL identifier";
            self.errors.push(Error::invalid(&at, name, why));
        }
        let at = path.field("expression");
        match expression.trim() {
            "" => self
                .errors
                .push(Error::required(&at, "expression is not specified")),
            _ => self.compiles(&at, Purpose::Variable(name), expression),
        }
    }

    fn validations(&mut self, path: &Path<'_>, spec: &Value, name: &str) {
        let validations = list(spec, "validations");
        let annotations = list(spec, "auditAnnotations");
        if validations.is_empty() && annotations.is_empty() {
            let why = "validations or auditAnnotations must contain at least one item";
            for member in ["validations", "auditAnnotations"] {
                self.errors.push(Error::required(&path.field(member), why));
            }
            return;
        }
        let at = path.field("validations");
        for (i, validation) in validations.iter().enumerate() {
            self.validation(&at.index(i), validation);
        }
        let at = path.field("auditAnnotations");
        if annotations.len() > ANNOTATIONS_MAX {
            let why = format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations");
            let all = Value::from(annotations.to_vec());
            self.errors.push(Error::invalid(&at, all, why));
        }
        let mut keys = HashSet::new();
        for (i, annotation) in annotations.iter().enumerate() {
            let at = at.index(i);
            self.annotation(&at, annotation, name);
            let key = text(annotation, "key");
            if !keys.insert(key) {
                self.errors.push(Error::duplicate(&at.field("key"), key));
            }
        }
    }

    fn validation(&mut self, path: &Path<'_>, validation: &Value) {
        let of = |member: &str| text(validation, member);
        let (expression, made, message) =
            (of("expression"), of("messageExpression"), of("message"));
        let at = path.field("expression");
        match expression.trim() {
            "" => self
                .errors
                .push(Error::required(&at, "expression is not specified")),
            _ => self.compiles(&at, Purpose::Validation, expression),
        }
        let blank = |text: &str| !text.is_empty() && text.trim().is_empty();
        let at = path.field("messageExpression");
        if blank(made) {
            self.errors
                .push(Error::invalid(&at, made, "must be non-empty if specified"));
        } else if !made.is_empty() {
            self.compiles(&at, Purpose::Message, made);
        }
        let at = path.field("message");
        let breaks = |text: &str| text.trim().contains(['\n', '\r']);
        if blank(message) {
            let why = "must be non-empty if specified";
            self.errors.push(Error::invalid(&at, message, why));
        } else if breaks(message) {
            let why = "must not contain line breaks";
            self.errors.push(Error::invalid(&at, message, why));
        } else if breaks(expression) && message.trim().is_empty() {
            let why = "message must be specified if expression contains line breaks";
            self.errors.push(Error::required(&at, why));
        }
        one_of_if_set(self.errors, path, validation, "reason", &REASONS);
    }

    fn annotation(&mut self, path: &Path<'_>, annotation: &Value, policy: &str) {
        let key = text(annotation, "key");
        let at = path.field("key");
        if policy.is_empty() {
            let detail = "requires metadata.name be non-empty";
            self.errors.push(Error::invalid(&at, key, detail));
        } else {
            let whole = format!("{policy}/{key}");
            invalid_each(self.errors, &at, &whole, names::qualified_name(&whole));
        }
        let expression = text(annotation, "valueExpression");
        let at = path.field("valueExpression");
        match expression.trim() {
            "" => self
                .errors
                .push(Error::required(&at, "valueExpression is not specified")),
            trimmed if trimmed.len() > ANNOTATION_EXPRESSION_MAX => {
                let why = format!("must not exceed {ANNOTATION_EXPRESSION_MAX} bytes in length");
                self.errors.push(Error::required(&at, why));
            }
            _ => self.compiles(&at, Purpose::Annotation, expression),
        }
    }

    fn mutations(&mut self, path: &Path<'_>, spec: &Value) {
        let mutations = list(spec, "mutations");
        let at = path.field("mutations");
        if mutations.is_empty() {
            let why = "mutations must contain at least one item";
            self.errors.push(Error::required(&at, why));
        }
        for (i, mutation) in mutations.iter().enumerate() {
            self.mutation(&at.index(i), mutation);
        }
        self.word(path, spec, "reinvocationPolicy", &["IfNeeded", "Never"]);
    }

    fn mutation(&mut self, path: &Path<'_>, mutation: &Value) {
        const TYPES: [&str; 2] = ["ApplyConfiguration", "JSONPatch"];
        self.word(path, mutation, "patchType", &TYPES);
        let rows = [
            (
                "ApplyConfiguration",
                "applyConfiguration",
                "jsonPatch",
                Purpose::Apply,
            ),
            (
                "JSONPatch",
                "jsonPatch",
                "applyConfiguration",
                Purpose::Patch,
            ),
        ];
        for (kind, own, other, purpose) in rows {
            if text(mutation, "patchType") != kind {
                continue;
            }
            let at = path.field(own);
            match some(mutation, own) {
                None => {
                    let why = format!("must be specified when patchType is {kind}");
                    self.errors.push(Error::required(&at, why));
                }
                Some(patch) => {
                    let expression = text(patch, "expression");
                    let at = at.field("expression");
                    match expression.trim() {
                        "" => self.errors.push(Error::required(&at, "")),
                        _ => self.compiles(&at, purpose, expression),
                    }
                }
            }
            if some(mutation, other).is_some() {
                let why = format!("must not be specified when patchType is {kind}");
                let shown = format!("{{{other}}}");
                self.errors
                    .push(Error::invalid(&path.field(other), shown, why));
            }
        }
    }

    fn binding(&mut self, path: &Path<'_>, spec: &Value, mutating: bool) {
        let (policy, at) = (text(spec, "policyName"), path.field("policyName"));
        match policy {
            "" => self.errors.push(Error::required(&at, "")),
            _ => invalid_each(self.errors, &at, policy, names::dns1123_subdomain(policy)),
        }
        if let Some(reference) = some(spec, "paramRef") {
            self.param_ref(&path.field("paramRef"), reference);
        }
        if let Some(resources) = some(spec, "matchResources") {
            self.resources(&path.field("matchResources"), resources, mutating);
        }
        if !mutating {
            let at = path.field("validationActions");
            actions(self.errors, &at, list(spec, "validationActions"));
        }
    }

    fn param_ref(&mut self, path: &Path<'_>, reference: &Value) {
        let (name, selector) = (text(reference, "name"), some(reference, "selector"));
        let both = "name and selector are mutually exclusive";
        if !name.is_empty() {
            let at = path.field("name");
            invalid_each(self.errors, &at, name, names::path_segment(name));
            if selector.is_some() {
                self.errors.push(Error::forbidden(&at, both));
            }
        }
        if let Some(selector) = selector {
            let at = path.field("selector");
            label_selector(self.errors, &at, selector);
            if !name.is_empty() {
                self.errors.push(Error::forbidden(&at, both));
            }
        }
        if name.is_empty() && selector.is_none() {
            let why = "one of name or selector must be specified";
            self.errors.push(Error::required(path, why));
        }
        let at = path.field("parameterNotFoundAction");
        match text(reference, "parameterNotFoundAction") {
            "" => self.errors.push(Error::required(&at, "")),
            word => one_of_words(self.errors, &at, word, &["Allow", "Deny"]),
        }
    }
}

fn actions(errors: &mut Errors, path: &Path<'_>, actions: &[Value]) {
    let mut seen = HashSet::new();
    for (i, action) in actions.iter().filter_map(Value::as_str).enumerate() {
        if !ACTIONS.contains(&action) {
            errors.push(Error::not_supported(&path.index(i), action, &ACTIONS));
        }
        if !seen.insert(action) {
            errors.push(Error::duplicate(&path.index(i), action));
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.push(Error::invalid(path, Value::from(actions.to_vec()), why));
    }
    if actions.is_empty() {
        let why = "at least one validation action is required";
        errors.push(Error::required(path, why));
    }
}

fn named_rule(errors: &mut Errors, path: &Path<'_>, rule: &Value) {
    let at = path.field("resourceNames");
    let mut seen = HashSet::new();
    let names = list(rule, "resourceNames").iter();
    for (i, name) in names.filter_map(Value::as_str).enumerate() {
        invalid_each(errors, &at.index(i), name, names::path_segment(name));
        if !seen.insert(name) {
            errors.push(Error::duplicate(&at.index(i), name));
        }
    }
    rule_with_operations(errors, path, rule);
}

fn param_kind(errors: &mut Errors, path: &Path<'_>, kind: &Value) {
    let (api_version, at) = (text(kind, "apiVersion"), path.field("apiVersion"));
    let invalid = |errors: &mut Errors, why: String| {
        errors.push(Error::invalid(&at, api_version, why));
    };
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if api_version.is_empty() {
        errors.push(Error::required(&at, ""));
    } else if version.contains('/') {
        let why = format!("unexpected GroupVersion string: {api_version}");
        invalid(errors, why);
    } else {
        let wrong = names::dns1123_subdomain(group);
        if !group.is_empty() && !wrong.is_empty() {
            invalid(errors, wrong.join(","));
        }
        let wrong = names::dns1035_label(version);
        if version.is_empty() {
            invalid(errors, "version must be specified".to_owned());
        } else if !wrong.is_empty() {
            invalid(errors, wrong.join(","));
        }
    }
    let (name, at) = (text(kind, "kind"), path.field("kind"));
    let wrong = names::dns1035_label(&name.to_lowercase());
    if name.is_empty() {
        errors.push(Error::required(&at, ""));
    } else if !wrong.is_empty() {
        let why = format!(
            "may have mixed case, but should otherwise match: {}",
            wrong.join(",")
        );
        errors.push(Error::invalid(&at, name, why));
    }
}

fn is_identifier(name: &str) -> bool {
    let start = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(start)
        && name.chars().all(|c| start(c) || c.is_ascii_digit())
        && !RESERVED.contains(&name)
}
