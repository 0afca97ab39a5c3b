//! A configured webhook, and whether a request concerns it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use karve_api::resource::{GroupVersionKind, Resource};
use karve_api::selector::LabelSelector;
use karve_api::status::Status;
use serde_json::Value;

use super::client::Client;
use crate::admission::{Attributes, Operation, lookup};
use crate::answer::Refusal;
use crate::egress::Egress;
use crate::server::Server;
use crate::snapshot::Derived;

/// All webhooks of one kind, by the names of their configurations.
#[derive(Clone, Default)]
pub struct Hooks(BTreeMap<String, Vec<Arc<Hook>>>);

impl Hooks {
    /// In the order in which they are asked.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Hook>> {
        self.0.values().flatten()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Derived for Hooks {
    fn put(&mut self, key: &str, value: &[u8]) {
        let configuration: Value = serde_json::from_slice(value).unwrap_or_default();
        let name = configuration["metadata"]["name"]
            .as_str()
            .unwrap_or_default();
        let hooks = configuration["webhooks"].as_array().into_iter().flatten();
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        let hooks = hooks.map(|hook| {
            let number = seen
                .entry(hook["name"].as_str().unwrap_or_default())
                .or_default();
            *number += 1;
            Arc::new(Hook::new(name, *number - 1, hook))
        });
        self.0.insert(key.to_owned(), hooks.collect());
    }

    fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }
}

/// Which requests a rule is about.
#[derive(Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: String,
}

/// A configured webhook.
pub struct Hook {
    /// Tells it from all others.
    pub(super) id: String,
    pub(super) configuration: String,
    pub(super) name: String,
    rules: Vec<Rule>,
    equivalent: bool,
    namespaces: Result<LabelSelector, String>,
    objects: Result<LabelSelector, String>,
    /// Whether a request goes on when the webhook fails.
    pub(super) ignores_failure: bool,
    pub(super) reinvokes: bool,
    /// Whether it may be asked although nothing will be stored.
    pub(super) dry_run: bool,
    pub(super) timeout: Duration,
    pub(super) versions: Vec<String>,
    client_config: Value,
    client: OnceLock<Result<Client, String>>,
}

fn texts(list: &Value) -> Vec<String> {
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

/// As what a webhook sees the object.
pub struct Target {
    /// The resource that its rules name: that of the request, or one that shows the same objects.
    pub(super) resource: Arc<Resource>,
    pub(super) kind: GroupVersionKind,
}

impl Hook {
    fn new(configuration: &str, number: usize, hook: &Value) -> Hook {
        let text = |member: &str| hook[member].as_str().unwrap_or_default();
        let selector = |member: &str| match hook.get(member).filter(|s| s.is_object()) {
            None => Ok(LabelSelector::everything()),
            selector => LabelSelector::from_object(selector).map_err(|e| e.to_string()),
        };
        let seconds = hook["timeoutSeconds"].as_u64().unwrap_or(10);
        Hook {
            id: format!("{configuration}/{}/{number}", text("name")),
            configuration: configuration.to_owned(),
            name: text("name").to_owned(),
            rules: hook["rules"]
                .as_array()
                .into_iter()
                .flatten()
                .map(Rule::new)
                .collect(),
            equivalent: text("matchPolicy") == "Equivalent",
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
            ignores_failure: text("failurePolicy") == "Ignore",
            reinvokes: text("reinvocationPolicy") == "IfNeeded",
            dry_run: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
            timeout: Duration::from_secs(seconds.clamp(1, 30)),
            versions: texts(&hook["admissionReviewVersions"]),
            client_config: hook["clientConfig"].clone(),
            client: OnceLock::new(),
        }
    }

    pub(super) fn client(&self, egress: &Egress) -> Result<&Client, String> {
        let client = self
            .client
            .get_or_init(|| Client::new(&self.client_config, egress.clone()));
        client.as_ref().map_err(Clone::clone)
    }

    /// Whether the request concerns the webhook, and as what it wants to see the object.
    pub(super) fn target(
        &self,
        server: &Server,
        attributes: &Attributes<'_>,
    ) -> Result<Option<Target>, Refusal> {
        // Cheap first: most requests concern nobody.
        let Some(resource) = self.resource(server, attributes) else {
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

    fn resource(&self, server: &Server, attributes: &Attributes<'_>) -> Option<Arc<Resource>> {
        let own = &attributes.call.resource;
        let subresource = &*attributes.call.path.subresource;
        let scoped = !attributes.namespace().is_empty();
        let matches = |rule: &Rule, resource: &Resource| {
            rule.matches(attributes.operation, resource, subresource, scoped)
        };
        if self.rules.iter().any(|rule| matches(rule, own)) {
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
        self.rules
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

    #[test]
    fn hooks_follow_their_configurations_in_the_order_of_names() {
        let mut hooks = Hooks::default();
        let configuration = |name: &str, hooks: &[&str]| {
            let hooks: Vec<Value> = hooks.iter().map(|name| json!({"name": name})).collect();
            serde_json::to_vec(&json!({"metadata": {"name": name}, "webhooks": hooks}))
                .expect("JSON")
        };
        hooks.put("/b", &configuration("b", &["x", "x"]));
        hooks.put("/a", &configuration("a", &["y"]));
        let ids = |hooks: &Hooks| hooks.iter().map(|hook| hook.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&hooks), ["a/y/0", "b/x/0", "b/x/1"]);
        hooks.put("/b", &configuration("b", &["z"]));
        hooks.remove("/a");
        assert_eq!(ids(&hooks), ["b/z/0"]);
        hooks.put("/c", b"broken");
        assert_eq!(ids(&hooks), ["b/z/0"]);
    }
}
