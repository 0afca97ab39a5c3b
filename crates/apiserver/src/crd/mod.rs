//! CustomResourceDefinitions: which are served, what their status says, and how they end.
//!
//! What upstream's controllers for definitions do happens here, in the API server itself, also where no other controller
//! runs. One task follows the definitions in the store; after each change it writes the status that `karve-api` says a
//! definition should have, and puts the resources of all of them into the server's table, milliseconds after the change.
//! Absent: what is right in a definition or an object (`karve_api::crd`).

pub mod conversion;
mod finalize;
mod keeper;
pub mod rules;
mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;

use karve_api::crd::definition;
use karve_api::resource::{Resource, Table};
use karve_store::Entry;
use serde_json::{Value, json};

use crate::object::{self, Meta};
use crate::write;

pub use keeper::Keeper;

/// Where definitions are.
pub const PREFIX: &str = "/apiextensions.k8s.io/customresourcedefinitions/";

/// What keeps a definition that is being deleted until its objects are gone.
pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// The resource of definitions.
fn resource() -> &'static Arc<Resource> {
    Table::builtin()
        .lookup("apiextensions.k8s.io", "v1", "customresourcedefinitions")
        .expect("definitions are built in")
}

/// One definition as it is now.
struct Known {
    revision: u64,
    object: Value,
    resources: Vec<Arc<Resource>>,
}

/// All definitions by name.
#[derive(Default)]
struct Definitions(BTreeMap<String, Known>);

impl Definitions {
    fn put(&mut self, entry: &Entry) {
        let object = object::decode(entry.value(), resource());
        let resources = definition::resources(&object, entry.revision());
        let known = Known {
            revision: entry.revision(),
            object,
            resources,
        };
        self.0.insert(name_of(entry.key()).to_owned(), known);
    }

    /// The table of the built-in resources and of all definitions.
    fn table(&self) -> Table {
        let all = self.0.values().flat_map(|known| &known.resources);
        definition::table(all.cloned())
    }
}

/// The name of the definition with a key.
fn name_of(key: &str) -> &str {
    key.strip_prefix(PREFIX).unwrap_or(key)
}

/// The deletion of a definition: it is marked first, and goes when its objects are gone.
pub fn mark_deleted(definition: &mut Value) {
    definition.set_meta("deletionTimestamp", write::now());
    let mut finalizers: Vec<Value> = definition
        .finalizers()
        .into_iter()
        .map(Value::from)
        .collect();
    if !finalizers.iter().any(|f| f == FINALIZER) {
        finalizers.push(FINALIZER.into());
    }
    definition.set_meta("finalizers", finalizers);
    let mut status = definition["status"].take();
    if !status.is_object() {
        status = json!({});
    }
    karve_api::crd::conditions::terminating(
        &mut status,
        "True",
        "InstanceDeletionPending",
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
            .to_owned(),
        jiff::Timestamp::now(),
    );
    definition["status"] = status;
}
