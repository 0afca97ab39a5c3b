//! LoadBalancer addresses: who gets which ([`allocate`], one in the server) and which node answers for
//! them ([`announce`], one in each agent). The field knows this pair as MetalLB's controller and
//! speaker, whose configuration, annotations and events are understood and written here.
//!
//! Invariants: an address belongs to one Service, or to several that agreed to share it; exactly one
//! live node answers for it, chosen by each agent alone from the same objects. Both sides plan purely
//! and keep nothing outside of the API: a restarted process finds all it needs in `status`.
//!
//! Absent on purpose: BGP, IPv6, and a finalizer on Services, since nothing outside of the cluster
//! has to be given back when a Service goes.

pub mod allocate;
pub mod announce;

mod objects;
mod pools;
