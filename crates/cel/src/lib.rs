//! CEL, the expression language of Kubernetes' rules and policies (<https://cel.dev>), as Kubernetes v1.37
//! uses it: its macros, its libraries, its type checks against schemas, its costs, and its error texts.
//!
//! An expression is [parsed](parse), [checked](check) in an [environment](env), its cost [estimated](cost),
//! [planned and run](eval); [`Program`](program::Program) does all of it. [`Rules`](rule::Rules) are what
//! custom resources ask for; policies make environments of their own. Values read JSON where it lies, and
//! schemas are the JSON of `openAPIV3Schema`.
//!
//! Why not a library: the `cel` crate (and `kube-cel` on it) has a parser of its own errors, no type check and
//! no cost limits, which is most of what a client can notice: a rule that upstream refuses must be refused,
//! with the same text. So all of it is here, and the parser recovers from errors in the way of upstream's
//! generator, ANTLR.
//!
//! Invariants: an evaluation ends, whatever the expression and the data; what it makes is bounded by its cost
//! limit. Nothing here knows of requests, of the network or of the clock.
//!
//! Deliberately absent: protocol buffers (messages, wrappers, enums, `google.protobuf.Any`), `cel.bind` and
//! other extensions that Kubernetes does not enable, unknown values, and partial evaluation.

pub mod ast;
pub mod check;
pub mod cost;
pub mod env;
pub mod escape;
pub mod eval;
pub mod functions;
pub mod library;
pub mod names;
pub mod parse;
pub mod program;
pub mod rule;
pub mod schema;
pub mod source;
pub mod types;
pub mod value;
