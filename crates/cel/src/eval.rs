//! Running an expression.

mod attribute;
mod plan;
mod run;

pub(crate) use plan::{Node, Planned, plan};
pub(crate) use run::run;
pub use run::{Activation, Outcome};
