//! OpenAPI v3 documents, made from the tables: one for each group and version, and an index of them.
//!
//! kubectl reads them for client-side apply (patch strategies), `explain`, and to learn whether the server validates
//! fields and takes strategic merge patches. Documents are made when asked for and not kept: the index carries a hash of
//! their inputs, so that clients may cache them.
//!
//! DEVIATION: enums and zero defaults are left out, and so is the OpenAPI v2 document.

mod descriptions;
mod paths;
mod schemas;

use serde_json::{Map, Value, json};

use crate::discovery::GIT_VERSION;
use crate::resource::{Table, Version};
use crate::schema::Schema;

/// `/openapi/v3`: where the document of each group and version is.
pub fn index(table: &Table) -> Value {
    let paths: Map<String, Value> = table
        .group_versions()
        .map(|(group, version)| {
            let path = document_path(group, &version.name);
            let hash = hash(group, version);
            let url = format!("/openapi/v3/{path}?hash={hash}");
            (path, json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

/// `api/v1`, `apis/apps/v1`: the path of a document below `/openapi/v3/`.
pub fn document_path(group: &str, version: &str) -> String {
    match group.is_empty() {
        true => format!("api/{version}"),
        false => format!("apis/{group}/{version}"),
    }
}

/// The hash in the index: equal inputs have equal hashes.
pub fn hash(group: &str, version: &Version) -> String {
    let mut hash = Fnv::default();
    hash.write(GIT_VERSION);
    hash.write(env!("CARGO_PKG_VERSION"));
    hash.write(&document_path(group, &version.name));
    for resource in &version.resources {
        hash.write(&resource.plural);
        hash.write(&resource.kind);
    }
    format!("{:016X}", hash.0)
}

/// `/openapi/v3/api/v1`, `/openapi/v3/apis/GROUP/VERSION`.
pub fn document(schema: &Schema, group: &str, version: &Version) -> Value {
    let mut components = schemas::Components::new();
    let paths = paths::paths(schema, group, version, &mut components);
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": GIT_VERSION},
        "paths": paths,
        "components": {
            "schemas": components.schemas(schema, group, &version.name),
            "securitySchemes": {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}},
        },
    })
}

/// FNV-1a: a hash that is the same in every build.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn write(&mut self, text: &str) {
        for byte in text.bytes().chain([0]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests;
