//! What a Kubernetes object is: its schema, codecs, patches, defaults, validation, selectors and tables.
//!
//! Objects are [`serde_json::Value`] everywhere. Two halves share the crate: an *engine* driven by data tables made from
//! upstream's own definitions ([`resource`], [`crd`], [`discovery`], [`schema`], [`decode`], [`encode`], [`patch`], [`apply`],
//! [`openapi`]), which knows no kind by name, and the *semantics* of the built-in kinds ([`defaults`], [`validate`], [`strategy`],
//! [`selector`], [`mod@print`], and the small vocabularies beside them).
//!
//! Invariant: everything is a pure function of its arguments. Deliberately absent: I/O, async, clocks and random
//! numbers (times and UIDs are passed in), and the typed structs of client libraries.

pub mod amounts;
pub mod apply;
pub mod convert;
pub mod crd;
pub mod decode;
pub mod defaults;
pub mod discovery;
pub mod encode;
pub mod field;
pub mod internal;
pub mod intstr;
pub mod names;
pub mod openapi;
pub mod patch;
mod pem;
pub mod pod_security;
pub mod print;
pub mod quantity;
pub mod quota;
pub mod resource;
pub mod schema;
pub mod selector;
pub mod status;
pub mod strategy;
pub mod time;
pub mod validate;
