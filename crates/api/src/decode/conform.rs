//! What a Go program would make of a document of a known type: refuses wrong JSON types with Go's texts, leaves out
//! unknown members and says which, spells scalars as they are stored, and gives every struct the members that Go always
//! writes (see [`crate::schema::tidy`]).
//!
//! Invariant: the work is linear in the document, and recursion is bounded by the document's own depth.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::node::Node;
use super::scalar;
use crate::schema::{Field, Scalar, Shape, Struct, Type, tidy};

/// Upstream stops to collect after this many warnings.
const STRICT_MAX: usize = 100;

/// Why a document is not of its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A JSON type that the Go type does not take.
    #[error("json: cannot unmarshal {value} into Go {place} of type {go}")]
    Mismatch {
        /// `string`, `number 1.5`.
        value: Cow<'static, str>,
        /// `struct field PodSpec.spec.hostNetwork`, or `value` at the top.
        place: Cow<'static, str>,
        /// `int32`
        go: String,
        /// Go's kind of the type: `slice`, `map`, `struct`, or the kind of a scalar.
        kind: &'static str,
    },
    /// A text that is no time, quantity or base64.
    #[error("{0}")]
    Text(String),
}

impl Error {
    pub(super) fn mismatch(value: impl Into<Cow<'static, str>>, ty: Type<'_>) -> Error {
        let (go, kind) = (ty.go_name().into_owned(), ty.go_kind());
        Error::Mismatch {
            value: value.into(),
            place: Cow::Borrowed("value"),
            go,
            kind,
        }
    }

    /// Of a type that unmarshals itself by way of a builtin one.
    pub(super) fn builtin(value: impl Into<Cow<'static, str>>, kind: &'static str) -> Error {
        Error::Mismatch {
            value: value.into(),
            place: Cow::Borrowed("value"),
            go: kind.to_owned(),
            kind,
        }
    }
}

/// An object in its stored form.
#[derive(Debug, Clone, PartialEq)]
pub struct Conformed {
    /// The object.
    pub value: Value,
    /// Upstream's texts on unknown and duplicate members, in the order of the document.
    pub strict: Vec<String>,
}

/// Makes a parsed document an object of a type.
pub fn conform(node: &Node<'_>, ty: Type<'_>) -> Result<Conformed, Error> {
    let mut walk = Walk {
        path: Vec::new(),
        owner: None,
        strict: Vec::new(),
        told: HashSet::new(),
    };
    let value = walk.value(node, ty)?;
    Ok(Conformed {
        value,
        strict: walk.strict,
    })
}

/// [`conform`] for a value that some computation made, such as a patch.
pub fn conform_value(value: &Value, ty: Type<'_>) -> Result<Conformed, Error> {
    conform(&Node::from(value), ty)
}

#[derive(Clone, Copy)]
enum Step<'n> {
    Field(&'n str),
    Key(&'n str),
    Index(usize),
}

struct Walk<'n> {
    path: Vec<Step<'n>>,
    /// The innermost struct, for Go's error texts.
    owner: Option<&'n str>,
    /// What `strict` has, to find it soon.
    told: HashSet<String>,
    strict: Vec<String>,
}

impl<'n> Walk<'n> {
    fn value(&mut self, node: &'n Node<'_>, ty: Type<'n>) -> Result<Value, Error> {
        match (ty.shape(), node) {
            (Shape::Struct(fields), Node::Object(members)) => self.object(members, fields, ty),
            (Shape::Struct(fields), Node::Null) => Ok(tidy::zero_struct(fields, ty)),
            (Shape::Map(value), Node::Object(members)) => self.map(members, value),
            (Shape::List(item), Node::Array(items)) => self.list(items, item),
            (Shape::Map(_) | Shape::List(_), Node::Null) => Ok(Value::Null),
            (Shape::Scalar(scalar), Node::Null) => Ok(tidy::zero_scalar(scalar)),
            (
                Shape::Scalar(
                    Scalar::SchemaOrArray | Scalar::SchemaOrBool | Scalar::SchemaOrStrings,
                ),
                node,
            ) => self.json_schema(node, ty),
            (Shape::Scalar(scalar), node) => {
                scalar::convert(node, scalar, ty).map_err(|e| self.place(e))
            }
            (_, node) => Err(self.place(Error::mismatch(node.go_word(), ty))),
        }
    }

    fn object(
        &mut self,
        members: &'n [(Cow<'_, str>, Node<'_>)],
        fields: &'n Struct,
        ty: Type<'n>,
    ) -> Result<Value, Error> {
        let owner = self.owner.replace(fields.name());
        let mut slots: Vec<Option<Value>> = vec![None; fields.fields().len()];
        for (name, node) in members {
            let Some(at) = fields.position(name) else {
                self.report("unknown", Step::Field(name));
                continue;
            };
            if slots[at].is_some() {
                self.report("duplicate", Step::Field(name));
            }
            slots[at] = Some(self.member(name, node, &fields.fields()[at], ty)?);
        }
        self.owner = owner;
        let finished = fields
            .fields()
            .iter()
            .zip(slots)
            .filter_map(|(field, slot)| {
                let value = match slot {
                    Some(value) if tidy::is_kept(field, &value) => value,
                    slot => tidy::finish(field, ty.of(field), slot)?,
                };
                Some((field.name.to_string(), value))
            });
        Ok(Value::Object(finished.collect()))
    }

    fn member(
        &mut self,
        name: &'n str,
        node: &'n Node<'_>,
        field: &Field,
        ty: Type<'n>,
    ) -> Result<Value, Error> {
        if matches!(node, Node::Null) && !is_quantity(ty.of(field)) {
            return Ok(Value::Null);
        }
        self.path.push(Step::Field(name));
        let value = self.value(node, ty.of(field))?;
        self.path.pop();
        Ok(value)
    }

    fn map(
        &mut self,
        members: &'n [(Cow<'_, str>, Node<'_>)],
        ty: Type<'n>,
    ) -> Result<Value, Error> {
        let mut map = Map::new();
        for (name, node) in members {
            self.path.push(Step::Key(name));
            let mut value = self.value(node, ty)?;
            self.path.pop();
            if value.is_null() && matches!(ty.shape(), Shape::Scalar(Scalar::Bytes)) {
                // Storage knows no null bytes.
                value = Value::from("");
            }
            if map.insert(name.to_string(), value).is_some() {
                self.report("duplicate", Step::Key(name));
            }
        }
        Ok(Value::Object(map))
    }

    fn list(&mut self, items: &'n [Node<'_>], ty: Type<'n>) -> Result<Value, Error> {
        let mut list = Vec::with_capacity(items.len());
        for (i, node) in items.iter().enumerate() {
            self.path.push(Step::Index(i));
            list.push(self.value(node, ty)?);
            self.path.pop();
        }
        // Storage can't tell an empty list from none, but an update with an empty list of managers forgets them, as
        // one with a single empty entry does.
        if list.is_empty()
            && ty
                .fields()
                .is_some_and(|s| s.name() == "ManagedFieldsEntry")
        {
            list.push(Value::Object(Map::new()));
        }
        Ok(Value::Array(list))
    }

    /// A schema inside a schema. Upstream reads it by code that knows no strictness.
    fn json_schema(&mut self, node: &'n Node<'_>, ty: Type<'n>) -> Result<Value, Error> {
        let Some(schema) =
            ty.model("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
        else {
            return Ok(node.to_value());
        };
        match node {
            Node::Object(_) => Ok(conform(node, schema)?.value),
            Node::Array(items) => items
                .iter()
                .map(|item| self.json_schema(item, ty))
                .collect::<Result<_, _>>()
                .map(Value::Array),
            other => Ok(other.to_value()),
        }
    }

    fn report(&mut self, what: &str, last: Step<'n>) {
        if self.strict.len() >= STRICT_MAX {
            return;
        }
        let mut path = String::new();
        for step in self.path.iter().chain([&last]) {
            match step {
                Step::Index(i) => write!(path, "[{i}]").expect("writing to a String"),
                Step::Field(name) | Step::Key(name) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(name);
                }
            }
        }
        let text = format!("{what} field \"{path}\"");
        if self.told.insert(text.clone()) {
            self.strict.push(text);
        }
    }

    /// Go names the innermost struct, then all field names from the top: no keys of maps, no places in lists.
    fn place(&self, error: Error) -> Error {
        let Error::Mismatch {
            value, go, kind, ..
        } = error
        else {
            return error;
        };
        let Some(owner) = self.owner else {
            return Error::Mismatch {
                value,
                place: Cow::Borrowed("value"),
                go,
                kind,
            };
        };
        let mut place = format!("struct field {owner}");
        for step in &self.path {
            if let Step::Field(name) = step {
                place.push('.');
                place.push_str(name);
            }
        }
        Error::Mismatch {
            value,
            place: Cow::Owned(place),
            go,
            kind,
        }
    }
}

/// Quantities read `null` themselves, as zero.
fn is_quantity(ty: Type<'_>) -> bool {
    matches!(ty.shape(), Shape::Scalar(Scalar::Quantity))
}
