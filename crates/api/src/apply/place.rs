//! How server-side apply sees a place in an object: a leaf, an object whose members are owned one by one, or a list whose
//! items are.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::set;
use crate::schema::{Field, Scalar, Shape, Topology, Type, tidy};

/// A type with what its field says of sharing.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// Absent below free JSON, where the value decides.
    ty: Option<Type<'a>>,
    topology: Option<&'a Topology>,
}

/// The ways to own a value.
#[derive(Clone, Copy)]
pub(super) enum Kind<'a> {
    /// As a whole.
    Leaf,
    /// Member by member.
    Members,
    /// Item by item.
    Items(&'a Topology),
}

impl<'a> Place<'a> {
    /// A whole object.
    pub(super) fn root(ty: Type<'a>) -> Place<'a> {
        Place {
            ty: Some(ty),
            topology: None,
        }
    }

    /// How a value here is owned.
    pub(super) fn kind(self, value: Option<&Value>) -> Kind<'a> {
        let atomic = matches!(self.topology, Some(Topology::Atomic));
        let granular = matches!(self.topology, Some(Topology::Granular));
        let free = || match value {
            Some(Value::Object(_)) => Kind::Members,
            _ => Kind::Leaf,
        };
        let Some(ty) = self.ty else { return free() };
        match ty.shape() {
            Shape::Struct(fields) if fields.atomic && !granular || atomic => Kind::Leaf,
            Shape::Map(_) if atomic => Kind::Leaf,
            Shape::Struct(_) | Shape::Map(_) => Kind::Members,
            Shape::List(_) => match self.topology {
                Some(topology @ (Topology::Set | Topology::Map(_))) => Kind::Items(topology),
                _ => Kind::Leaf,
            },
            Shape::Scalar(scalar) if is_free(scalar) => free(),
            Shape::Scalar(_) => Kind::Leaf,
        }
    }

    /// The type here, unless the value is free.
    pub(super) fn ty(self) -> Option<Type<'a>> {
        self.ty
    }

    /// The declared field of that name; free maps declare none.
    pub(super) fn declared(self, name: &str) -> Option<(&'a Field, Type<'a>)> {
        self.ty?.field(name)
    }

    /// The place of a member.
    pub(super) fn member(self, name: &str) -> Place<'a> {
        match self.declared(name) {
            Some((field, ty)) => Place {
                ty: Some(ty),
                topology: field.extra().topology.as_ref().or(ty.topology()),
            },
            None => self.element(),
        }
    }

    /// The place of an item of a list or a value of a map.
    pub(super) fn element(self) -> Place<'a> {
        let ty = self.ty.and_then(Type::element);
        Place {
            ty,
            topology: ty.and_then(Type::topology),
        }
    }

    /// The path element of a list item.
    pub(super) fn item_element(
        self,
        topology: &Topology,
        item: &Value,
    ) -> Result<Box<str>, String> {
        match topology {
            Topology::Map(keys) => {
                let members = match item {
                    Value::Object(members) => members,
                    Value::Null => {
                        return Err(
                            "associative list with keys may not have a null element".to_owned()
                        );
                    }
                    _ => {
                        return Err(
                            "associative list with keys may not have non-map elements".to_owned()
                        );
                    }
                };
                let mut found = Map::new();
                for key in keys {
                    if let Some(value) = members
                        .get(&**key)
                        .cloned()
                        .or_else(|| self.element().key_default(key))
                    {
                        found.insert(key.to_string(), value);
                    }
                }
                if found.is_empty() {
                    return Err(format!(
                        "associative list with keys has an element that omits all key fields {:?} (and doesn't have default values for any key fields)",
                        keys.iter().map(Cow::as_ref).collect::<Vec<&str>>()
                    ));
                }
                Ok(set::keyed(found))
            }
            _ => match item {
                Value::Object(_) => {
                    Err("associative list without keys has an element that's a map type".to_owned())
                }
                Value::Array(_) => {
                    Err("not supported: associative list with lists as elements".to_owned())
                }
                Value::Null => Err(
                    "associative list without keys has an element that's an explicit null"
                        .to_owned(),
                ),
                scalar => Ok(set::item(scalar)),
            },
        }
    }

    /// What a key is when it is left out: the schema's default, or the zero value where Go can't leave it out.
    fn key_default(self, key: &str) -> Option<Value> {
        let (field, ty) = self.declared(key)?;
        if field.extra().default.is_some() {
            return field.extra().default.clone();
        }
        match ty.shape() {
            Shape::Scalar(scalar) if !field.omit_empty() && !field.pointer() => {
                Some(tidy::zero_scalar(scalar))
            }
            _ => None,
        }
    }
}

/// Scalars that may hold anything.
pub(super) fn is_free(scalar: Scalar) -> bool {
    matches!(
        scalar,
        Scalar::Raw
            | Scalar::Json
            | Scalar::FieldsV1
            | Scalar::SchemaOrArray
            | Scalar::SchemaOrBool
            | Scalar::SchemaOrStrings
    )
}
