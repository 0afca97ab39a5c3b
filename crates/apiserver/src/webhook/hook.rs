//! A configured webhook, and whether a request concerns it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;

use super::client::Client;
use crate::admission::Attributes;
use crate::answer::Refusal;
use crate::egress::Egress;
use crate::follow::Index;
use crate::matching::{Matching, Target, texts};
use crate::policy::conditions::Conditions;
use crate::server::Server;

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

impl Index for Hooks {
    fn apply(&mut self, key: &str, value: Option<&[u8]>) {
        let Some(value) = value else {
            self.0.remove(key);
            return;
        };
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
}

/// A configured webhook.
pub struct Hook {
    /// Tells it from all others.
    pub(super) id: String,
    pub(super) configuration: String,
    pub(super) name: String,
    matching: Matching,
    conditions: OnceLock<Conditions>,
    match_conditions: Value,
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

impl Hook {
    fn new(configuration: &str, number: usize, hook: &Value) -> Hook {
        let text = |member: &str| hook[member].as_str().unwrap_or_default();
        let seconds = hook["timeoutSeconds"].as_u64().unwrap_or(10);
        Hook {
            id: format!("{configuration}/{}/{number}", text("name")),
            configuration: configuration.to_owned(),
            name: text("name").to_owned(),
            matching: Matching::new(hook, "rules"),
            conditions: OnceLock::new(),
            match_conditions: hook["matchConditions"].clone(),
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
    pub(super) async fn target(
        &self,
        server: &Server,
        attributes: &Attributes<'_>,
    ) -> Result<Option<Target>, Refusal> {
        let Some(target) = self.matching.target(server, attributes)? else {
            return Ok(None);
        };
        let conditions = self
            .conditions
            .get_or_init(|| Conditions::new(&self.match_conditions, false));
        match conditions.hold_for(server, attributes, &target).await? {
            Ok(holds) => Ok(holds.then_some(target)),
            Err(why) if self.ignores_failure => {
                tracing::warn!(webhook = %self.name, why, "match conditions failed, webhook is not asked");
                Ok(None)
            }
            Err(why) => Err(attributes.forbidden(&why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hooks_follow_their_configurations_in_the_order_of_names() {
        let mut hooks = Hooks::default();
        let configuration = |name: &str, hooks: &[&str]| {
            let hooks: Vec<Value> = hooks.iter().map(|name| json!({"name": name})).collect();
            serde_json::to_vec(&json!({"metadata": {"name": name}, "webhooks": hooks}))
                .expect("JSON")
        };
        hooks.apply("/b", Some(&configuration("b", &["x", "x"])));
        hooks.apply("/a", Some(&configuration("a", &["y"])));
        let ids = |hooks: &Hooks| hooks.iter().map(|hook| hook.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&hooks), ["a/y/0", "b/x/0", "b/x/1"]);
        hooks.apply("/b", Some(&configuration("b", &["z"])));
        hooks.apply("/a", None);
        assert_eq!(ids(&hooks), ["b/z/0"]);
        hooks.apply("/c", Some(b"broken"));
        assert_eq!(ids(&hooks), ["b/z/0"]);
    }
}
