//! Which objects a list, a watch or a deletion of a collection is about.
//!
//! Selectors look at labels and a few scalars, so a stored object is read only as far as these: arrays, annotations and
//! deep objects are skipped without being built.

use std::fmt;
use std::sync::Arc;

use karve_api::resource::{Resource, Verb};
use karve_api::selector::{CompiledFieldSelector, FieldSelector, LabelSelector};
use karve_api::status::Status;
use karve_store::Entry;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::answer::Refusal;
use crate::call::Call;
use crate::{convert, keys, object};

/// A parsed pair of selectors.
#[derive(Debug, Clone)]
pub struct Selection {
    labels: LabelSelector,
    fields: CompiledFieldSelector,
    /// The one name that can match, when the selector says so.
    name: Option<String>,
    /// Whether the name is all that the fields say.
    only_name: bool,
    /// Whether the fields are those of a custom resource, which lie at any depth.
    deep: bool,
    /// Fields have the names that the endpoint's version gives them.
    resource: Arc<Resource>,
}

impl Selection {
    /// From `labelSelector` and `fieldSelector`; the old form of a watch has a name in its path.
    pub fn parse(call: &Call) -> Result<Selection, Refusal> {
        let bad = |why: String| Refusal::from(Status::bad_request(why));
        let labels = LabelSelector::parse(call.query.text("labelSelector"))
            .map_err(|e| bad(e.to_string()))?;
        let mut fields = FieldSelector::parse(call.query.text("fieldSelector"))
            .map_err(|e| bad(e.to_string()))?;
        if call.verb == Verb::Watch && !call.name().is_empty() {
            fields = FieldSelector::name(call.name());
        }
        let name = fields.exact_name().map(str::to_owned);
        let only_name = fields.terms.len() == usize::from(name.is_some());
        let deep = !only_name && call.resource.is_custom();
        let fields = compile(&fields, &call.resource)?;
        Ok(Selection {
            labels,
            deep,
            fields,
            name,
            only_name,
            resource: call.resource.clone(),
        })
    }

    /// Whether nothing is left out.
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// The prefix of all keys that can be selected: one key when the selector names one object.
    pub fn scope(&self, call: &Call) -> String {
        let one_place = !call.resource.namespaced || !call.namespace().is_empty();
        match &self.name {
            Some(name) if one_place => keys::key(&call.resource, call.namespace(), name),
            _ => keys::prefix(&call.resource, call.namespace()),
        }
    }

    /// Whether a stored object is selected.
    pub fn matches(&self, entry: &Entry) -> bool {
        self.matches_with(entry, || skeleton(entry.value()))
    }

    /// The same, for a caller that may have the skeleton already.
    pub fn matches_with<S: std::borrow::Borrow<Value>>(
        &self,
        entry: &Entry,
        skeleton: impl FnOnce() -> S,
    ) -> bool {
        let last = || entry.key().rsplit('/').next().unwrap_or_default();
        if self.name.as_ref().is_some_and(|name| name != last()) {
            return false;
        }
        if self.labels.is_everything() && self.only_name {
            return true;
        }
        if self.deep {
            let object = object::decode(entry.value(), &self.resource);
            return self.labels.matches_object(&object) && self.fields.matches(&object);
        }
        let skeleton = skeleton();
        let shown = convert::read_fields(&self.resource, skeleton.borrow());
        self.labels.matches_object(&shown) && self.fields.matches(&shown)
    }
}

fn compile(fields: &FieldSelector, resource: &Resource) -> Result<CompiledFieldSelector, Refusal> {
    let custom = resource.custom.as_deref();
    let selectable: Vec<&str> = custom
        .map(|custom| custom.selectable.iter().map(String::as_str).collect())
        .unwrap_or_default();
    fields
        .compile(resource, &selectable)
        .map_err(|e| Status::bad_request(e.to_string()).into())
}

/// What selectors can see of an object: scalars at most two levels deep, and labels.
pub fn skeleton(bytes: &[u8]) -> Value {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Bones { levels: 2 }
        .deserialize(&mut reader)
        .ok()
        .flatten()
        .unwrap_or_default()
}

struct Bones {
    /// How many levels of objects are wanted from here.
    levels: u8,
}

impl<'de> DeserializeSeed<'de> for Bones {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bones {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        if self.levels == 0 {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(None);
        }
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            // metadata.labels is one level deeper than everything else.
            let levels = if self.levels == 1 && name == "labels" {
                1
            } else {
                self.levels - 1
            };
            if let Some(value) = map.next_value_seed(Bones { levels })? {
                members.insert(name, value);
            }
        }
        Ok(Some(Value::Object(members)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn skeleton_has_labels_and_scalars() {
        let pod = json!({
            "type": "t",
            "metadata": {"name": "a", "labels": {"app": "x"}, "annotations": {"big": "text"}, "finalizers": ["f"]},
            "spec": {"nodeName": "n1", "containers": [{"name": "c"}], "securityContext": {"deep": {"deeper": 1}}},
            "status": {"phase": "Running"},
        });
        let bones = skeleton(pod.to_string().as_bytes());
        assert_eq!(bones["metadata"]["labels"]["app"], "x");
        assert_eq!(bones["spec"]["nodeName"], "n1");
        assert_eq!(bones["status"]["phase"], "Running");
        assert_eq!(bones["type"], "t");
        assert!(bones["spec"]["containers"].is_null());
        assert!(bones["spec"]["securityContext"]["deep"].is_null());
    }
}
