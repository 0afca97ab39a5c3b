//! The `managedFields` of an object: who owns which fields.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::set::FieldSet;

/// More managers that update than this are merged into one, oldest first.
const UPDATE_MANAGERS_MAX: usize = 10;

/// The manager that old updates are merged into.
const ANCIENT: &str = "ancient-changes";

/// How a manager writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Server-side apply.
    Apply,
    /// Everything else.
    Update,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// What tells managers apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity {
    pub manager: String,
    pub operation: Operation,
    /// Empty for Apply: an applier is the same one in every version.
    pub api_version: String,
    pub subresource: String,
}

impl Identity {
    pub(super) fn new(
        manager: &str,
        operation: Operation,
        api_version: &str,
        subresource: &str,
    ) -> Identity {
        let api_version = if operation == Operation::Apply {
            ""
        } else {
            api_version
        };
        Identity {
            manager: if manager.is_empty() {
                "unknown"
            } else {
                manager
            }
            .to_owned(),
            operation,
            api_version: api_version.to_owned(),
            subresource: subresource.to_owned(),
        }
    }

    /// The same manager in another version of the object.
    pub(super) fn of_version(mut self, api_version: &str) -> Identity {
        if self.operation == Operation::Update {
            self.api_version = api_version.to_owned();
        }
        self
    }

    /// As conflicts name it: `"editor" with subresource "status" using v1`.
    pub(super) fn print(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text += &format!(" with subresource {:?}", self.subresource);
        }
        if self.operation == Operation::Update {
            text += &format!(" using {}", self.api_version);
        }
        text
    }
}

/// What a manager owns.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Owned {
    pub set: FieldSet,
    pub api_version: String,
    /// In whole seconds, RFC 3339.
    pub time: Option<String>,
}

/// All managers of an object.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Managers(pub BTreeMap<Identity, Owned>);

impl Managers {
    /// Of an object; `None` when the entries make no sense.
    pub(super) fn read(object: &Value) -> Option<Managers> {
        let mut managers = Managers::default();
        let entries = object
            .pointer("/metadata/managedFields")
            .and_then(Value::as_array);
        for entry in entries.into_iter().flatten() {
            let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
            let operation = match text("operation") {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return None,
            };
            if text("apiVersion").is_empty() || text("fieldsType") != "FieldsV1" {
                return None;
            }
            let identity = Identity {
                manager: text("manager").to_owned(),
                ..Identity::new("", operation, text("apiVersion"), text("subresource"))
            };
            let set = match entry.get("fieldsV1") {
                None | Some(Value::Null) => FieldSet::default(),
                Some(fields) => FieldSet::from_json(fields)?,
            };
            let time = entry.get("time").and_then(Value::as_str).map(str::to_owned);
            managers.0.insert(
                identity,
                Owned {
                    set,
                    api_version: text("apiVersion").to_owned(),
                    time,
                },
            );
        }
        Some(managers)
    }

    /// Whether an update asks to forget all managers: one empty entry (an empty list decodes to that).
    pub(super) fn is_reset(object: &Value) -> bool {
        let entries = object
            .pointer("/metadata/managedFields")
            .and_then(Value::as_array);
        entries
            .is_some_and(|list| matches!(list.as_slice(), [Value::Object(only)] if only.is_empty()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes them into an object, which must be one.
    pub(super) fn write(&self, object: &mut Value) {
        let Some(members) = object.as_object_mut() else {
            return;
        };
        let metadata = members
            .entry("metadata")
            .or_insert_with(|| Value::Object(Map::new()));
        let Some(metadata) = metadata.as_object_mut() else {
            return;
        };
        match self.is_empty() {
            true => drop(metadata.remove("managedFields")),
            false => drop(metadata.insert("managedFields".to_owned(), self.to_json())),
        }
    }

    fn to_json(&self) -> Value {
        let mut entries: Vec<_> = self.0.iter().collect();
        // RFC 3339 in UTC sorts as text.
        entries.sort_by(|(a, x), (b, y)| {
            let key = |i: &Identity, o: &Owned| {
                (
                    i.operation,
                    o.time.clone().unwrap_or_default(),
                    i.manager.clone(),
                    o.api_version.clone(),
                    i.subresource.clone(),
                )
            };
            key(a, x).cmp(&key(b, y))
        });
        let entries = entries.into_iter().map(|(identity, owned)| {
            let mut entry = json!({
                "manager": identity.manager,
                "operation": identity.operation.as_str(),
                "apiVersion": owned.api_version,
                "fieldsType": "FieldsV1",
                "fieldsV1": owned.set.to_json(),
            });
            if let Some(time) = &owned.time {
                entry["time"] = Value::from(&**time);
            }
            if !identity.subresource.is_empty() {
                entry["subresource"] = Value::from(&*identity.subresource);
            }
            entry
        });
        Value::Array(entries.collect())
    }

    /// Merges the oldest managers that update, version by version, until few enough are left.
    pub(super) fn cap(&mut self) {
        let mut updaters: Vec<Identity> = self
            .0
            .keys()
            .filter(|i| i.operation == Operation::Update)
            .cloned()
            .collect();
        let mut count = updaters.len();
        if count <= UPDATE_MANAGERS_MAX {
            return;
        }
        updaters.sort_by_key(|i| (self.0.get(i).and_then(|o| o.time.clone()), i.clone()));
        let mut firsts: BTreeMap<String, Identity> = BTreeMap::new();
        for identity in updaters {
            if count <= UPDATE_MANAGERS_MAX {
                return;
            }
            let version = identity.api_version.clone();
            let Some(first) = firsts.get(&version).cloned() else {
                firsts.insert(version, identity);
                continue;
            };
            let bucket = Identity::new(ANCIENT, Operation::Update, &version, "");
            if !self.0.contains_key(&bucket) {
                let moved = self.0.remove(&first);
                self.0.extend(moved.map(|owned| (bucket.clone(), owned)));
            }
            if identity == bucket {
                continue;
            }
            let Some(owned) = self.0.remove(&identity) else {
                continue;
            };
            if let Some(into) = self.0.get_mut(&bucket) {
                into.set = into.set.union(&owned.set);
                into.time = owned.time;
            }
            count -= 1;
        }
    }
}
