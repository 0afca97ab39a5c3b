//! The Kubernetes API: HTTP, authentication, authorization, admission, allocation, watches.
//!
//! One handler answers every request, whether it comes by TLS ([`ApiServer::serve`]) or from inside the process
//! ([`ApiServer::client`]). It knows resources by the table of `karve-api` and objects as JSON; the bytes that the store
//! holds are the bytes that readers get (see `object`).
//!
//! Invariant: an answer to a write is sent when the write is durable, and every watcher is told in the order of
//! revisions. Deliberately absent: what objects mean (`karve-api`), what happens because of them (controllers).

mod admission;
mod aggregate;
mod allocate;
mod answer;
mod api;
mod audit;
mod authenticate;
mod authorize;
mod body;
mod bootstrap;
mod call;
mod compaction;
mod compress;
mod convert;
mod crd;
mod create;
mod delete;
mod duration;
mod egress;
mod encoder;
mod expiry;
mod flow;
mod follow;
mod forward;
mod handle;
mod health;
mod identity;
mod impersonate;
mod keys;
mod kubelet;
mod list;
mod listen;
mod matching;
mod media;
mod metrics;
mod nonresource;
mod object;
mod openapi;
mod options;
pub mod outside;
mod own;
mod patch;
mod path;
mod policy;
mod presence;
mod pretty;
mod query;
mod respond;
mod review;
mod seen;
mod select;
mod semantics;
mod server;
mod signing_request;
mod subresource;
mod table;
mod tls;
mod trail;
mod update;
mod watch;
mod webhook;
mod write;

pub use api::{ApiServer, Error, server_tls};
pub use audit::{AuditError, AuditOptions, LogOptions, PolicyError};
pub use authenticate::Error as AuthenticationError;
pub use authorize::{Attributes, Authorizer, Decision, Outcome};
pub use body::Body;
pub use duration::parse as parse_duration;
pub use identity::Identity;
pub use options::{Admission, Authentication, Limits, Options, RequestHeader};
pub use tls::{ServerTls, TlsChoice, UnknownSuite};
pub use webhook::client::ProxyClient;
