//! Objects as they are kept: bytes of JSON without `apiVersion` and `kind`, with a place for the resourceVersion.
//!
//! Lists of built-in kinds show their items without the two, so a list is the stored bytes with commas between; one
//! object or event is the stored bytes behind a short head. The store writes the revision into the bytes once, at
//! commit. Nothing is encoded again for a reader who wants plain objects.

use bytes::{Bytes, BytesMut};
use karve_api::resource::Resource;
use serde_json::{Map, Value};

/// Encodes an object for the store.
pub fn encode(object: &Value) -> karve_store::Value {
    let empty = Map::new();
    let members = object.as_object().unwrap_or(&empty);
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(b"{\"metadata\":{");
    let metadata = members.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    for (name, value) in metadata.iter().filter(|(name, _)| *name != "resourceVersion") {
        write_member(&mut out, name, value);
        out.push(b',');
    }
    out.extend_from_slice(b"\"resourceVersion\":\"");
    let stamp = out.len();
    out.extend_from_slice(b"\"}");
    for (name, value) in members {
        if !matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            out.push(b',');
            write_member(&mut out, name, value);
        }
    }
    out.push(b'}');
    karve_store::Value::stamped(out, stamp)
}

/// The bytes of an object that is shown but not stored: as stored, without a resourceVersion when it has none.
pub fn encode_unstored(object: &Value) -> Bytes {
    let mut shown = object.clone();
    if let Some(members) = shown.as_object_mut() {
        members.remove("apiVersion");
        members.remove("kind");
    }
    serde_json::to_vec(&shown).expect("JSON values have string keys").into()
}

fn write_member(out: &mut Vec<u8>, name: &str, value: &Value) {
    serde_json::to_writer(&mut *out, name).expect("writing to memory");
    out.push(b':');
    serde_json::to_writer(&mut *out, value).expect("writing to memory");
}

/// Decodes stored bytes into an object with `apiVersion` and `kind`.
pub fn decode(bytes: &[u8], resource: &Resource) -> Value {
    let mut object: Value = serde_json::from_slice(bytes).expect("the store holds what encode wrote");
    object["apiVersion"] = Value::from(&*resource.api_version());
    object["kind"] = Value::from(&*resource.kind);
    object
}

/// What goes before the stored bytes of an object, whose own `{` is left out.
pub fn head(api_version: &str, kind: &str) -> String {
    format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",")
}

/// Appends a whole object: the head, and the stored bytes behind their `{`.
pub fn splice(out: &mut BytesMut, head: &str, stored: &[u8]) {
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(&stored[1..]);
}

/// Reading and changing metadata.
pub trait Meta {
    /// A text of the metadata, empty when it is absent.
    fn meta(&self, name: &str) -> &str;
    /// The metadata, made when missing.
    fn metadata_mut(&mut self) -> &mut Map<String, Value>;
    /// Sets a member of the metadata.
    fn set_meta(&mut self, name: &str, value: impl Into<Value>);
    /// Whether it is being deleted.
    fn is_deleting(&self) -> bool;
    /// The finalizers.
    fn finalizers(&self) -> Vec<&str>;
}

impl Meta for Value {
    fn meta(&self, name: &str) -> &str {
        self["metadata"][name].as_str().unwrap_or_default()
    }

    fn metadata_mut(&mut self) -> &mut Map<String, Value> {
        member_mut(self, "metadata")
    }

    fn set_meta(&mut self, name: &str, value: impl Into<Value>) {
        self.metadata_mut().insert(name.to_owned(), value.into());
    }

    fn is_deleting(&self) -> bool {
        !self.meta("deletionTimestamp").is_empty()
    }

    fn finalizers(&self) -> Vec<&str> {
        let list = self["metadata"]["finalizers"].as_array();
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    }
}

/// A member that is an object, made (or made an object) when it is not.
pub fn member_mut<'a>(object: &'a mut Value, name: &str) -> &'a mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let members = object.as_object_mut().expect("just made so");
    let member = members.entry(name).or_insert_with(|| Value::Object(Map::new()));
    if !member.is_object() {
        *member = Value::Object(Map::new());
    }
    member.as_object_mut().expect("just made so")
}

/// A number anywhere in an object.
pub fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn stored_bytes_hold_the_revision_and_no_kind() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "resourceVersion": "3"}, "spec": {}});
        let bytes = encode(&pod).at_revision(17);
        assert_eq!(&*bytes, br#"{"metadata":{"name":"a","resourceVersion":"17"},"spec":{}}"#);
        let bare = encode(&json!({})).at_revision(1);
        assert_eq!(&*bare, br#"{"metadata":{"resourceVersion":"1"}}"#);
    }
}
