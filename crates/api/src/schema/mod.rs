//! The structure of every built-in kind: fields, types, list keys, patch strategies and protobuf numbers.
//!
//! A [`Schema`] is a flat arena of types; a [`Type`] is a cheap reference into it. The built-in schema is read once from
//! `data/schema.tsv`, which `cargo xtask schema` makes from upstream's Go types, so that what a Go program would do
//! with a field (leave it out when empty, write `null`, refuse a float) follows from the table. Everything that walks
//! objects is driven by it and knows no kind by name. Absent: descriptions, and defaults that code gives (see
//! [`crate::defaults`]).

pub(crate) mod custom;
mod load;
pub mod tidy;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;

use serde_json::Value;

use crate::resource::Name;

/// Types that hold no other type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    /// UTF-8 text.
    String,
    /// `true` or `false`.
    Bool,
    /// An integer from -2^31.
    Int32,
    /// An integer from -2^63.
    Int64,
    /// A non-negative integer below 2^32.
    Uint32,
    /// A non-negative integer below 2^64.
    Uint64,
    /// A number.
    Float64,
    /// Bytes, base64 in JSON.
    Bytes,
    /// A resource quantity: `100m`, `1Gi`.
    Quantity,
    /// An `int32` or a text.
    IntOrString,
    /// RFC 3339 in whole seconds.
    Time,
    /// RFC 3339 with six digits of fraction.
    MicroTime,
    /// Go's duration text: `1m30s`.
    Duration,
    /// The field set of a manager, an object in JSON.
    FieldsV1,
    /// Any object (`runtime.RawExtension`).
    Raw,
    /// Any JSON value.
    Json,
    /// A JSON schema or a list of them.
    SchemaOrArray,
    /// A JSON schema or a bool.
    SchemaOrBool,
    /// A JSON schema or a list of texts.
    SchemaOrStrings,
}

/// What a value of a type looks like.
#[derive(Debug, Clone, Copy)]
pub enum Shape<'a> {
    /// A value without parts that have types.
    Scalar(Scalar),
    /// A list with items of one type.
    List(Type<'a>),
    /// An object with free member names and values of one type.
    Map(Type<'a>),
    /// An object with known members.
    Struct(&'a Struct),
}

/// How writers share a list or an object (KEP-555, `x-kubernetes-list-type`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// Replaced as a whole.
    Atomic,
    /// An object whose members are owned one by one, whatever its type says.
    Granular,
    /// A list whose items are its keys.
    Set,
    /// A list of objects told apart by these fields.
    Map(Vec<Name>),
}

/// How a strategic merge patch changes a field (`patchStrategy`, `patchMergeKey`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Strategy {
    /// Lists are merged, not replaced.
    pub merge: bool,
    /// Objects are replaced, not merged.
    pub replace: bool,
    /// Only members that the patch names in `$retainKeys` stay.
    pub retain_keys: bool,
    /// The member that tells items apart.
    pub key: Option<Name>,
}

/// The rarer facts of a field.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Extra {
    /// Absent: lists are atomic, objects granular.
    pub topology: Option<Topology>,
    /// For strategic merge patches.
    pub strategy: Strategy,
    /// The default that the schema itself knows.
    pub default: Option<Value>,
}

/// A member of an object.
#[derive(Debug, Clone)]
pub struct Field {
    /// The JSON name.
    pub name: Name,
    ty: u16,
    flags: u8,
    /// The protobuf number; 0 for `apiVersion` and `kind`, which are not in the message.
    pub number: u16,
    extra: Option<Box<Extra>>,
}

const OMIT_EMPTY: u8 = 1;
const OMIT_ZERO: u8 = 2;
const REQUIRED: u8 = 4;
const POINTER: u8 = 8;
/// Lives in an embedded struct: a member of the JSON object, but not of the protobuf message.
const EMBEDDED: u8 = 16;

impl Field {
    /// Whether a Go program leaves it out when it is empty.
    pub fn omit_empty(&self) -> bool {
        self.flags & OMIT_EMPTY != 0
    }

    /// Whether a Go program leaves it out when it is its type's zero value, structs included.
    pub fn omit_zero(&self) -> bool {
        self.flags & OMIT_ZERO != 0
    }

    /// Whether upstream's OpenAPI lists it as required.
    pub fn required(&self) -> bool {
        self.flags & REQUIRED != 0
    }

    /// Whether absence differs from the zero value.
    pub fn pointer(&self) -> bool {
        self.flags & POINTER != 0
    }

    /// Whether the member is a field of the struct's own protobuf message.
    pub fn in_message(&self) -> bool {
        self.flags & EMBEDDED == 0 && self.number != 0
    }

    /// List topology, patch strategy and default.
    pub fn extra(&self) -> &Extra {
        static NONE: Extra = Extra {
            topology: None,
            strategy: Strategy {
                merge: false,
                replace: false,
                retain_keys: false,
                key: None,
            },
            default: None,
        };
        self.extra.as_deref().unwrap_or(&NONE)
    }
}

/// An object type with known members.
#[derive(Debug)]
pub struct Struct {
    name: Name,
    package: u16,
    /// Replaced as a whole by server-side apply.
    pub atomic: bool,
    fields: Box<[Field]>,
    by_name: Box<[u16]>,
    /// Embedded structs, whose members are the object's own, with their protobuf numbers.
    embedded: Box<[(u16, u16)]>,
    /// What its protobuf message holds.
    message: Box<[Part]>,
    /// The type of members that are not fields; only custom resources have such.
    rest: Option<u16>,
}

/// One field of a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The field at that place of [`Struct::fields`].
    Own(u16),
    /// The embedded struct at that place of [`Type::embedded`].
    Embedded(u16),
}

impl Struct {
    /// The parts of the message of these fields and embedded structs.
    fn parts(fields: &[Field], embedded: &[(u16, u16)]) -> Box<[Part]> {
        let own = fields.iter().enumerate().filter(|(_, f)| f.in_message());
        let own = own.map(|(i, field)| (field.number, Part::Own(i as u16)));
        let embedded = embedded.iter().enumerate();
        let embedded = embedded.map(|(i, (number, _))| (*number, Part::Embedded(i as u16)));
        let mut parts: Vec<(u16, Part)> = own.chain(embedded).collect();
        parts.sort_by_key(|(number, _)| *number);
        parts.into_iter().map(|(_, part)| part).collect()
    }

    /// The members in upstream's order of declaration.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The fields of its protobuf message, in the order of their numbers.
    pub fn message(&self) -> &[Part] {
        &self.message
    }

    /// The Go name of the type, without its package.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The members by name.
    pub fn fields_by_name(&self) -> impl Iterator<Item = &Field> {
        self.by_name.iter().map(|i| &self.fields[usize::from(*i)])
    }

    /// The member of that name. Names are compared exactly, as upstream's decoder does.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.position(name).map(|i| &self.fields[i])
    }

    /// The place of a member in [`Struct::fields`].
    pub fn position(&self, name: &str) -> Option<usize> {
        let found = self
            .by_name
            .binary_search_by(|i| (*self.fields[usize::from(*i)].name).cmp(name))
            .ok()?;
        Some(usize::from(self.by_name[found]))
    }
}

#[derive(Debug)]
struct Package {
    /// Go's name: `v1`.
    go: Name,
    /// OpenAPI's prefix: `io.k8s.api.core.v1`.
    model: Name,
    group: Name,
    version: Name,
}

#[derive(Debug)]
enum Node {
    Scalar(Scalar),
    List(u16),
    Map(u16),
    Struct(Struct),
    /// A named type over another: `v1.Protocol` over `string`. `true`: a message with `items` in protobuf.
    Named {
        package: u16,
        name: Name,
        target: u16,
        message: bool,
    },
    /// A type of a custom resource that says itself how writers share its values.
    Shared {
        target: u16,
        topology: Topology,
    },
    /// A type of the built-in schema, in the arena of a custom resource.
    Builtin(u16),
}

/// The kinds of one group and version, by name.
#[derive(Debug)]
struct Kinds {
    group: Name,
    version: Name,
    kinds: Vec<(Name, u16)>,
}

/// An arena of types.
#[derive(Debug, Default)]
pub struct Schema {
    packages: Vec<Package>,
    nodes: Vec<Node>,
    kinds: Vec<Kinds>,
    models: HashMap<String, u16>,
}

impl Schema {
    /// The schema of the built-in kinds.
    pub fn builtin() -> &'static Schema {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| {
            load::load(include_str!("../data/schema.tsv"))
                .expect("the built-in schema table is whole")
        })
    }

    /// The type of a kind. Kinds of `meta.k8s.io` (`Status`, `DeleteOptions`, …) belong to every group and version.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<Type<'_>> {
        self.kind_in(group, version, kind)
            .or_else(|| self.kind_in("meta.k8s.io", "v1", kind))
    }

    fn kind_in(&self, group: &str, version: &str, kind: &str) -> Option<Type<'_>> {
        // Two dozen entries: a scan is faster than hashing three texts.
        let kinds = &self
            .kinds
            .iter()
            .find(|k| k.group == group && k.version == version)?
            .kinds;
        let found = kinds
            .binary_search_by(|(name, _)| (**name).cmp(kind))
            .ok()?;
        Some(Type {
            schema: self,
            id: kinds[found].1,
        })
    }

    /// Whether it is the schema of a custom resource, whose objects are not made to fit Go types.
    pub fn is_custom(&self) -> bool {
        self.packages.is_empty()
    }

    /// The first type of the arena, which is what the schema of one custom resource is about.
    pub(crate) fn root(&self) -> Type<'_> {
        Type {
            schema: self,
            id: 0,
        }
    }

    /// The type that OpenAPI calls by that name: `io.k8s.api.core.v1.Pod`.
    pub fn model(&self, name: &str) -> Option<Type<'_>> {
        self.models.get(name).map(|id| Type {
            schema: self,
            id: *id,
        })
    }

    /// All kinds of one group and version, by name.
    pub fn kinds(&self, group: &str, version: &str) -> impl Iterator<Item = (&str, Type<'_>)> {
        let kinds = self
            .kinds
            .iter()
            .find(|k| k.group == group && k.version == version)
            .map(|k| &k.kinds);
        kinds.into_iter().flatten().map(|(name, id)| {
            (
                &**name,
                Type {
                    schema: self,
                    id: *id,
                },
            )
        })
    }
}

/// A type of a [`Schema`].
#[derive(Clone, Copy)]
pub struct Type<'a> {
    schema: &'a Schema,
    id: u16,
}

impl fmt::Debug for Type<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Type({})", self.go_name())
    }
}

impl PartialEq for Type<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.schema, other.schema) && self.id == other.id
    }
}

impl<'a> Type<'a> {
    fn at(self, id: u16) -> Type<'a> {
        match self.schema.nodes.get(usize::from(id)) {
            Some(Node::Builtin(id)) => Type {
                schema: Schema::builtin(),
                id: *id,
            },
            _ => Type {
                schema: self.schema,
                id,
            },
        }
    }

    fn node(self) -> &'a Node {
        &self.schema.nodes[usize::from(self.id)]
    }

    /// What its values look like.
    pub fn shape(self) -> Shape<'a> {
        match self.node() {
            Node::Scalar(scalar) => Shape::Scalar(*scalar),
            Node::List(item) => Shape::List(self.at(*item)),
            Node::Map(value) => Shape::Map(self.at(*value)),
            Node::Struct(fields) => Shape::Struct(fields),
            Node::Named { target, .. } | Node::Shared { target, .. } => self.at(*target).shape(),
            Node::Builtin(_) => self.at(self.id).shape(),
        }
    }

    /// How writers share its values, for types that say so themselves and not by the field that holds them.
    pub fn topology(self) -> Option<&'a Topology> {
        match self.node() {
            Node::Shared { topology, .. } => Some(topology),
            _ => None,
        }
    }

    /// The struct, if it is one.
    pub fn fields(self) -> Option<&'a Struct> {
        match self.shape() {
            Shape::Struct(fields) => Some(fields),
            _ => None,
        }
    }

    /// The type of a field of one of this schema's structs.
    pub fn of(self, field: &Field) -> Type<'a> {
        self.at(field.ty)
    }

    /// The field of that name and its type, if this is a struct that has it.
    pub fn field(self, name: &str) -> Option<(&'a Field, Type<'a>)> {
        let field = self.fields()?.field(name)?;
        Some((field, self.of(field)))
    }

    /// The type of list items, map values, or of members of a custom object that are not named.
    pub fn element(self) -> Option<Type<'a>> {
        match self.shape() {
            Shape::List(inner) | Shape::Map(inner) => Some(inner),
            Shape::Struct(fields) => fields.rest.map(|id| self.at(id)),
            Shape::Scalar(_) => None,
        }
    }

    /// Follows member names; lists and maps are entered at the way (a map consumes a name, a list does not).
    pub fn descend(self, names: &[&str]) -> Option<Type<'a>> {
        let Some((first, rest)) = names.split_first() else {
            return Some(self);
        };
        match self.shape() {
            Shape::Struct(_) => self.field(first)?.1.descend(rest),
            Shape::Map(value) => value.descend(rest),
            Shape::List(item) => item.descend(names),
            Shape::Scalar(_) => None,
        }
    }

    /// The embedded structs of a struct, with their protobuf numbers.
    pub fn embedded(self) -> impl Iterator<Item = (u16, Type<'a>)> {
        let embedded = self.fields().map(|s| &*s.embedded).unwrap_or_default();
        embedded
            .iter()
            .map(move |(number, id)| (*number, self.at(*id)))
    }

    /// Whether it is that scalar.
    pub fn is_scalar(self, scalar: Scalar) -> bool {
        matches!(self.shape(), Shape::Scalar(found) if found == scalar)
    }

    /// The schema that it belongs to.
    pub fn schema(self) -> &'a Schema {
        self.schema
    }

    /// Another type of the same schema by its OpenAPI name.
    pub fn model(self, name: &str) -> Option<Type<'a>> {
        self.schema.model(name)
    }

    /// Whether it is a list that protobuf wraps into a message.
    pub fn is_list_message(self) -> bool {
        matches!(self.node(), Node::Named { message: true, .. })
    }

    /// The name in Go's error texts: `int32`, `[]v1.Container`, `v1.ObjectMeta`.
    pub fn go_name(self) -> Cow<'a, str> {
        let package = |index: u16| &self.schema.packages[usize::from(index)].go;
        match self.node() {
            Node::Scalar(scalar) => Cow::Borrowed(scalar.go_name()),
            Node::List(item) => Cow::Owned(format!("[]{}", self.at(*item).go_name())),
            Node::Map(value) => Cow::Owned(format!("map[string]{}", self.at(*value).go_name())),
            // No Go type has these.
            Node::Shared { .. } | Node::Builtin(_) => Cow::Borrowed("interface {}"),
            Node::Struct(s) if self.schema.packages.is_empty() => Cow::Borrowed(&*s.name),
            Node::Struct(s) => Cow::Owned(format!("{}.{}", package(s.package), s.name)),
            Node::Named {
                package: p, name, ..
            } => Cow::Owned(format!("{}.{name}", package(*p))),
        }
    }

    /// The kind of Go's reflection: `slice`, `map`, `struct`, `int32`.
    pub fn go_kind(self) -> &'static str {
        match self.shape() {
            Shape::List(_) => "slice",
            Shape::Map(_) => "map",
            Shape::Struct(_) => "struct",
            Shape::Scalar(scalar) => match scalar {
                Scalar::String | Scalar::Bool | Scalar::Int32 | Scalar::Int64 | Scalar::Float64 => {
                    scalar.go_name()
                }
                Scalar::Uint32 | Scalar::Uint64 => scalar.go_name(),
                Scalar::Bytes => "slice",
                _ => "struct",
            },
        }
    }

    /// The name in OpenAPI documents, for structs.
    pub fn model_name(self) -> Option<String> {
        let fields = self.fields()?;
        let package = self.schema.packages.get(usize::from(fields.package))?;
        Some(format!("{}.{}", package.model, fields.name))
    }

    /// The group and version of the package of a struct.
    pub fn group_version(self) -> Option<(&'a str, &'a str)> {
        let package = usize::from(self.fields()?.package);
        let package = self.schema.packages.get(package)?;
        Some((&package.group, &package.version))
    }
}

impl Scalar {
    fn go_name(self) -> &'static str {
        match self {
            Scalar::String => "string",
            Scalar::Bool => "bool",
            Scalar::Int32 => "int32",
            Scalar::Int64 => "int64",
            Scalar::Uint32 => "uint32",
            Scalar::Uint64 => "uint64",
            Scalar::Float64 => "float64",
            Scalar::Bytes => "[]uint8",
            Scalar::Quantity => "resource.Quantity",
            Scalar::IntOrString => "intstr.IntOrString",
            Scalar::Time => "v1.Time",
            Scalar::MicroTime => "v1.MicroTime",
            Scalar::Duration => "v1.Duration",
            Scalar::FieldsV1 => "v1.FieldsV1",
            Scalar::Raw => "runtime.RawExtension",
            Scalar::Json => "interface {}",
            Scalar::SchemaOrArray => "v1.JSONSchemaPropsOrArray",
            Scalar::SchemaOrBool => "v1.JSONSchemaPropsOrBool",
            Scalar::SchemaOrStrings => "v1.JSONSchemaPropsOrStringArray",
        }
    }
}

#[cfg(test)]
mod tests;
