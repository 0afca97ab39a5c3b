//! Objects between the versions of their kind.
//!
//! One version is stored; others are views of it. Conversion loses nothing: what a version has no field for is kept in
//! annotations, as upstream keeps it.

pub mod autoscaler;
