//! The functions themselves. Each takes its arguments (a method's receiver first) and looks at their types:
//! none of its own means that there is no such overload.

pub mod authorizer;
pub mod convert;
pub mod format;
pub mod lists;
pub mod named_format;
pub mod net;
pub mod opaque;
pub mod operators;
pub mod optional;
pub mod quantity;
pub mod quote;
pub mod regex;
pub mod semver;
pub mod strings;
pub mod time;
pub mod url;

use crate::cost::Meter;
use crate::value::{EvalError, Evaluated, Value};

/// A function. None, when it does not take values of these types.
pub type Native = for<'a> fn(&mut Meter, &[Value<'a>]) -> Option<Evaluated<'a>>;

/// The largest text that a function may make, in bytes: a single pass over more would cost too much.
pub const TEXT_MAX: usize = 10_000_000;
/// The longest list that a function may make.
pub const LIST_MAX: usize = 1_000_000;

/// A function by its name.
pub fn native(name: &str) -> Option<Native> {
    operators::native(name)
        .or_else(|| convert::native(name))
        .or_else(|| strings::native(name))
        .or_else(|| lists::native(name))
        .or_else(|| optional::native(name))
        .or_else(|| time::native(name))
        .or_else(|| net::native(name))
        .or_else(|| url::native(name))
        .or_else(|| quantity::native(name))
        .or_else(|| semver::native(name))
        .or_else(|| named_format::native(name))
        .or_else(|| authorizer::native(name))
        .or_else(|| regex::native(name))
}

/// Text that a function made.
pub(crate) fn text<'a>(text: String) -> Option<Evaluated<'a>> {
    if text.len() > TEXT_MAX {
        return Some(Err(EvalError::CostLimit));
    }
    Some(Ok(Value::string(text)))
}

pub(crate) fn ok<'a>(value: Value<'a>) -> Option<Evaluated<'a>> {
    Some(Ok(value))
}

pub(crate) fn failed<'a>(text: impl Into<String>) -> Option<Evaluated<'a>> {
    Some(Err(EvalError::failed(text)))
}

/// A list of texts.
pub(crate) fn texts<'a>(texts: impl IntoIterator<Item = impl Into<String>>) -> Value<'a> {
    Value::list(texts.into_iter().map(|text| Value::string(text)).collect())
}
