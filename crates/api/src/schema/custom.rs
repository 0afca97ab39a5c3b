//! The types of a custom resource, for server-side apply and for the order of members.
//!
//! The arena is made from the definition's schema. Unlike the built-in one, lists and objects carry their topology
//! themselves, an object may have members beside its named ones, and `metadata` is the built-in type.

use super::{Extra, Field, Node, OMIT_EMPTY, POINTER, Scalar, Schema, Struct, Topology};
use crate::crd::props::{Additional, Props};
use crate::resource::Name;

/// How many types an arena can have.
const TYPES_MAX: usize = u16::MAX as usize;

/// The arena of one schema; its first type is the whole object.
pub(crate) fn custom(schema: &Props) -> Schema {
    let mut maker = Maker {
        schema: Schema::default(),
    };
    // The place of the whole object, and free JSON for what does not fit any more.
    maker.place(Node::Scalar(Scalar::Json));
    maker.place(Node::Scalar(Scalar::Json));
    let root = maker.object(schema, true, schema.preserves());
    maker.schema.nodes[0] = root;
    maker.schema
}

struct Maker {
    schema: Schema,
}

impl Maker {
    /// Adds a type; in a full arena it is free JSON.
    fn place(&mut self, node: Node) -> u16 {
        if self.schema.nodes.len() >= TYPES_MAX {
            return 1;
        }
        self.schema.nodes.push(node);
        (self.schema.nodes.len() - 1) as u16
    }

    /// `preserves` is inherited: below a schema that keeps unknown fields, all do.
    fn ty(&mut self, schema: &Props, preserves: bool) -> u16 {
        let preserves = preserves || schema.preserves();
        if schema.int_or_string {
            return self.place(Node::Scalar(Scalar::IntOrString));
        }
        let node = match &*schema.ty {
            "object" => self.object(schema, schema.embedded, preserves),
            "array" => {
                let item = match &schema.items {
                    Some(items) => self.ty(items, preserves),
                    None => self.place(Node::Scalar(Scalar::Json)),
                };
                Node::List(item)
            }
            "integer" => Node::Scalar(Scalar::Int64),
            "number" => Node::Scalar(Scalar::Float64),
            "boolean" => Node::Scalar(Scalar::Bool),
            "string" if matches!(&*schema.format, "" | "byte") => Node::Scalar(Scalar::String),
            // Upstream checks no more of these than that they are scalars.
            "string" => Node::Scalar(Scalar::IntOrString),
            _ => Node::Scalar(Scalar::Json),
        };
        let id = self.place(node);
        match topology(schema) {
            Some(topology) => self.place(Node::Shared {
                target: id,
                topology,
            }),
            None => id,
        }
    }

    fn object(&mut self, schema: &Props, is_resource: bool, preserves: bool) -> Node {
        let mut fields: Vec<Field> = Vec::with_capacity(schema.properties.len() + 3);
        for (name, property) in &schema.properties {
            if is_resource && is_meta(name) {
                continue;
            }
            let ty = self.ty(property, preserves);
            fields.push(field(name, ty, property.default.clone()));
        }
        if is_resource {
            let text = self.place(Node::Scalar(Scalar::String));
            let metadata = self.place(Node::Builtin(crate::crd::metadata::object_meta().id));
            for (name, ty) in [("apiVersion", text), ("kind", text), ("metadata", metadata)] {
                fields.push(field(name, ty, None));
            }
        }
        let rest = match &schema.additional {
            Some(Additional::Schema(schema)) => Some(self.ty(schema, preserves)),
            Some(Additional::Allowed(true)) => Some(self.place(Node::Scalar(Scalar::Json))),
            Some(Additional::Allowed(false)) => None,
            // An object of which nothing is known is free; but a resource is pruned to what it always has.
            None if preserves || schema.properties.is_empty() && !is_resource => {
                Some(self.place(Node::Scalar(Scalar::Json)))
            }
            None => None,
        };
        if fields.is_empty()
            && let Some(rest) = rest
        {
            return Node::Map(rest);
        }
        let mut by_name: Vec<u16> = (0..fields.len() as u16).collect();
        by_name.sort_by(|a, b| {
            fields[usize::from(*a)]
                .name
                .cmp(&fields[usize::from(*b)].name)
        });
        Node::Struct(Struct {
            name: Name::Borrowed(""),
            package: 0,
            atomic: false,
            fields: fields.into(),
            by_name: by_name.into(),
            embedded: Box::default(),
            message: Box::default(),
            rest,
        })
    }
}

fn is_meta(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}

fn field(name: &str, ty: u16, default: Option<serde_json::Value>) -> Field {
    let extra = default.map(|default| {
        Box::new(Extra {
            default: Some(default),
            ..Extra::default()
        })
    });
    Field {
        name: name.to_owned().into(),
        ty,
        flags: POINTER | OMIT_EMPTY,
        number: 0,
        extra,
    }
}

fn topology(schema: &Props) -> Option<Topology> {
    match (schema.list_type.as_deref(), schema.map_type.as_deref()) {
        (Some("set"), _) => Some(Topology::Set),
        (Some("map"), _) => {
            let keys = schema.list_map_keys.iter();
            Some(Topology::Map(keys.map(|k| k.clone().into()).collect()))
        }
        (_, Some("atomic")) => Some(Topology::Atomic),
        _ => None,
    }
}
