//! Which requests a webhook or a policy is about: rules, and selectors of namespaces and objects.
//!
//! Deliberately absent: match conditions, which are expressions (`policy::conditions`).

use std::sync::Arc;

use karve_api::resource::{GroupVersionKind, Resource};
use karve_api::selector::LabelSelector;
use karve_api::status::Status;
use serde_json::Value;

use crate::admission::{Attributes, Operation, lookup};
use crate::answer::Refusal;
use crate::server::Server;

/// Which requests a rule is about.
#[derive(Debug, Clone)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: String,
    /// Names of objects; empty for all.
    names: Vec<String>,
}

/// Which requests a webhook or a policy is about.
#[derive(Debug, Clone)]
pub struct Matching {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    /// Whether no rules mean all requests.
    none_is_all: bool,
    equivalent: bool,
    namespaces: Result<LabelSelector, String>,
    objects: Result<LabelSelector, String>,
}

/// The texts of a list.
pub fn texts(list: &Value) -> Vec<String> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Rule {
    fn new(rule: &Value) -> Rule {
        Rule {
            operations: texts(&rule["operations"]),
            groups: texts(&rule["apiGroups"]),
            versions: texts(&rule["apiVersions"]),
            resources: texts(&rule["resources"]),
            scope: rule["scope"].as_str().unwrap_or("*").to_owned(),
            names: texts(&rule["resourceNames"]),
        }
    }

    fn matches(
        &self,
        operation: Operation,
        resource: &Resource,
        subresource: &str,
        scoped: bool,
    ) -> bool {
        let any = |items: &[String], wanted: &str| items.iter().any(|i| i == "*" || i == wanted);
        let in_scope = match self.scope.as_str() {
            "*" => true,
            "Namespaced" => scoped,
            "Cluster" => !scoped,
            _ => false,
        };
        in_scope
            && any(&self.operations, operation.as_str())
            && any(&self.groups, &resource.group)
            && any(&self.versions, &resource.version)
            && self.resources.iter().any(|rule| {
                let (plural, sub) = rule.split_once('/').unwrap_or((rule, ""));
                (plural == "*" || plural == resource.plural) && (sub == "*" || sub == subresource)
            })
    }
}

/// As what a webhook or a policy sees the object.
pub struct Target {
    /// The resource that its rules name: that of the request, or one that shows the same objects.
    pub resource: Arc<Resource>,
    pub kind: GroupVersionKind,
}

impl Matching {
    /// Of a webhook, whose rules are in `rules`.
    pub fn new(object: &Value, rules: &str) -> Matching {
        let selector = |member: &str| match object.get(member).filter(|s| s.is_object()) {
            None => Ok(LabelSelector::everything()),
            selector => LabelSelector::from_object(selector).map_err(|e| e.to_string()),
        };
        let list = |member: &str| {
            let rules = object[member].as_array().into_iter().flatten();
            rules.map(Rule::new).collect()
        };
        Matching {
            rules: list(rules),
            excluded: list("excludeResourceRules"),
            none_is_all: false,
            equivalent: object["matchPolicy"].as_str().unwrap_or("Equivalent") == "Equivalent",
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
        }
    }

    /// Of a policy or a binding: `matchConstraints` or `matchResources`.
    pub fn of_policy(resources: &Value) -> Matching {
        Matching {
            none_is_all: true,
            ..Matching::new(resources, "resourceRules")
        }
    }

    /// Whether it is about the request, and as what it wants to see the object.
    pub fn target(
        &self,
        server: &Server,
        attributes: &Attributes<'_>,
    ) -> Result<Option<Target>, Refusal> {
        // Cheap first: most requests concern nobody.
        if self.find(&self.excluded, server, attributes).is_some() {
            return Ok(None);
        }
        let resource = match self.rules.is_empty() && self.none_is_all {
            true => Some(attributes.call.resource.clone()),
            false => self.find(&self.rules, server, attributes),
        };
        let Some(resource) = resource else {
            return Ok(None);
        };
        if !self.selects_namespace(server, attributes)? || !self.selects_object(attributes)? {
            return Ok(None);
        }
        let subresource = &*attributes.call.path.subresource;
        let kind = match resource.subresource(subresource) {
            Some(subresource) => subresource.kind.clone(),
            None => resource.gvk(),
        };
        Ok(Some(Target { resource, kind }))
    }

    fn find(
        &self,
        rules: &[Rule],
        server: &Server,
        attributes: &Attributes<'_>,
    ) -> Option<Arc<Resource>> {
        let own = &attributes.call.resource;
        let subresource = &*attributes.call.path.subresource;
        let scoped = !attributes.namespace().is_empty();
        let matches = |rule: &Rule, resource: &Resource| {
            rule.matches(attributes.operation, resource, subresource, scoped)
                && (rule.names.is_empty() || rule.names.iter().any(|n| n == attributes.name()))
        };
        if rules.iter().any(|rule| matches(rule, own)) {
            return Some(own.clone());
        }
        if !self.equivalent || own.storage.is_none() {
            return None;
        }
        let served = server.served();
        let same = |other: &Resource| {
            other.storage.is_some()
                && other.plural == own.plural
                && other.storage.as_ref().map(|s| &s.group)
                    == own.storage.as_ref().map(|s| &s.group)
                && (other.group != own.group || other.version != own.version)
        };
        let equivalents: Vec<&Arc<Resource>> = served
            .table
            .resources()
            .filter(|other| same(other))
            .collect();
        rules
            .iter()
            .find_map(|rule| equivalents.iter().find(|other| matches(rule, other)))
            .map(|resource| (*resource).clone())
    }

    fn selects_namespace(
        &self,
        server: &Server,
        attributes: &Attributes<'_>,
    ) -> Result<bool, Refusal> {
        let of_namespaces = attributes.concerns("", "namespaces");
        if attributes.namespace().is_empty() && !of_namespaces {
            return Ok(true);
        }
        let selector = self
            .namespaces
            .as_ref()
            .map_err(|why| Status::internal(why.clone()))?;
        if selector.is_everything() {
            return Ok(true);
        }
        let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
        if of_namespaces && writes && attributes.call.path.subresource.is_empty() {
            return Ok(selector.matches_object(attributes.object()));
        }
        let name = match of_namespaces {
            true => attributes.name(),
            false => attributes.namespace(),
        };
        match lookup::get(server, "", "namespaces", "", name) {
            Some(namespace) => Ok(selector.matches_object(&namespace)),
            None => Err(Status::not_found("", "namespaces", name).into()),
        }
    }

    fn selects_object(&self, attributes: &Attributes<'_>) -> Result<bool, Refusal> {
        let selector = self
            .objects
            .as_ref()
            .map_err(|why| Status::internal(why.clone()))?;
        let object = attributes.object.as_deref();
        Ok(selector.is_everything()
            || object.is_some_and(|object| selector.matches_object(object))
            || attributes
                .old
                .is_some_and(|old| selector.matches_object(old)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use karve_api::resource::Table;
    use serde_json::json;

    #[test]
    fn rules_match_as_they_say() {
        let rule = |resources: Value, scope: &str| {
            Rule::new(
                &json!({"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["*"],
                "resources": resources, "scope": scope}),
            )
        };
        let deployments = Table::builtin()
            .lookup("apps", "v1", "deployments")
            .expect("built in");
        let rows = [
            (json!(["deployments"]), "*", "", true),
            (json!(["deployments"]), "*", "scale", false),
            (json!(["deployments/*"]), "*", "scale", true),
            (json!(["deployments/*"]), "*", "", true),
            (json!(["*/scale"]), "Namespaced", "scale", true),
            (json!(["*"]), "Cluster", "", false),
            (json!(["*/*"]), "*", "status", true),
            (json!(["pods"]), "*", "", false),
        ];
        for (resources, scope, subresource, want) in rows {
            let rule = rule(resources, scope);
            assert_eq!(
                rule.matches(Operation::Create, deployments, subresource, true),
                want,
                "{rule:?}"
            );
            assert!(!rule.matches(Operation::Delete, deployments, subresource, true));
        }
    }
}
