//! OpenAPI documents, made from the tables: v3 in one for each group and version, and an index of them; v2 in one.
//!
//! kubectl reads them for client-side apply (patch strategies), `explain`, and to learn whether the server validates
//! fields and takes strategic merge patches; client generators read all of them. Making one takes milliseconds, so they
//! are made when asked for; the index carries a hash of their inputs, so that clients may cache them. Custom resources
//! bring their own schemas. Absent: serving, caching, and what other servers add ([`crate::discovery`] neither).

mod custom;
mod descriptions;
mod enums;
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

/// `/openapi/v3`: where each document is.
pub fn index(table: &Table) -> Value {
    let versions = table
        .group_versions()
        .map(|(group, version)| document_path(group, &version.name));
    let paths: Map<String, Value> = root_paths(table)
        .into_iter()
        .chain(versions)
        .filter_map(|path| {
            let url = format!("/openapi/v3/{path}?hash={}", hash(table, &path)?);
            Some((path, json!({"serverRelativeURL": url})))
        })
        .collect();
    json!({"paths": paths})
}

/// The documents that belong to no version.
fn root_paths(table: &Table) -> Vec<String> {
    let named = table.groups().filter(|group| !group.name.is_empty());
    // Upstream has none for groups of custom resources only.
    let builtin = named.filter(|g| {
        g.versions
            .iter()
            .any(|v| v.resources.iter().any(|r| !r.is_custom()))
    });
    let groups = builtin.map(|group| format!("apis/{}", group.name));
    operations::ROOTS
        .iter()
        .map(|path| (*path).to_owned())
        .chain(groups)
        .collect()
}

/// `api/v1`, `apis/apps/v1`: the path of a document below `/openapi/v3/`.
pub fn document_path(group: &str, version: &str) -> String {
    match group.is_empty() {
        true => format!("api/{version}"),
        false => format!("apis/{group}/{version}"),
    }
}

/// The version that a document is about.
fn version_at<'t>(table: &'t Table, path: &str) -> Option<(&'t str, &'t Version)> {
    let mut found = table.group_versions();
    found.find(|(group, version)| document_path(group, &version.name) == path)
}

/// The hash in the index: equal inputs have equal hashes. `None` when there is no such document.
pub fn hash(table: &Table, path: &str) -> Option<String> {
    let mut hash = Fnv::default();
    hash.write(GIT_VERSION);
    hash.write(env!("CARGO_PKG_VERSION"));
    hash.write(path);
    match version_at(table, path) {
        Some((_, version)) => version.resources.iter().for_each(|resource| {
            hash.write(&resource.plural);
            hash.write(&resource.kind);
            custom::hash(resource, &mut hash);
        }),
        None if root_paths(table).iter().any(|known| known == path) => {}
        None => return None,
    }
    Some(format!("{:016X}", hash.0))
}

/// The hash of the v2 document.
pub fn hash_v2(table: &Table) -> String {
    let mut hash = Fnv::default();
    for (group, version) in table.group_versions() {
        let own = self::hash(table, &document_path(group, &version.name));
        hash.write(&own.unwrap_or_default());
    }
    format!("{:016X}", hash.0)
}

/// The document at a path below `/openapi/v3/`: `api/v1`, `apis/GROUP/VERSION`, `apis/GROUP`, `version`, …
pub fn document(schema: &Schema, table: &Table, path: &str) -> Option<Value> {
    let texts = Descriptions::read();
    let mut components = Components::new(Edition::V3, &texts);
    let mut versions = vec![("", "v1")];
    let paths = match version_at(table, path) {
        Some((group, version)) => {
            custom::definitions(schema, version, &mut components);
            if (group, &*version.name) != ("", "v1") {
                versions.push((group, &version.name));
            }
            operations::paths(schema, &texts, group, version)
        }
        None if root_paths(table).iter().any(|known| known == path) => {
            vec![(format!("/{path}/"), vec![operations::root(schema, path)])]
        }
        None => return None,
    };
    let paths = paths::paths(paths, &mut components);
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths,
        "components": {
            "schemas": components.schemas(schema, &versions),
            "securitySchemes": security(),
        },
    }))
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
