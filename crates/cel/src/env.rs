//! What an expression may speak of: variables, object types, and which optional functions.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::escape::KEYWORDS;
use crate::functions::{self, Function};
use crate::schema::{Decl, Object};
use crate::types::Type;

/// The surroundings of an expression.
#[derive(Debug, Clone, Default)]
pub struct Env {
    variables: BTreeMap<String, Type>,
    objects: BTreeMap<String, Arc<Object>>,
    /// Object types that no schema describes.
    typed: BTreeMap<String, BTreeMap<String, Type>>,
    /// What sizes are estimated by.
    sizes: Option<Arc<Decl>>,
    stored: bool,
    mutation: bool,
}

/// The field of an object, for the checker.
pub enum FieldType {
    /// It is declared.
    Known(Type),
    /// The object has no such field.
    Unknown,
    /// There is no such object type.
    NoType,
}

impl Env {
    /// No variables; for new expressions, or for those that were accepted before.
    pub fn new(stored: bool) -> Env {
        Env {
            stored,
            ..Env::default()
        }
    }

    /// Adds a variable of a type.
    #[must_use]
    pub fn variable(mut self, name: &str, ty: Type) -> Env {
        self.variables.insert(name.to_owned(), ty);
        self
    }

    /// Adds a variable that a schema describes.
    #[must_use]
    pub fn declared(mut self, name: &str, decl: &Arc<Decl>) -> Env {
        decl.objects(&mut self.objects);
        self.variable(name, decl.ty())
    }

    /// Adds an object type by the types of its fields.
    #[must_use]
    pub fn object_type(mut self, name: &str, fields: BTreeMap<String, Type>) -> Env {
        self.typed.insert(name.to_owned(), fields);
        self
    }

    /// Estimates sizes by a declaration: that of `self`, from which every path starts.
    #[must_use]
    pub fn sizes(mut self, decl: &Arc<Decl>) -> Env {
        self.sizes = Some(Arc::clone(decl));
        self
    }

    /// Adds a variable that a schema describes, which may be absent.
    #[must_use]
    pub fn declared_optional(mut self, name: &str, decl: &Arc<Decl>) -> Env {
        decl.objects(&mut self.objects);
        self.variable(name, Type::optional(decl.ty()))
    }

    /// Allows what changes objects: `Object{…}`, `JSONPatch{…}` and `jsonpatch.escapeKey`.
    #[must_use]
    pub fn mutation(mut self) -> Env {
        self.mutation = true;
        self
    }

    /// The type of a variable, or of a name that stands for a type.
    pub(crate) fn ident(&self, name: &str) -> Option<Ident> {
        let name = name.trim_start_matches('.');
        if let Some(variable) = self.variables.get(name) {
            return Some(Ident::Variable(variable.clone()));
        }
        if let Some(ty) = named_type(name) {
            return Some(Ident::Type(ty));
        }
        self.struct_type(name).map(Ident::Type)
    }

    /// An object type by its name; `x.namespace` names the same field as `x.__namespace__`.
    pub(crate) fn struct_type(&self, name: &str) -> Option<Type> {
        let name = name.trim_start_matches('.');
        let known = self.objects.contains_key(name) || (self.mutation && is_mutation_type(name));
        known.then(|| Type::object(name))
    }

    pub(crate) fn function(&self, name: &str) -> Option<&'static Function> {
        let name = name.trim_start_matches('.');
        if name == "jsonpatch.escapeKey" && !self.mutation {
            return None;
        }
        functions::function(name, self.stored)
    }

    pub(crate) fn field(&self, object: &str, field: &str) -> FieldType {
        if let Some(known) = self.objects.get(object) {
            let escaped;
            let mut found = known.fields.get(field);
            if found.is_none() && KEYWORDS.contains(&field) {
                escaped = format!("__{field}__");
                found = known.fields.get(&escaped);
            }
            return found.map_or(FieldType::Unknown, |decl| FieldType::Known(decl.ty()));
        }
        if let Some(fields) = self.typed.get(object) {
            return fields
                .get(field)
                .map_or(FieldType::Unknown, |ty| FieldType::Known(ty.clone()));
        }
        if self.mutation && is_mutation_type(object) {
            return mutation_field(object, field);
        }
        FieldType::NoType
    }

    /// The declaration of a variable, for size estimates. Upstream takes every variable for the first one.
    pub(crate) fn sized(&self, _variable: &str) -> Option<&Decl> {
        self.sizes.as_deref()
    }
}

/// What a name stands for.
pub(crate) enum Ident {
    Variable(Type),
    Type(Type),
}

/// The types that can be named in any expression.
fn named_type(name: &str) -> Option<Type> {
    let param = |name: &str| Type::Param(name.into());
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "google.protobuf.Duration" => Type::Duration,
        "google.protobuf.Timestamp" => Type::Timestamp,
        "int" => Type::Int,
        "list" => Type::list(param("A")),
        "map" => Type::map(param("A"), param("B")),
        "net.CIDR" | "net.IP" => Type::Opaque(name.into(), [].into()),
        "null_type" => Type::Null,
        "optional_type" => Type::optional(Type::Dyn),
        "string" => Type::String,
        "type" => Type::Type(None),
        "uint" => Type::Uint,
        _ => return None,
    })
}

/// The type of JSON patch operations.
pub const JSON_PATCH: &str = "JSONPatch";

fn is_mutation_type(name: &str) -> bool {
    name == "Object" || name.starts_with("Object.") || name == JSON_PATCH
}

fn mutation_field(object: &str, field: &str) -> FieldType {
    if object == JSON_PATCH {
        return match field {
            "op" | "path" | "from" => FieldType::Known(Type::String),
            "value" => FieldType::Known(Type::Dyn),
            _ => FieldType::Unknown,
        };
    }
    FieldType::Known(Type::Dyn)
}
