//! Objects as they are kept: bytes of JSON without `apiVersion` and `kind`, with a place for the resourceVersion.
//!
//! Lists of built-in kinds show their items without the two, so a list is the stored bytes with commas between; one
//! object or event is the stored bytes behind a short head. The store writes the revision into the bytes once, at
//! commit. Nothing is encoded again for a reader who wants plain objects.

use bytes::{BufMut, Bytes};
use karve_api::crd::convert;
use karve_api::crd::definition::Conversion;
use karve_api::encode;
use karve_api::resource::Resource;
use karve_api::schema::{Schema, Type};
use karve_api::status::Status;
use serde_json::{Map, Value};

use crate::answer::Refusal;

/// Encodes an object for the store, members in the order in which Go has them.
pub fn encode(object: &Value, resource: &Resource) -> karve_store::Value {
    if let Some(custom) = &resource.custom {
        let mut object = object.clone();
        if custom.family.conversion == Conversion::None {
            convert::relabel(&mut object, &custom.family.storage, &custom.family);
        }
        object.set_meta("resourceVersion", "");
        let (out, stamp) = write_custom(&object);
        return karve_store::Value::stamped(out, stamp);
    }
    const PLACE: &[u8] = b"\"resourceVersion\":\"\"";
    let mut metadata = object["metadata"].clone();
    member_of(&mut metadata).insert("resourceVersion".into(), "".into());
    let out = write(object, &metadata, resource.stored_type());
    // Quotes inside of texts are escaped, and what comes before it in the metadata are texts: the first is the one.
    let at = out
        .windows(PLACE.len())
        .position(|w| w == PLACE)
        .expect("just put in");
    karve_store::Value::stamped(out, at + PLACE.len() - 1)
}

/// The bytes of an object that is shown but not stored: as stored, with the resourceVersion that it has or none.
pub fn encode_unstored(object: &Value, resource: &Resource) -> Bytes {
    if resource.is_custom() {
        return write_custom(object).0.into();
    }
    write(object, &object["metadata"], resource.stored_type()).into()
}

/// The bytes of an object as the endpoint's version has it.
pub fn encode_shown(object: &Value, resource: &Resource) -> Bytes {
    if resource.is_custom() {
        let mut object = object.clone();
        object["apiVersion"] = Value::from(&*resource.api_version());
        object["kind"] = Value::from(&*resource.kind);
        return write_custom(&object).0.into();
    }
    write(object, &object["metadata"], resource.shown_type()).into()
}

/// A custom object says its version itself, since it may be stored in any of several; then come its metadata, the
/// resourceVersion first. Answers the place of that one's digits, too.
fn write_custom(object: &Value) -> (Vec<u8>, usize) {
    let mut out = Vec::with_capacity(1024);
    let mut stamp = 0;
    out.extend_from_slice(WHOLE);
    encode::write(&object["apiVersion"], None, &mut out);
    out.extend_from_slice(b",\"kind\":");
    encode::write(&object["kind"], None, &mut out);
    out.extend_from_slice(b",\"metadata\":{");
    let metadata = object["metadata"].as_object();
    let version = metadata.and_then(|m| m.get_key_value("resourceVersion"));
    let others = metadata
        .into_iter()
        .flatten()
        .filter(|(name, _)| *name != "resourceVersion");
    for (i, (name, value)) in version.into_iter().chain(others).enumerate() {
        out.extend_from_slice(if i > 0 { b"," } else { b"" });
        write_member(name, value, &mut out);
        if i == 0 && name == "resourceVersion" {
            // Before the closing quote.
            stamp = out.len() - 1;
        }
    }
    out.push(b'}');
    for (name, value) in object.as_object().into_iter().flatten() {
        if !matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            out.push(b',');
            write_member(name, value, &mut out);
        }
    }
    out.push(b'}');
    (out, stamp)
}

fn write_member(name: &str, value: &Value, out: &mut Vec<u8>) {
    encode::write(&Value::from(name), None, out);
    out.push(b':');
    encode::write(value, None, out);
}

/// The revision that the bytes of a custom object say; none for what is not stored.
pub fn revision(stored: &[u8]) -> Option<u64> {
    let metadata = metadata(stored).strip_prefix(b"{\"resourceVersion\":\"")?;
    let digits = metadata.split(|b| *b == b'"').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// How the bytes of an object begin that says its own version.
const WHOLE: &[u8] = b"{\"apiVersion\":";

/// Whether stored bytes say that version of themselves.
pub fn has_version(stored: &[u8], api_version: &str) -> bool {
    let rest = stored
        .strip_prefix(WHOLE)
        .and_then(|r| r.strip_prefix(b"\""));
    let rest = rest.and_then(|r| r.strip_prefix(api_version.as_bytes()));
    rest.is_some_and(|r| r.starts_with(b"\""))
}

fn write(object: &Value, metadata: &Value, ty: Option<Type<'_>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(b"{\"metadata\":");
    encode::write(metadata, metadata_type(), &mut out);
    let known = |name: &str| ty.and_then(|ty| ty.field(name));
    let fields = ty
        .and_then(|ty| ty.fields())
        .map_or(&[][..], |f| f.fields());
    let members = object.as_object();
    let in_order = fields
        .iter()
        .filter_map(|f| Some((&*f.name, members?.get(&*f.name)?)));
    let others = members
        .into_iter()
        .flatten()
        .filter(|(name, _)| known(name).is_none());
    for (name, value) in in_order.chain(others.map(|(name, value)| (name.as_str(), value))) {
        if !matches!(name, "apiVersion" | "kind" | "metadata") {
            out.push(b',');
            encode::write(&Value::from(name), None, &mut out);
            out.push(b':');
            encode::write(value, known(name).map(|(_, ty)| ty), &mut out);
        }
    }
    out.push(b'}');
    out
}

fn metadata_type() -> Option<Type<'static>> {
    let (_, ty) = Schema::builtin().kind("", "v1", "Pod")?.field("metadata")?;
    Some(ty)
}

/// The members of a value, which is made an object when it is none.
pub fn member_of(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("just made so")
}

/// How deep stored objects may nest: what is stored must be readable again, and readers recurse.
const DEPTH_MAX: usize = 120;
/// Upstream's limit of what etcd takes.
const BYTES_MAX: usize = 3 << 19;

/// Refuses what a sequence of patches made too deep or too large, though each of them was small.
pub fn check_bounds(object: &Value) -> Result<(), Refusal> {
    if deeper_than(object, DEPTH_MAX) {
        return Err(Status::bad_request(format!(
            "the object nests deeper than {DEPTH_MAX} levels"
        ))
        .into());
    }
    if longer_than(object, &mut BYTES_MAX.clone()) {
        return Err(Status::unclassified("etcdserver: request is too large").into());
    }
    Ok(())
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    match value {
        Value::Object(members) => {
            levels == 0 || members.values().any(|v| deeper_than(v, levels - 1))
        }
        Value::Array(items) => levels == 0 || items.iter().any(|v| deeper_than(v, levels - 1)),
        _ => false,
    }
}

/// Whether the texts, names and values of an object use up what is `left`.
fn longer_than(value: &Value, left: &mut usize) -> bool {
    let mut take = |bytes: usize| {
        *left = left.saturating_sub(bytes);
        *left == 0
    };
    match value {
        Value::String(text) => take(text.len() + 2),
        Value::Object(members) => members
            .iter()
            .any(|(name, v)| longer_than(v, left) || longer_than_name(name, left)),
        Value::Array(items) => items.iter().any(|v| longer_than(v, left)),
        _ => take(2),
    }
}

fn longer_than_name(name: &str, left: &mut usize) -> bool {
    *left = left.saturating_sub(name.len() + 4);
    *left == 0
}

/// Decodes stored bytes into an object with `apiVersion` and `kind`.
pub fn decode(bytes: &[u8], resource: &Resource) -> Value {
    let mut object: Value =
        serde_json::from_slice(bytes).expect("the store holds what encode wrote");
    if let Some(custom) = &resource.custom {
        if custom.family.conversion == Conversion::None
            || has_version(bytes, &resource.api_version())
        {
            convert::stored(&mut object, &custom.family);
            convert::relabel(&mut object, &resource.version, &custom.family);
        }
        return object;
    }
    object["apiVersion"] = Value::from(&*resource.api_version());
    object["kind"] = Value::from(&*resource.kind);
    object
}

/// What goes before the stored bytes of an object, whose own `{` is left out.
pub fn head(api_version: &str, kind: &str) -> String {
    format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",")
}

/// Appends a whole object: the head, and the stored bytes behind their `{`. Custom objects are whole already.
pub fn splice(out: &mut impl BufMut, head: &str, stored: &[u8]) {
    if stored.starts_with(WHOLE) {
        return out.put_slice(stored);
    }
    out.put_slice(head.as_bytes());
    out.put_slice(&stored[1..]);
}

/// Stored bytes, or a part of them, as a value.
pub fn parse(stored: &[u8]) -> Value {
    serde_json::from_slice(stored).expect("the store holds what encode wrote")
}

/// The metadata of a stored object, which is its first member (behind what a custom object says of itself): found
/// without reading further.
pub fn metadata(stored: &[u8]) -> &[u8] {
    const MEMBER: &[u8] = b"\"metadata\":";
    let before = match stored.starts_with(WHOLE) {
        true => stored.windows(MEMBER.len()).position(|w| w == MEMBER),
        false => Some(1),
    };
    let start = before.unwrap_or(1) + MEMBER.len();
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (i, byte) in stored.iter().enumerate().skip(start) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                // Metadata that are no object end where the whole does.
                let Some(left) = depth.checked_sub(1) else {
                    break;
                };
                depth = left;
                if depth == 0 {
                    return &stored[start..=i];
                }
            }
            _ => {}
        }
    }
    b"{}"
}

/// Metadata alone, in the order in which Go has it.
pub fn encode_metadata(metadata: &Value) -> Vec<u8> {
    encode::json(metadata, metadata_type())
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
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }
}

/// A member that is an object, made (or made an object) when it is not.
pub fn member_mut<'a>(object: &'a mut Value, name: &str) -> &'a mut Map<String, Value> {
    member_of(member_of(object).entry(name).or_insert(Value::Null))
}

/// A number anywhere in an object.
pub fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use karve_api::resource::Table;
    use serde_json::json;

    #[test]
    fn objects_are_bounded() {
        let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!({"a": inner}));
        assert!(check_bounds(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(
            check_bounds(&nested(DEPTH_MAX + 1)).map_err(|r| r.status().code),
            Err(400)
        );
        let text = |bytes: usize| json!({"a": "x".repeat(bytes)});
        assert!(check_bounds(&text(BYTES_MAX / 2)).is_ok());
        assert_eq!(
            check_bounds(&text(BYTES_MAX)).map_err(|r| r.status().code),
            Err(500)
        );
    }

    #[test]
    fn metadata_is_cut_out() {
        let rows = [
            (
                r#"{"metadata":{"name":"}\\\"{","labels":{"a":"]"}},"spec":{}}"#,
                r#"{"name":"}\\\"{","labels":{"a":"]"}}"#,
            ),
            (r#"{"metadata":{}}"#, "{}"),
            (r#"{"metadata":null}"#, "{}"),
        ];
        for (stored, want) in rows {
            assert_eq!(metadata(stored.as_bytes()), want.as_bytes(), "{stored}");
        }
    }

    #[test]
    fn stored_bytes_hold_the_revision_and_no_kind() {
        let pods = Table::builtin().by_kind("", "v1", "Pod").expect("built in");
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {}, "metadata": {
            "name": "\"resourceVersion\":\"\"", "resourceVersion": "3", "labels": {"resourceVersion": ""}}});
        let bytes = encode(&pod, pods).at_revision(17);
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        let want = r#"{"metadata":{"name":"\"resourceVersion\":\"\"","resourceVersion":"17","labels":{"resourceVersion":""}},"spec":{}}"#;
        assert_eq!(text, want);
        let bare = encode(&json!({}), pods).at_revision(1);
        assert_eq!(&*bare, br#"{"metadata":{"resourceVersion":"1"}}"#);
    }
}
