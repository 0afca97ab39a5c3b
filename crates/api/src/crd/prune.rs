//! Taking out what a schema does not know, and defaults for what it does.
//!
//! What upstream does to every custom object that it decodes: [`prune`] removes members that the schema has not
//! (unless `x-kubernetes-preserve-unknown-fields`), [`prune_nulls`] removes nulls that can't be, and [`default`] fills in.

use serde_json::Value;

use super::props::{Additional, Props};

const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Removes members that the schema of a part of an object has not. Answers the paths of what it removed, sorted. The
/// members of an embedded resource's own metadata are left alone (see [`super::metadata`]).
pub fn prune(value: &mut Value, schema: &Props) -> Vec<String> {
    let mut walk = Walk::default();
    walk.prune(value, Some(schema));
    walk.removed.sort();
    walk.removed
}

#[derive(Default)]
struct Walk {
    path: String,
    removed: Vec<String>,
}

impl Walk {
    /// Does something one level deeper.
    fn below(&mut self, step: &str, index: Option<usize>, go: impl FnOnce(&mut Walk)) {
        let length = self.path.len();
        match index {
            Some(i) => self.path.push_str(&format!("[{i}]")),
            None => {
                if !self.path.is_empty() {
                    self.path.push('.');
                }
                self.path.push_str(step);
            }
        }
        go(self);
        self.path.truncate(length);
    }

    fn report(&mut self, name: &str) {
        let path = match self.path.is_empty() {
            true => name.to_owned(),
            false => format!("{}.{name}", self.path),
        };
        self.removed.push(path);
    }

    fn prune(&mut self, value: &mut Value, schema: Option<&Props>) {
        if let Some(schema) = schema.filter(|s| s.preserves()) {
            return self.keep(value, schema);
        }
        match value {
            Value::Object(members) => {
                let names: Vec<String> = members.keys().cloned().collect();
                for name in names {
                    if schema.is_some_and(|s| s.embedded) && META.contains(&&*name) {
                        continue;
                    }
                    match schema.and_then(|s| inner(s, &name)) {
                        Some(schema) => {
                            let value = &mut members[&name];
                            self.below(&name, None, |walk| walk.prune(value, schema));
                        }
                        None => {
                            let silent =
                                schema.is_some() && self.path.is_empty() && META.contains(&&*name);
                            if !silent {
                                self.report(&name);
                            }
                            members.remove(&name);
                        }
                    }
                }
            }
            Value::Array(items) => {
                let schema = schema.and_then(|s| s.items.as_deref());
                for (i, item) in items.iter_mut().enumerate() {
                    self.below("", Some(i), |walk| walk.prune(item, schema));
                }
            }
            _ => {}
        }
    }

    /// Below a schema that preserves what it does not know, only what it does know is pruned.
    fn keep(&mut self, value: &mut Value, schema: &Props) {
        match value {
            Value::Object(members) => {
                for (name, value) in members.iter_mut() {
                    if schema.embedded && META.contains(&&**name) {
                        continue;
                    }
                    if let Some(schema) = inner(schema, name) {
                        self.below(name, None, |walk| walk.prune(value, schema));
                    }
                }
            }
            Value::Array(items) => {
                if let Some(schema) = &schema.items {
                    for (i, item) in items.iter_mut().enumerate() {
                        self.below("", Some(i), |walk| walk.keep(item, schema));
                    }
                }
            }
            _ => {}
        }
    }
}

/// Whether the schema has a member, and the member's schema if it has one.
fn inner<'p>(schema: &'p Props, name: &str) -> Option<Option<&'p Props>> {
    match (schema.properties.get(name), &schema.additional) {
        (Some(property), _) => Some(Some(property)),
        (None, Some(additional)) => Some(additional.schema()),
        (None, None) => None,
    }
}

fn is_wrong_null(value: &Value, schema: Option<&Props>) -> bool {
    value.is_null() && schema.is_some_and(|s| !s.nullable)
}

/// Removes members that are null, must not be, and have no default.
pub fn prune_nulls(value: &mut Value, schema: Option<&Props>) {
    match value {
        Value::Object(members) => {
            members.retain(|name, value| {
                let schema = schema.and_then(|s| s.member(name));
                let gone =
                    is_wrong_null(value, schema) && schema.is_some_and(|s| s.default.is_none());
                if !gone {
                    prune_nulls(value, schema);
                }
                !gone
            });
        }
        Value::Array(items) => {
            let schema = schema.and_then(|s| s.items.as_deref());
            items.iter_mut().for_each(|item| prune_nulls(item, schema));
        }
        _ => {}
    }
}

/// Fills in defaults, also for what is null and must not be.
pub fn default(value: &mut Value, schema: &Props) {
    match value {
        Value::Object(members) => {
            for (name, property) in &schema.properties {
                let Some(default) = &property.default else {
                    continue;
                };
                let missing = members
                    .get(name)
                    .is_none_or(|v| is_wrong_null(v, Some(property)));
                if missing {
                    members.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in members.iter_mut() {
                if let Some(property) = schema.properties.get(name) {
                    default_in(value, property, false);
                } else if let Some(other) = schema.additional.as_ref().and_then(Additional::schema)
                {
                    default_in(value, other, true);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                items
                    .iter_mut()
                    .for_each(|item| default_in(item, schema, true));
            }
        }
        _ => {}
    }
}

fn default_in(value: &mut Value, schema: &Props, replace_null: bool) {
    if replace_null && is_wrong_null(value, Some(schema)) {
        *value = schema.default.clone().unwrap_or_default();
    }
    default(value, schema);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn schema() -> Props {
        Props::read(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "default": {}, "properties": {
                "a": {"type": "string", "default": "x"},
                "n": {"type": "string", "nullable": true, "default": "y"},
                "list": {"type": "array", "items": {"type": "object", "properties": {"b": {"type": "integer", "default": 1}}}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
                    "known": {"type": "object", "properties": {"k": {"type": "string"}}}}},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"c": {"type": "string"}}}},
                "any": {"type": "object", "additionalProperties": true},
            }},
        }}))
    }

    #[test]
    fn unknown_members_go_and_are_told() {
        let mut value = json!({"kind": "X", "other": 1, "spec": {"a": "1", "u": 1, "list": [{"b": 1, "z": 2}],
            "free": {"anything": {"x": 1}, "known": {"k": "", "gone": 1}}, "map": {"m": {"c": "", "d": ""}}, "any": {"x": {"y": 1}}}});
        let removed = prune(&mut value, &schema().as_resource());
        assert_eq!(
            removed,
            [
                "other",
                "spec.any.x.y",
                "spec.free.known.gone",
                "spec.list[0].z",
                "spec.map.m.d",
                "spec.u"
            ]
        );
        assert_eq!(
            value,
            json!({"kind": "X", "spec": {"a": "1", "list": [{"b": 1}], "free": {"anything": {"x": 1}, "known": {"k": ""}},
                "map": {"m": {"c": ""}}, "any": {"x": {}}}})
        );
    }

    #[test]
    fn defaults_fill_what_is_missing_or_wrongly_null() {
        let mut value = json!({});
        default(&mut value, &schema());
        assert_eq!(value, json!({"spec": {"a": "x", "n": "y"}}));
        let mut value = json!({"spec": {"a": null, "n": null, "list": [{}], "free": null}});
        prune_nulls(&mut value, Some(&schema()));
        default(&mut value, &schema());
        assert_eq!(
            value,
            json!({"spec": {"a": "x", "n": null, "list": [{"b": 1}]}})
        );
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z]{0,3}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let name = prop_oneof![
                Just("spec".to_owned()),
                Just("a".to_owned()),
                Just("list".to_owned()),
                Just("free".to_owned()),
                Just("map".to_owned()),
                "[a-z]{1,2}"
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map(name, inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn pruning_and_defaulting_are_idempotent(mut value in values()) {
            let schema = schema();
            prune(&mut value, &schema);
            prune_nulls(&mut value, Some(&schema));
            default(&mut value, &schema);
            let once = value.clone();
            prop_assert!(prune(&mut value, &schema).is_empty());
            prune_nulls(&mut value, Some(&schema));
            default(&mut value, &schema);
            prop_assert_eq!(value, once);
        }
    }
}
