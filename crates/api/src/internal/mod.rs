//! Objects as kube-apiserver holds them in memory, for the errors that show them.
//!
//! Its internal structs have no JSON names: marshalled they have Go's field names, in the order of the declaration, with
//! `null` for what is not set (`{"Type":"X","RollingUpdate":null}`). [`show`] makes that form of a part of an object;
//! [`diff`] tells two of them apart as upstream does. The table is made by `cargo xtask schema`. Nothing is stored or
//! answered in this form except inside of texts.

mod unified;

use crate::field::Bad;
use crate::schema::{Schema, Type};
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::OnceLock;

/// One field of a struct: its Go name (`+` when it is embedded), its JSON name, its type.
struct Field {
    go: &'static str,
    json: &'static str,
    ty: &'static str,
}

fn table() -> &'static HashMap<&'static str, Vec<Field>> {
    static TABLE: OnceLock<HashMap<&'static str, Vec<Field>>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let lines = include_str!("../data/internal.tsv").lines();
        let structs = lines.filter(|line| !line.starts_with('#')).map(|line| {
            let mut columns = line.split('\t');
            let name = columns.next().unwrap_or_default();
            let field = |column: &'static str| {
                let mut words = column.split(' ');
                let mut next = || words.next().unwrap_or_default();
                Field {
                    go: next(),
                    json: next(),
                    ty: next(),
                }
            };
            (name, columns.map(field).collect())
        });
        structs.collect()
    })
}

/// A part of an object in the internal form: members keep their order.
enum Node {
    Leaf(Value),
    List(Vec<Node>),
    Members(Vec<(String, Node)>),
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Node::Leaf(value) => value.serialize(serializer),
            Node::List(items) => items.serialize(serializer),
            Node::Members(members) => serializer.collect_map(members.iter().map(|(k, v)| (k, v))),
        }
    }
}

const NULL: Node = Node::Leaf(Value::Null);

/// `ty` is in the table's words: `core.PodSpec`, `*core.Affinity`, `[core.Toleration`.
fn form(ty: &str, value: Option<&Value>) -> Node {
    let value = value.filter(|v| !v.is_null());
    if let Some(inner) = ty.strip_prefix('*') {
        return value.map_or(NULL, |v| form(inner, Some(v)));
    }
    if let Some(inner) = ty.strip_prefix('[') {
        let items = value
            .and_then(Value::as_array)
            .filter(|items| !items.is_empty());
        let nodes = |items: &Vec<Value>| items.iter().map(|v| form(inner, Some(v))).collect();
        return items.map_or(NULL, |items| Node::List(nodes(items)));
    }
    if let Some(inner) = ty.strip_prefix('{') {
        let members = value.and_then(Value::as_object).filter(|m| !m.is_empty());
        // Go's maps are marshalled in the order of their keys, as the members of a Value are.
        let nodes = |members: &serde_json::Map<String, Value>| {
            let each = members.iter();
            each.map(|(k, v)| (k.clone(), form(inner, Some(v))))
                .collect()
        };
        return members.map_or(NULL, |members| Node::Members(nodes(members)));
    }
    match (table().get(ty), ty.strip_prefix("meta."), value) {
        (Some(fields), _, value) => {
            let mut members = Vec::new();
            fill(&mut members, fields, value.unwrap_or(&Value::Null));
            Node::Members(members)
        }
        (None, Some(name), Some(value)) => versioned(meta_type(name), value),
        (None, _, Some(value)) => Node::Leaf(value.clone()),
        (None, _, None) => Node::Leaf(zero(ty)),
    }
}

fn fill(out: &mut Vec<(String, Node)>, fields: &[Field], value: &Value) {
    for field in fields {
        let own = match field.ty {
            "meta.ObjectMeta" => value.get("metadata"),
            _ => value.get(field.json),
        };
        if field.go != "+" {
            out.push((field.go.to_owned(), form(field.ty, own)));
        } else if let Some(embedded) = table().get(field.ty) {
            fill(out, embedded, value);
        } else if let (Some(name), Some(own)) = (field.ty.strip_prefix("meta."), own)
            && let Node::Members(members) = versioned(meta_type(name), own)
        {
            // Metadata has JSON names, and is embedded in what has none.
            out.extend(members);
        }
    }
}

fn meta_type(name: &str) -> Option<Type<'static>> {
    Schema::builtin().model(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}"))
}

/// What the API shows as it is held, with members in the order of the Go types.
fn versioned(ty: Option<Type<'static>>, value: &Value) -> Node {
    match value {
        Value::Array(items) => {
            let element = ty.and_then(Type::element);
            Node::List(items.iter().map(|v| versioned(element, v)).collect())
        }
        Value::Object(members) => {
            let fields = ty.and_then(Type::fields);
            let place = |name: &str| fields.and_then(|f| f.position(name));
            let mut sorted: Vec<_> = members.iter().filter(|(_, v)| !is_empty(v)).collect();
            sorted.sort_by_key(|(name, _)| place(name));
            let node = |(name, value): (&String, &Value)| {
                let ty = ty.and_then(|ty| ty.field(name)).map(|(_, ty)| ty);
                (name.clone(), versioned(ty, value))
            };
            Node::Members(sorted.into_iter().map(node).collect())
        }
        other => Node::Leaf(other.clone()),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

/// What Go has where nothing was set.
fn zero(ty: &str) -> Value {
    match ty {
        "bool" => false.into(),
        "string" => "".into(),
        "quantity" => "0".into(),
        "bytes" | "Object" | "RawExtension" => Value::Null,
        _ if ty.starts_with("meta.") => Value::Null,
        _ => 0.into(),
    }
}

/// A part of an object as the value of an error.
pub fn show(ty: &str, value: Option<&Value>) -> Bad {
    let node = form(ty, value);
    let text = serde_json::to_string(&node).expect("a tree of values can be written");
    Bad::Text(crate::field::escape_html(&text))
}

/// A value as Go shows a type of the API itself, which has `model` for its name.
pub fn show_versioned(model: &str, value: &Value) -> Bad {
    let node = versioned(Schema::builtin().model(model), value);
    let text = serde_json::to_string(&node).expect("a tree of values can be written");
    Bad::Text(crate::field::escape_html(&text))
}

/// The difference of two parts of objects, as a unified diff of their indented forms.
pub fn diff(ty: &str, old: &Value, new: &Value) -> String {
    let text = |value: &Value| {
        let mut out = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
        let node = form(ty, Some(value));
        node.serialize(&mut serializer)
            .expect("a tree of values can be written");
        crate::field::escape_html(&String::from_utf8(out).expect("JSON is UTF-8"))
    };
    unified::diff(&text(old), &text(new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn structs_are_shown_with_gos_names() {
        let strategy = json!({"type": "X"});
        let shown = show("apps.DeploymentStrategy", Some(&strategy));
        assert_eq!(
            shown,
            Bad::Text(r#"{"Type":"X","RollingUpdate":null}"#.into())
        );
        let template = json!({"metadata": {"labels": {"a": "b"}, "name": "n"}, "spec": {}});
        let Bad::Text(shown) = show("core.PodTemplateSpec", Some(&template)) else {
            panic!("structs are shown as text")
        };
        let start =
            r#"{"name":"n","labels":{"a":"b"},"Spec":{"Volumes":null,"InitContainers":null"#;
        assert!(shown.starts_with(start), "{shown}");
    }

    #[test]
    fn every_type_that_the_table_names_is_in_it() {
        for (name, fields) in table() {
            for field in fields {
                let ty = field.ty.trim_start_matches(['*', '[', '{']);
                let known =
                    !ty.contains('.') || ty.starts_with("meta.") || table().contains_key(ty);
                assert!(known, "{name}.{}: {ty}", field.go);
            }
        }
    }

    #[test]
    fn differences_are_unified_diffs() {
        let spec = |size: &str| json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}});
        let diff = diff("core.PersistentVolumeClaimSpec", &spec("1Gi"), &spec("2Gi"));
        let want = "@@ -6,7 +6,7 @@\n  \"Resources\": {\n   \"Limits\": null,\n   \"Requests\": {\n-   \"storage\": \"1Gi\"\n+   \"storage\": \"2Gi\"\n   }\n  },\n  \"VolumeName\": \"\",\n";
        assert_eq!(diff, want);
    }
}
