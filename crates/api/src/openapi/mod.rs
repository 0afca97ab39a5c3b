//! OpenAPI documents, made from the tables: v3 in one for each group and version, and an index of them; v2 in one.
//!
//! kubectl reads them for client-side apply (patch strategies), `explain`, and to learn whether the server validates
//! fields and takes strategic merge patches; client generators read all of them. Making one takes milliseconds, so they
//! are made when asked for; the index carries a hash of their inputs, so that clients may cache them. Custom resources
//! bring their own schemas. Absent: serving, caching, and what other servers add ([`crate::discovery`] neither).

mod custom;
mod descriptions;
mod operations;
mod parameters;
mod paths;
mod proto;
mod schemas;
mod v2;

use serde_json::{Map, Value, json};

use crate::discovery::GIT_VERSION;
use crate::resource::{Table, Version};
use crate::schema::Schema;
use descriptions::Descriptions;
use schemas::{Components, Edition};


pub use proto::{v2_protobuf, v3_protobuf};
pub use v2::document as document_v2;

/// The version that documents are of.
const VERSION: &str = "1.37";

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
    let texts = Descriptions::read();
    let mut components = Components::new(Edition::V3, &texts);
    let paths = operations::paths(schema, &texts, group, version);
    let paths = paths::paths(paths, &mut components);
    custom::definitions(schema, version, &mut components);
    let mut versions = vec![("", "v1")];
    if (group, &*version.name) != ("", "v1") {
        versions.push((group, &version.name));
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths,
        "components": {
            "schemas": components.schemas(schema, &versions),
            "securitySchemes": security(),
        },
    })
}

fn security() -> Value {
    json!({"BearerToken": {
        "description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header",
    }})
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
