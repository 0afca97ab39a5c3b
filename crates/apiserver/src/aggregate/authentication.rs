//! What servers of other groups have to know to believe this one: a ConfigMap that they read.

use karve_api::resource::Table;
use karve_store::{Op, Store};
use serde_json::json;

use crate::options::Options;
use crate::{keys, object, own};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// The operation that makes the ConfigMap, or brings it to what is so now.
pub fn publish(store: &Store, options: &Options) -> Option<Op> {
    let data = json!(options.extension_authentication);
    let key = keys::core("configmaps", NAMESPACE, NAME);
    let Some(entry) = store.get(&key) else {
        return own::create(
            store,
            json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": NAME, "namespace": NAMESPACE}, "data": data,
            }),
        );
    };
    let kind = Table::builtin().by_kind("", "v1", "ConfigMap")?;
    let old = object::decode(entry.value(), kind);
    if old["data"] == data || (old["data"].is_null() && options.extension_authentication.is_empty())
    {
        return None;
    }
    let mut new = old.clone();
    object::member_of(&mut new).insert("data".into(), data);
    own::record(kind, "", Some(&old), &mut new);
    Some(Op::update(
        key,
        entry.revision(),
        object::encode(&new, kind),
    ))
}
