//! Selectors: by labels (text and object form) and by fields.
//!
//! A selector is parsed once and then matches objects without allocating.

mod field_selector;
mod label;
mod label_text;
mod lexer;
mod object;
mod selectable;

pub use field_selector::{FieldSelector, FieldTerm, ParseFieldError};
pub use label::{LabelSelector, Operator, Requirement};
pub use label_text::ParseLabelError;
pub use object::InvalidOperator;
pub use selectable::{CompiledFieldSelector, UnsupportedField};

#[cfg(test)]
mod tests;
