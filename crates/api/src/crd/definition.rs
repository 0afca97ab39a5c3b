//! Reading a CustomResourceDefinition, and the resources that it makes.

use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Custom;
use super::columns::Columns;
use super::props::Props;
use super::scale::Scale;
use crate::resource::{GroupVersionKind, Name, Resource, Storage, Subresource, Table, Verb, Verbs};
use crate::schema::custom::custom;

/// How objects get from one version to another.
#[derive(Debug, Clone, PartialEq)]
pub enum Conversion {
    /// Only `apiVersion` changes.
    None,
    /// A webhook converts; the value is `spec.conversion.webhook`.
    Webhook(Value),
}

/// What the versions of a definition share.
#[derive(Debug)]
pub struct Family {
    /// The name of the definition.
    pub name: String,
    /// The group.
    pub group: String,
    /// The version in which objects are stored.
    pub storage: String,
    /// All versions with their schemas, served or not.
    pub versions: Vec<(String, Arc<Props>)>,
    /// How objects are converted.
    pub conversion: Conversion,
    /// Whether what the schema does not know is kept (definitions from before there were structural schemas).
    pub preserves: bool,
    /// Whether the definition is being deleted.
    pub terminating: bool,
    /// The revision of the definition: what was stored later fits its schemas as they are.
    pub since: u64,
}

impl Family {
    /// The schema of a version.
    pub fn schema(&self, version: &str) -> Option<&Arc<Props>> {
        let found = self.versions.iter().find(|(name, _)| name == version);
        found.map(|(_, schema)| schema)
    }
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    let items = value.get(name).and_then(Value::as_array);
    items.map_or(&[], Vec::as_slice)
}

fn names(value: &Value, name: &str) -> Vec<Name> {
    let items = list(value, name).iter().filter_map(Value::as_str);
    items.map(|n| Name::Owned(n.to_owned())).collect()
}

fn flag(value: &Value, name: &str) -> bool {
    value.get(name) == Some(&Value::Bool(true))
}

/// Whether a condition of a definition is true.
pub fn is_condition_true(definition: &Value, condition: &str) -> bool {
    let conditions = list(&definition["status"], "conditions");
    conditions
        .iter()
        .any(|c| text(c, "type") == condition && text(c, "status") == "True")
}

/// The resources of a definition, one for each served version; none while its names are not accepted.
pub fn resources(definition: &Value, revision: u64) -> Vec<Arc<Resource>> {
    let accepted = is_condition_true(definition, "NamesAccepted");
    if !accepted && !is_condition_true(definition, "Established") {
        return Vec::new();
    }
    let family = Arc::new(family(definition, revision));
    let versions = list(&definition["spec"], "versions");
    let served = versions.iter().filter(|v| flag(v, "served"));
    served
        .filter_map(|version| resource(definition, version, &family).map(Arc::new))
        .collect()
}

fn family(definition: &Value, revision: u64) -> Family {
    let spec = &definition["spec"];
    let versions = list(spec, "versions");
    let storage = versions.iter().find(|v| flag(v, "storage"));
    let schemas = versions.iter().map(|version| {
        let schema = Props::read(&version["schema"]["openAPIV3Schema"]);
        (text(version, "name").to_owned(), Arc::new(schema))
    });
    let conversion = &spec["conversion"];
    let deleting = !text(&definition["metadata"], "deletionTimestamp").is_empty();
    Family {
        name: text(&definition["metadata"], "name").to_owned(),
        group: text(spec, "group").to_owned(),
        storage: storage.map_or("", |v| text(v, "name")).to_owned(),
        versions: schemas.collect(),
        conversion: match text(conversion, "strategy") {
            "Webhook" => Conversion::Webhook(conversion["webhook"].clone()),
            _ => Conversion::None,
        },
        preserves: flag(spec, "preserveUnknownFields"),
        terminating: deleting || is_condition_true(definition, "Terminating"),
        since: revision,
    }
}

fn resource(definition: &Value, version: &Value, family: &Arc<Family>) -> Option<Resource> {
    let spec = &definition["spec"];
    let accepted = &definition["status"]["acceptedNames"];
    let owned = |name: &str| Name::Owned(text(accepted, name).to_owned());
    let (plural, kind) = (owned("plural"), owned("kind"));
    let name = text(version, "name");
    if plural.is_empty() || kind.is_empty() || owned("singular").is_empty() {
        return None;
    }
    let schema = family.schema(name)?.clone();
    let subresources = &version["subresources"];
    let status = subresources.get("status").is_some_and(|s| !s.is_null());
    let scale = Scale::read(&subresources["scale"]);
    let gvk = GroupVersionKind {
        group: family.group.clone().into(),
        version: name.to_owned().into(),
        kind: kind.clone(),
    };
    let custom = Custom {
        family: family.clone(),
        types: custom(&schema),
        source: version["schema"]["openAPIV3Schema"].clone(),
        columns: Columns::read(list(version, "additionalPrinterColumns")),
        status,
        scale: scale.clone(),
        selectable: list(version, "selectableFields")
            .iter()
            .map(|f| text(f, "jsonPath").trim_start_matches('.').to_owned())
            .collect(),
        deprecation: deprecation(spec, version),
        has_rules: super::object::has_rules(&schema),
        compiled: OnceLock::new(),
        schema,
    };
    Some(Resource {
        group: family.group.clone().into(),
        version: name.to_owned().into(),
        plural,
        singular: owned("singular"),
        list_kind: owned("listKind"),
        namespaced: text(spec, "scope") == "Namespaced",
        verbs: Verbs::ALL,
        short_names: names(accepted, "shortNames"),
        categories: names(accepted, "categories"),
        storage: Some(Storage {
            group: family.group.clone().into(),
            version: family.storage.clone().into(),
        }),
        storage_version_hash: Some(storage_hash(&family.group, &family.storage, &kind).into()),
        subresources: subresources_of(&gvk, status, scale.is_some()),
        kind,
        custom: Some(Arc::new(custom)),
    })
}

fn subresources_of(gvk: &GroupVersionKind, status: bool, scale: bool) -> Vec<Subresource> {
    let verbs: Verbs = [Verb::Get, Verb::Patch, Verb::Update].into_iter().collect();
    let own = status.then(|| Subresource {
        name: "status".into(),
        kind: gvk.clone(),
        foreign: false,
        verbs,
    });
    let scale = scale.then(|| Subresource {
        name: "scale".into(),
        kind: GroupVersionKind {
            group: "autoscaling".into(),
            version: "v1".into(),
            kind: "Scale".into(),
        },
        foreign: true,
        verbs,
    });
    own.into_iter().chain(scale).collect()
}

fn storage_hash(group: &str, version: &str, kind: &str) -> String {
    let digest = Sha256::digest(format!("{group}/{version}/{kind}"));
    STANDARD.encode(&digest[..8])
}

fn deprecation(spec: &Value, version: &Value) -> Option<String> {
    if !flag(version, "deprecated") {
        return None;
    }
    if let Some(own) = version.get("deprecationWarning").and_then(Value::as_str) {
        return Some(own.to_owned());
    }
    let (group, kind, name) = (
        text(spec, "group"),
        text(&spec["names"], "kind"),
        text(version, "name"),
    );
    let better = list(spec, "versions")
        .iter()
        .filter(|v| flag(v, "served") && !flag(v, "deprecated"))
        .map(|v| text(v, "name"))
        .filter(|v| compare_versions(name, v) == Ordering::Less)
        .max_by(|a, b| compare_versions(a, b));
    let mut text = format!("{group}/{name} {kind} is deprecated");
    if let Some(better) = better {
        text.push_str(&format!("; use {group}/{better} {kind}"));
    }
    Some(text)
}

/// The order of versions in which `v2` is greater than `v1`, a stable version than a beta one, and both than others.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    match (parse_version(a), parse_version(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        // Alphabetic order, the first being the greatest.
        (None, None) => b.cmp(a),
    }
}

/// `v1`, `v1beta2`, `v1alpha1` as (stability, major, minor).
fn parse_version(text: &str) -> Option<(u8, u64, u64)> {
    let rest = text.strip_prefix('v')?;
    let digits = |t: &str| {
        let plain = !t.is_empty() && !t.starts_with('0') && t.bytes().all(|b| b.is_ascii_digit());
        t.parse().ok().filter(|_| plain)
    };
    let split = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let major = digits(&rest[..split])?;
    match &rest[split..] {
        "" => Some((2, major, 0)),
        kind => {
            let beta = kind.strip_prefix("beta").map(|n| (1, n));
            let (stability, minor) = beta.or(kind.strip_prefix("alpha").map(|n| (0, n)))?;
            Some((stability, major, digits(minor)?))
        }
    }
}

/// A table of the built-in resources and those of definitions, in the order of discovery: groups by name, their
/// versions from the greatest, resources by name. What is built in can't be replaced.
pub fn table(custom: impl IntoIterator<Item = Arc<Resource>>) -> Table {
    let builtin = Table::builtin();
    let free = |r: &Arc<Resource>| builtin.version(&r.group, &r.version).is_none();
    let mut all: Vec<Arc<Resource>> = custom.into_iter().filter(free).collect();
    all.sort_by(|a, b| {
        a.group
            .cmp(&b.group)
            .then_with(|| compare_versions(&b.version, &a.version))
            .then_with(|| a.plural.cmp(&b.plural))
    });
    builtin.with_custom(all)
}

#[cfg(test)]
mod tests;
