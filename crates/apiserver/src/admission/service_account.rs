//! ServiceAccount: a Pod runs as an account of its namespace, with that account's token and pull secrets.

use karve_api::defaults::admission as defaults;
use karve_api::names;
use rand::Rng as _;
use serde_json::Value;

use super::{Attributes, Operation, lookup};
use crate::answer::Refusal;
use crate::object::{self, Meta};
use crate::server::Server;

const AUTOMOUNT: &str = "automountServiceAccountToken";
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

/// Names the account, and mounts its token.
pub fn mutate(server: &Server, attributes: &mut Attributes<'_>) -> Result<(), Refusal> {
    if !attributes.makes("", "pods") {
        return Ok(());
    }
    if !defaults::is_mirror(attributes.object()) {
        let account = account(server, attributes)?;
        if let Some(pod) = &mut attributes.object {
            run_as(server, pod, &account);
        }
    }
    validate(server, attributes)
}

fn run_as(server: &Server, pod: &mut Value, account: &Value) {
    let mut random = rand::rng();
    let volume = names::generate(defaults::TOKEN_VOLUME_PREFIX, |n| random.random_range(0..n));
    if server.options.service_account_tokens {
        defaults::service_account(pod, account, &volume);
        return;
    }
    // DEVIATION: no token volume, while no tokens are issued.
    let spec = object::member_mut(pod, "spec");
    let wanted = spec.insert(AUTOMOUNT.to_owned(), false.into());
    defaults::service_account(pod, account, &volume);
    let spec = object::member_mut(pod, "spec");
    match wanted {
        Some(wanted) => spec.insert(AUTOMOUNT.to_owned(), wanted),
        None => spec.remove(AUTOMOUNT),
    };
}

fn account(server: &Server, attributes: &Attributes<'_>) -> Result<Value, Refusal> {
    let namespace = attributes.namespace();
    let name = defaults::service_account_name(attributes.object());
    lookup::get(server, "", "serviceaccounts", namespace, name).ok_or_else(|| {
        attributes.forbidden(&format!(
            "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
        ))
    })
}

/// Refuses Pods whose account is missing, and secrets that the account may not mount.
pub fn validate(server: &Server, attributes: &Attributes<'_>) -> Result<(), Refusal> {
    if !attributes.concerns("", "pods") {
        return Ok(());
    }
    let pod = attributes.object();
    let enforced = |account: &Value| {
        let value = account["metadata"]["annotations"][ENFORCE].as_str();
        matches!(value, Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
    };
    let refused = match (attributes.operation, &*attributes.call.path.subresource) {
        (Operation::Update, "ephemeralcontainers") => {
            let name = defaults::service_account_name(pod);
            let account = lookup::get(server, "", "serviceaccounts", attributes.namespace(), name);
            account
                .filter(enforced)
                .and_then(|account| secret_of(pod, &account, &["ephemeralContainers"]))
        }
        (Operation::Create, "") if defaults::is_mirror(pod) => mirror(pod),
        (Operation::Create, "") => {
            let account = account(server, attributes)?;
            match enforced(&account) {
                true => mountable(pod, &account),
                false => None,
            }
        }
        _ => None,
    };
    match refused {
        Some(why) => Err(attributes.forbidden(&why)),
        None => Ok(()),
    }
}

/// What a mirror Pod, which has no account, may not refer to.
fn mirror(pod: &Value) -> Option<String> {
    let spec = &pod["spec"];
    if !spec["serviceAccountName"]
        .as_str()
        .unwrap_or_default()
        .is_empty()
    {
        return Some("a mirror pod may not reference service accounts".into());
    }
    if mentions_secret(spec) {
        return Some("a mirror pod may not reference secrets".into());
    }
    let projects = items(&spec["volumes"])
        .flat_map(|volume| items(&volume["projected"]["sources"]))
        .any(|source| source["serviceAccountToken"].is_object());
    projects.then(|| "a mirror pod may not use ServiceAccountToken volume projections".into())
}

/// Members of volumes, environments and pull secrets that name a Secret.
fn mentions_secret(spec: &Value) -> bool {
    const REFERENCES: [&str; 10] = [
        "secret",
        "secretRef",
        "secretKeyRef",
        "secretName",
        "imagePullSecrets",
        "controllerPublishSecretRef",
        "nodePublishSecretRef",
        "nodeStageSecretRef",
        "nodeExpandSecretRef",
        "controllerExpandSecretRef",
    ];
    match spec {
        Value::Object(members) => members.iter().any(|(name, value)| {
            REFERENCES.contains(&name.as_str()) && !empty(value) || mentions_secret(value)
        }),
        Value::Array(items) => items.iter().any(mentions_secret),
        _ => false,
    }
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn names(list: &Value) -> Vec<&str> {
    items(list)
        .map(|item| item["name"].as_str().unwrap_or_default())
        .collect()
}

/// The first secret that the account does not list.
fn mountable(pod: &Value, account: &Value) -> Option<String> {
    let (secrets, name) = (names(&account["secrets"]), account.meta("name"));
    for volume in items(&pod["spec"]["volumes"]) {
        let Some(secret) = volume["secret"]["secretName"].as_str() else {
            continue;
        };
        if !secrets.contains(&secret) {
            return Some(format!(
                "volume with secret.secretName=\"{secret}\" is not allowed because service account {name} does not reference that secret"
            ));
        }
    }
    if let Some(why) = secret_of(pod, account, &["initContainers", "containers"]) {
        return Some(why);
    }
    let pulls = names(&account["imagePullSecrets"]);
    names(&pod["spec"]["imagePullSecrets"])
        .iter()
        .enumerate()
        .find(|(_, secret)| !pulls.contains(secret))
        .map(|(i, secret)| {
            format!(
                "imagePullSecrets[{i}].name=\"{secret}\" is not allowed because service account {name} does not reference that imagePullSecret"
            )
        })
}

fn secret_of(pod: &Value, account: &Value, lists: &[&str]) -> Option<String> {
    let (secrets, own) = (names(&account["secrets"]), account.meta("name"));
    for list in lists {
        let what = match *list {
            "initContainers" => "init container",
            "ephemeralContainers" => "ephemeral container",
            _ => "container",
        };
        for container in items(&pod["spec"][*list]) {
            let name = container["name"].as_str().unwrap_or_default();
            for env in items(&container["env"]) {
                let secret = env["valueFrom"]["secretKeyRef"]["name"].as_str();
                if let Some(secret) = secret.filter(|s| !secrets.contains(s)) {
                    let env = env["name"].as_str().unwrap_or_default();
                    return Some(format!(
                        "{what} {name} with envVar {env} referencing secret.secretName=\"{secret}\" is not allowed because service account {own} does not reference that secret"
                    ));
                }
            }
            for from in items(&container["envFrom"]) {
                let secret = from["secretRef"]["name"].as_str();
                if let Some(secret) = secret.filter(|s| !secrets.contains(s)) {
                    return Some(format!(
                        "{what} {name} with envFrom referencing secret.secretName=\"{secret}\" is not allowed because service account {own} does not reference that secret"
                    ));
                }
            }
        }
    }
    None
}
