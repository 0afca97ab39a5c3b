//! Types, and how they are named in errors.

use std::fmt;
use std::sync::Arc;

/// A type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Type {
    /// Known at run time only.
    Dyn,
    /// The type of an expression that is wrong; errors about it have been reported.
    Error,
    /// `null`.
    Null,
    /// `true` and `false`.
    Bool,
    /// Signed 64-bit integers.
    Int,
    /// Unsigned 64-bit integers.
    Uint,
    /// 64-bit floating point numbers.
    Double,
    /// Text.
    String,
    /// Bytes.
    Bytes,
    /// A length of time.
    Duration,
    /// A point in time.
    Timestamp,
    /// A list of one type.
    List(Arc<Type>),
    /// A map from one type to another.
    Map(Arc<(Type, Type)>),
    /// A named type that may have parameters, such as `optional_type(int)` or `net.IP`.
    Opaque(Arc<str>, Arc<[Type]>),
    /// An object with fields.
    Object(Arc<str>),
    /// A type as a value.
    Type(Option<Arc<Type>>),
    /// A type to be found out.
    Param(Arc<str>),
}

/// The name of optional types.
pub const OPTIONAL: &str = "optional_type";

impl Type {
    /// A list of `element`.
    pub fn list(element: Type) -> Type {
        Type::List(Arc::new(element))
    }

    /// A map from `key` to `value`.
    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new((key, value)))
    }

    /// A value of a type, or none.
    pub fn optional(value: Type) -> Type {
        Type::Opaque(OPTIONAL.into(), [value].into())
    }

    /// An object type.
    pub fn object(name: &str) -> Type {
        Type::Object(name.into())
    }

    /// Whether the checker leaves it to the run time.
    pub fn is_dyn(&self) -> bool {
        *self == Type::Dyn
    }

    /// Whether it is dynamic or wrong, so that nothing can be said against it.
    pub fn is_dyn_or_error(&self) -> bool {
        matches!(self, Type::Dyn | Type::Error)
    }

    /// What an optional type may hold; any other type itself, with `false`.
    pub fn unwrap_optional(&self) -> (Type, bool) {
        match self {
            Type::Opaque(name, params) if &**name == OPTIONAL && params.len() == 1 => {
                (params[0].clone(), true)
            }
            other => (other.clone(), false),
        }
    }

    /// Whether all its values have size one for cost estimates.
    pub fn is_scalar(&self) -> bool {
        match self {
            Type::Bool
            | Type::Double
            | Type::Duration
            | Type::Int
            | Type::Timestamp
            | Type::Uint => true,
            Type::Opaque(name, params) if &**name == OPTIONAL => {
                params.first().is_some_and(Type::is_scalar)
            }
            _ => false,
        }
    }

    /// Its name as a value, as `type(x)` shows it.
    pub fn runtime_name(&self) -> String {
        match self {
            Type::Null => "null_type".to_owned(),
            Type::Duration => "google.protobuf.Duration".to_owned(),
            Type::Timestamp => "google.protobuf.Timestamp".to_owned(),
            Type::List(_) => "list".to_owned(),
            Type::Map(_) => "map".to_owned(),
            Type::Opaque(name, _) | Type::Object(name) | Type::Param(name) => name.to_string(),
            Type::Type(_) => "type".to_owned(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Dyn => f.write_str("dyn"),
            Type::Error => f.write_str("!error!"),
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Uint => f.write_str("uint"),
            Type::Double => f.write_str("double"),
            Type::String => f.write_str("string"),
            Type::Bytes => f.write_str("bytes"),
            Type::Duration => f.write_str("duration"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::List(element) => write!(f, "list({element})"),
            Type::Map(entry) => write!(f, "map({}, {})", entry.0, entry.1),
            Type::Opaque(name, params) if params.is_empty() => f.write_str(name),
            Type::Opaque(name, params) => {
                let params: Vec<String> = params.iter().map(Type::to_string).collect();
                write!(f, "{name}({})", params.join(", "))
            }
            Type::Object(name) | Type::Param(name) => f.write_str(name),
            Type::Type(None) => f.write_str("type"),
            Type::Type(Some(of)) => write!(f, "type({of})"),
        }
    }
}
