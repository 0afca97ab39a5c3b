//! Custom resources: what a CustomResourceDefinition says, as the engine needs it.
//!
//! A definition ([`definition`]) is made [`Custom`] resources once, when it is served: its schema becomes a tree
//! ([`props`]) by which objects are pruned and defaulted ([`prune`]), validated ([`value`], [`list_type`], [`metadata`]),
//! applied, shown ([`columns`]) and scaled ([`scale`]). [`validate`] says what is wrong with a definition,
//! [`conditions`] what its status should be. Everything is pure; absent: serving, storing, and calling webhooks.

pub mod columns;
pub mod conditions;
pub mod convert;
pub mod decode;
pub mod definition;
pub mod formats;
pub mod jsonpath;
pub mod list_type;
pub mod metadata;
pub mod object;
pub mod pattern;
pub mod props;
pub mod prune;
pub mod scale;
pub mod structural;
pub mod validate;
pub mod value;

use std::any::Any;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use self::columns::Columns;
use self::definition::Family;
use self::props::Props;
use self::scale::Scale;
use crate::schema::{Schema, Type};

/// What a version of a CustomResourceDefinition says of its objects.
#[derive(Debug)]
pub struct Custom {
    /// The versions of the definition.
    pub family: Arc<Family>,
    /// The schema of the objects.
    pub schema: Arc<Props>,
    /// The schema as the definition has it, for documents.
    pub source: Value,
    /// How they are listed.
    pub columns: Columns,
    /// Whether `status` is a subresource.
    pub status: bool,
    /// Where the `scale` subresource finds its numbers.
    pub scale: Option<Scale>,
    /// The fields by which objects can be selected: `spec.color`.
    pub selectable: Vec<String>,
    /// What clients are told when the version is deprecated.
    pub deprecation: Option<String>,
    /// Whether the schema has rules anywhere.
    pub has_rules: bool,
    /// What the server made of the rules; this crate does not know expressions.
    pub compiled: OnceLock<Box<dyn Any + Send + Sync>>,
    types: Schema,
}

impl Custom {
    /// The type of the objects, for server-side apply and for the order of members.
    pub fn ty(&self) -> Type<'_> {
        self.types.root()
    }
}
