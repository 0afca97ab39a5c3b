//! Values of expressions. JSON is read where it lies: nothing is copied until something new is made of it.

pub mod compare;
pub mod json;
pub mod time;

use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

use serde_json::Value as Json;

use crate::library::opaque::Opaque;
use crate::schema::{Decl, ListKind, Object};
use crate::types::Type;
use time::Timestamp;

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The expression does not fit the data. `&&`, `||` and loops may go on in spite of it.
    #[error("{0}")]
    Failed(String),
    /// The expression costs too much; nothing goes on.
    #[error("operation cancelled: actual cost limit exceeded")]
    CostLimit,
}

impl EvalError {
    /// No function takes values of these types.
    pub fn no_such_overload() -> EvalError {
        EvalError::Failed("no such overload".to_owned())
    }

    /// An error with a text.
    pub fn failed(text: impl Into<String>) -> EvalError {
        EvalError::Failed(text.into())
    }
}

/// The value of an expression, or why it has none.
pub type Evaluated<'a> = Result<Value<'a>, EvalError>;

/// A value. What it borrows lives for `'a`.
#[derive(Clone)]
#[allow(missing_docs)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'a>),
    Bytes(Rc<[u8]>),
    /// Nanoseconds.
    Duration(i64),
    Timestamp(Timestamp),
    Type(Type),
    List(List<'a>),
    Map(Map<'a>),
    Optional(Option<Rc<Value<'a>>>),
    Opaque(Rc<Opaque<'a>>),
    /// JSON that a schema says nothing about.
    Unknown(&'a Json),
}

/// Text, borrowed or shared.
#[derive(Clone)]
pub enum Text<'a> {
    /// Borrowed.
    Borrowed(&'a str),
    /// Shared.
    Shared(Rc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Shared(text) => text,
        }
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Text::Shared(text.into())
    }
}

/// A list.
#[derive(Clone)]
pub enum List<'a> {
    /// A JSON array, and what its elements are.
    Json(&'a [Json], &'a Decl, &'a ListKind),
    /// Values.
    Owned(Rc<Vec<Value<'a>>>),
    /// One list after another, and how many elements there are in all.
    Concat(Rc<(List<'a>, List<'a>)>, usize),
}

/// A map or an object.
#[derive(Clone)]
pub enum Map<'a> {
    /// A JSON object, and what its members are.
    Json(&'a serde_json::Map<String, Json>, Members<'a>),
    /// Values by keys.
    Owned(Rc<Entries<'a>>),
    /// A made object: the type's name, and the fields.
    Made(Rc<(String, Vec<(String, Value<'a>)>)>),
    /// Fields that are computed when they are asked for.
    Lazy(Rc<dyn Fields<'a> + 'a>),
}

/// Fields that are computed when they are asked for.
pub trait Fields<'a> {
    /// The value of a field; none, when there is no such field.
    fn get(&self, name: &str) -> Option<Evaluated<'a>>;
}

/// What the members of a JSON object are.
#[derive(Clone, Copy)]
pub enum Members<'a> {
    /// Declared fields, with escaped names.
    Fields(&'a Object),
    /// Values that are all alike.
    Values(&'a Decl),
    /// Whatever the JSON says.
    Dynamic,
}

/// A key of a map: numbers that are equal are one key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Key {
    Bool(bool),
    Number(i128),
    String(String),
}

/// The entries of a map, in the order in which they were made.
#[derive(Default, Clone)]
pub struct Entries<'a> {
    list: Vec<(Value<'a>, Value<'a>)>,
    index: HashMap<Key, usize>,
}

impl<'a> Entries<'a> {
    /// Adds an entry or replaces its value; false, when there was one.
    pub fn insert(&mut self, key: Value<'a>, value: Value<'a>) -> Result<bool, EvalError> {
        let known = Key::of(&key).ok_or_else(EvalError::no_such_overload)?;
        if let Some(index) = self.index.get(&known) {
            self.list[*index].1 = value;
            return Ok(false);
        }
        self.index.insert(known, self.list.len());
        self.list.push((key, value));
        Ok(true)
    }

    /// The entries.
    pub fn iter(&self) -> impl Iterator<Item = &(Value<'a>, Value<'a>)> {
        self.list.iter()
    }

    /// The value of a key.
    pub fn get(&self, key: &Value<'_>) -> Option<&Value<'a>> {
        let index = self.index.get(&Key::of(key)?)?;
        Some(&self.list[*index].1)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl Key {
    /// The key that a value is.
    pub fn of(value: &Value<'_>) -> Option<Key> {
        Some(match value {
            Value::Bool(value) => Key::Bool(*value),
            Value::Int(value) => Key::Number(i128::from(*value)),
            Value::Uint(value) => Key::Number(i128::from(*value)),
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 1e19 => {
                Key::Number(*value as i128)
            }
            Value::String(value) => Key::String(value.to_string()),
            _ => return None,
        })
    }
}

impl<'a> List<'a> {
    /// A list of values.
    pub fn of(values: Vec<Value<'a>>) -> List<'a> {
        List::Owned(Rc::new(values))
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            List::Json(elements, ..) => elements.len(),
            List::Owned(values) => values.len(),
            List::Concat(_, length) => *length,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An element.
    pub fn get(&self, index: usize) -> Option<Evaluated<'a>> {
        match self {
            List::Json(elements, decl, _) => elements
                .get(index)
                .map(|element| Value::declared(element, decl)),
            List::Owned(values) => values.get(index).cloned().map(Ok),
            List::Concat(parts, _) => {
                let first = parts.0.len();
                match index.checked_sub(first) {
                    Some(rest) => parts.1.get(rest),
                    None => parts.0.get(index),
                }
            }
        }
    }

    /// The elements.
    pub fn iter(&self) -> ListIter<'a> {
        ListIter {
            lists: vec![self.clone()],
            index: 0,
        }
    }
}

/// The elements of a list, one after another.
pub struct ListIter<'a> {
    /// The lists to come, the next one last.
    lists: Vec<List<'a>>,
    index: usize,
}

impl<'a> Iterator for ListIter<'a> {
    type Item = Evaluated<'a>;

    fn next(&mut self) -> Option<Evaluated<'a>> {
        loop {
            let list = self.lists.last()?;
            if let List::Concat(parts, _) = list {
                let parts = Rc::clone(parts);
                self.lists.pop();
                self.lists.push(parts.1.clone());
                self.lists.push(parts.0.clone());
                continue;
            }
            if let Some(value) = list.get(self.index) {
                self.index += 1;
                return Some(value);
            }
            self.lists.pop();
            self.index = 0;
        }
    }
}

impl<'a> Value<'a> {
    /// Text that is borrowed.
    pub fn text(text: &'a str) -> Value<'a> {
        Value::String(Text::Borrowed(text))
    }

    /// Text of its own.
    pub fn string(text: impl Into<String>) -> Value<'a> {
        Value::String(Text::Shared(text.into().into()))
    }

    /// A list of values.
    pub fn list(values: Vec<Value<'a>>) -> Value<'a> {
        Value::List(List::of(values))
    }

    /// A value, as an optional one.
    pub fn some(value: Value<'a>) -> Value<'a> {
        Value::Optional(Some(Rc::new(value)))
    }

    /// The type at run time.
    pub fn ty(&self) -> Type {
        match self {
            Value::Null => Type::Null,
            Value::Bool(_) => Type::Bool,
            Value::Int(_) => Type::Int,
            Value::Uint(_) => Type::Uint,
            Value::Double(_) => Type::Double,
            Value::String(_) => Type::String,
            Value::Bytes(_) => Type::Bytes,
            Value::Duration(_) => Type::Duration,
            Value::Timestamp(_) => Type::Timestamp,
            Value::Type(_) => Type::Type(None),
            Value::List(_) => Type::list(Type::Dyn),
            Value::Map(Map::Made(made)) => Type::object(&made.0),
            Value::Map(_) => Type::map(Type::Dyn, Type::Dyn),
            Value::Optional(_) => Type::optional(Type::Dyn),
            Value::Opaque(opaque) => opaque.ty(),
            Value::Unknown(_) => Type::object("unknown"),
        }
    }

    /// The number of code points, bytes, elements or entries; 1 for everything else.
    pub fn size(&self) -> u64 {
        let size = match self {
            Value::String(text) => text.chars().count(),
            Value::Bytes(bytes) => bytes.len(),
            Value::List(list) => list.len(),
            Value::Map(map) => map.len(),
            Value::Optional(Some(value)) => return value.size(),
            Value::Opaque(opaque) => return opaque.size(),
            _ => 1,
        };
        size as u64
    }
}

impl<'a> Map<'a> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        match self {
            Map::Json(members, _) => members.len(),
            Map::Owned(entries) => entries.len(),
            Map::Made(made) => made.1.len(),
            Map::Lazy(_) => 1,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key; none, when there is no such key.
    pub fn find(&self, key: &Value<'_>) -> Option<Evaluated<'a>> {
        match self {
            Map::Json(members, kind) => match (key, kind) {
                (Value::String(name), _) => self.member(members, *kind, name),
                (_, Members::Dynamic) => None,
                _ => Some(Err(EvalError::no_such_overload())),
            },
            Map::Owned(entries) => entries.get(key).cloned().map(Ok),
            Map::Made(made) => match key {
                Value::String(name) => {
                    let field = made.1.iter().find(|(known, _)| **known == **name);
                    field.map(|(_, value)| Ok(value.clone()))
                }
                _ => None,
            },
            Map::Lazy(fields) => match key {
                Value::String(name) => fields.get(name),
                _ => None,
            },
        }
    }

    fn member(
        &self,
        members: &'a serde_json::Map<String, Json>,
        kind: Members<'a>,
        name: &str,
    ) -> Option<Evaluated<'a>> {
        match kind {
            Members::Dynamic => members.get(name).map(|value| Ok(Value::dynamic(value))),
            Members::Values(decl) => members.get(name).map(|value| Value::declared(value, decl)),
            Members::Fields(object) => {
                let decl = object.fields.get(name)?;
                let value = match members.get(name) {
                    Some(value) if !name.contains("__") => value,
                    _ => members.get(&crate::escape::unescape(name)?)?,
                };
                (!value.is_null()).then(|| Value::declared(value, decl))
            }
        }
    }

    /// The keys, in order.
    pub fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Map::Json(members, Members::Fields(object)) => members
                .keys()
                .filter_map(|name| crate::escape::escape(name))
                .filter(|escaped| object.fields.contains_key(escaped))
                .map(Value::string)
                .collect(),
            Map::Json(members, _) => members.keys().map(|name| Value::text(name)).collect(),
            Map::Owned(entries) => entries.iter().map(|(key, _)| key.clone()).collect(),
            Map::Made(made) => made
                .1
                .iter()
                .map(|(name, _)| Value::string(name.as_str()))
                .collect(),
            Map::Lazy(_) => Vec::new(),
        }
    }
}

/// The value as expressions would write it; for error texts and tests.
impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Uint(value) => write!(f, "{value}u"),
            Value::Double(value) => f.write_str(&json::double_literal(*value)),
            Value::String(text) => f.write_str(&crate::library::quote::go_quote(text)),
            Value::Bytes(bytes) => write!(f, "b{}", crate::library::quote::go_quote_bytes(bytes)),
            Value::Duration(nanos) => write!(f, "duration(\"{}\")", time::seconds(*nanos)),
            Value::Timestamp(at) => write!(f, "timestamp(\"{}\")", at.utc()),
            Value::Type(ty) => f.write_str(&ty.runtime_name()),
            Value::List(list) => {
                f.write_str("[")?;
                for (index, value) in list.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    match value {
                        Ok(value) => write!(f, "{comma}{value:?}")?,
                        Err(error) => write!(f, "{comma}{error}")?,
                    }
                }
                f.write_str("]")
            }
            Value::Map(map) => {
                f.write_str("{")?;
                for (index, key) in map.keys().iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    match map.find(key) {
                        Some(Ok(value)) => write!(f, "{comma}{key:?}: {value:?}")?,
                        _ => write!(f, "{comma}{key:?}")?,
                    }
                }
                f.write_str("}")
            }
            Value::Optional(Some(value)) => write!(f, "optional.of({value:?})"),
            Value::Optional(None) => f.write_str("optional.none()"),
            Value::Opaque(opaque) => write!(f, "{opaque}"),
            Value::Unknown(value) => write!(f, "{value}"),
        }
    }
}
