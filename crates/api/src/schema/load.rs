//! Reads the table that `cargo xtask schema` writes.

use std::collections::HashMap;

use super::{
    EMBEDDED, Extra, Field, Kinds, Node, OMIT_EMPTY, OMIT_ZERO, POINTER, Package, REQUIRED, Scalar,
    Schema, Strategy, Struct, Topology,
};
use crate::resource::Name;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("line {line}: no type {name}")]
    Type { line: usize, name: String },
    #[error("line {line}: {what}")]
    Line { line: usize, what: &'static str },
    #[error("more than 65535 types")]
    TooMany,
}

/// Names of types (`core/v1.Pod`) and expressions (`[core/v1.Pod`) that already have a place in the arena.
#[derive(Default)]
struct Places {
    by_name: HashMap<String, u16>,
}

struct Loader {
    schema: Schema,
    places: Places,
    line: usize,
}

/// A struct whose fields are not yet read, by its place.
struct Draft {
    id: u16,
    package: u16,
    short: &'static str,
    name: &'static str,
    atomic: bool,
    lines: Vec<(usize, &'static str)>,
}

/// One field line: an own field, or an embedded struct whose fields follow once all structs are known.
enum Member {
    Own(Field),
    Embedded { number: u16, id: u16 },
}

pub(super) fn load(text: &'static str) -> Result<Schema, Error> {
    let mut loader = Loader {
        schema: Schema::default(),
        places: Places::default(),
        line: 0,
    };
    let drafts = loader.declare(text)?;
    let mut members = HashMap::new();
    for draft in &drafts {
        let mut own = Vec::with_capacity(draft.lines.len());
        for (line, text) in &draft.lines {
            loader.line = *line;
            own.push(loader.member(draft.short, text)?);
        }
        members.insert(draft.id, own);
    }
    for draft in &drafts {
        let fields = flatten(&members, draft.id);
        loader.finish(draft, &members[&draft.id], fields);
    }
    loader.schema.kinds.iter_mut().for_each(|k| k.kinds.sort());
    Ok(loader.schema)
}

/// The fields of a struct with those of its embedded structs in their place.
fn flatten(members: &HashMap<u16, Vec<Member>>, id: u16) -> Vec<Field> {
    let mut fields = Vec::new();
    for member in &members[&id] {
        match member {
            Member::Own(field) => fields.push(field.clone()),
            Member::Embedded { id, .. } => {
                fields.extend(flatten(members, *id).into_iter().map(|mut field| {
                    field.flags |= EMBEDDED;
                    field
                }))
            }
        }
    }
    fields
}

impl Loader {
    /// Gives every named type a place, so that fields can refer forward.
    fn declare(&mut self, text: &'static str) -> Result<Vec<Draft>, Error> {
        let mut drafts: Vec<Draft> = Vec::new();
        let mut named = Vec::new();
        let mut short = "";
        for (i, line) in text.lines().enumerate() {
            self.line = i + 1;
            if line.starts_with('#') {
            } else if let Some(rest) = line.strip_prefix('@') {
                short = self.package(rest);
            } else if let Some(field) = line.strip_prefix(' ') {
                let draft = drafts.last_mut().ok_or(Error::Line {
                    line: i + 1,
                    what: "a field before any struct",
                })?;
                draft.lines.push((i + 1, field));
            } else {
                let (name, rest) = line.split_once('\t').ok_or(Error::Line {
                    line: i + 1,
                    what: "a type without a body",
                })?;
                let package = self.schema.packages.len() as u16 - 1;
                // A placeholder until the fields or the target are known.
                let id = self.place(format!("{short}.{name}"), Node::Scalar(Scalar::Json))?;
                match rest.strip_prefix('=') {
                    Some(target) => named.push((i + 1, short, package, name, id, target)),
                    None => drafts.push(Draft {
                        id,
                        package,
                        short,
                        name,
                        atomic: rest == "atomic",
                        lines: Vec::new(),
                    }),
                }
            }
        }
        for (line, short, package, name, id, rest) in named {
            self.line = line;
            let (target, message) = rest
                .split_once('\t')
                .map_or((rest, false), |(t, m)| (t, m == "message"));
            let target = self.expression(short, target)?;
            self.schema.nodes[usize::from(id)] = Node::Named {
                package,
                name: name.into(),
                target,
                message,
            };
        }
        Ok(drafts)
    }

    fn package(&mut self, rest: &'static str) -> &'static str {
        let mut columns = rest.split('\t');
        let short = columns.next().unwrap_or_default();
        let mut next = || Name::Borrowed(columns.next().unwrap_or_default());
        let (model, group, version) = (next(), next(), next());
        let go = short.rsplit('/').next().unwrap_or(short).into();
        self.schema.packages.push(Package {
            go,
            model,
            group,
            version,
        });
        short
    }

    fn place(&mut self, name: String, node: Node) -> Result<u16, Error> {
        let id = u16::try_from(self.schema.nodes.len()).map_err(|_| Error::TooMany)?;
        self.schema.nodes.push(node);
        self.places.by_name.insert(name, id);
        Ok(id)
    }

    /// The place of a type expression inside a package.
    fn expression(&mut self, short: &str, expr: &str) -> Result<u16, Error> {
        let full = match expr.strip_prefix('.') {
            Some(name) => format!("{short}.{name}"),
            None => expr.to_owned(),
        };
        if let Some(id) = self.places.by_name.get(&full) {
            return Ok(*id);
        }
        // Pointers inside lists and maps tell nothing that JSON shows.
        if let Some(inner) = expr.strip_prefix('*') {
            return self.expression(short, inner);
        }
        let node = if let Some(inner) = expr.strip_prefix('[') {
            Node::List(self.expression(short, inner)?)
        } else if let Some(inner) = expr.strip_prefix('{') {
            Node::Map(self.expression(short, inner)?)
        } else {
            Node::Scalar(scalar(expr).ok_or_else(|| Error::Type {
                line: self.line,
                name: full.clone(),
            })?)
        };
        let key = match &node {
            Node::List(inner) => format!("[#{inner}"),
            Node::Map(inner) => format!("{{#{inner}"),
            _ => full,
        };
        match self.places.by_name.get(&key) {
            Some(id) => Ok(*id),
            None => self.place(key, node),
        }
    }

    fn member(&mut self, short: &str, line: &'static str) -> Result<Member, Error> {
        let mut columns = [""; 7];
        columns
            .iter_mut()
            .zip(line.split('\t'))
            .for_each(|(to, from)| *to = from);
        let [name, expr, flags, number, list, patch, default] = columns;
        let number = match number {
            "" => 0,
            digits => digits.parse().map_err(|_| Error::Line {
                line: self.line,
                what: "a number that is none",
            })?,
        };
        let ty = self.expression(short, expr)?;
        if name == "+" {
            return Ok(Member::Embedded { number, id: ty });
        }
        let mut bits = flags.chars().fold(0, |bits, flag| {
            bits | match flag {
                'e' => OMIT_EMPTY,
                'z' => OMIT_ZERO,
                'r' => REQUIRED,
                _ => 0,
            }
        });
        if expr.starts_with('*') {
            bits |= POINTER;
        }
        let extra = Extra {
            topology: topology(list),
            strategy: strategy(patch),
            default: serde_json::from_str(default).ok(),
        };
        let extra = (extra != Extra::default()).then(|| Box::new(extra));
        Ok(Member::Own(Field {
            name: name.into(),
            ty,
            flags: bits,
            number,
            extra,
        }))
    }

    fn finish(&mut self, draft: &Draft, members: &[Member], fields: Vec<Field>) {
        let embedded = members.iter().filter_map(|member| match member {
            Member::Embedded { number, id } if *number != 0 => Some((*number, *id)),
            _ => None,
        });
        let embedded: Box<[(u16, u16)]> = embedded.collect();
        let mut by_name: Vec<u16> = (0..fields.len() as u16).collect();
        by_name.sort_by(|a, b| {
            fields[usize::from(*a)]
                .name
                .cmp(&fields[usize::from(*b)].name)
        });
        let package = &self.schema.packages[usize::from(draft.package)];
        // Only TypeMeta is embedded without being a part of the message.
        let is_kind = members
            .iter()
            .any(|m| matches!(m, Member::Embedded { number: 0, .. }));
        if is_kind {
            let (group, version) = (package.group.clone(), package.version.clone());
            let known = self
                .schema
                .kinds
                .iter()
                .position(|k| k.group == group && k.version == version);
            let at = known.unwrap_or_else(|| {
                self.schema.kinds.push(Kinds {
                    group,
                    version,
                    kinds: Vec::new(),
                });
                self.schema.kinds.len() - 1
            });
            self.schema.kinds[at]
                .kinds
                .push((draft.name.into(), draft.id));
        }
        self.schema
            .models
            .insert(format!("{}.{}", package.model, draft.name), draft.id);
        let message = Struct::parts(&fields, &embedded);
        self.schema.nodes[usize::from(draft.id)] = Node::Struct(Struct {
            name: draft.name.into(),
            package: draft.package,
            atomic: draft.atomic,
            fields: fields.into(),
            by_name: by_name.into(),
            message,
            embedded,
            rest: None,
        });
    }
}

fn scalar(word: &str) -> Option<Scalar> {
    Some(match word {
        "string" => Scalar::String,
        "bool" => Scalar::Bool,
        "int32" => Scalar::Int32,
        "int64" => Scalar::Int64,
        "uint32" => Scalar::Uint32,
        "uint64" => Scalar::Uint64,
        "float64" => Scalar::Float64,
        "bytes" => Scalar::Bytes,
        "quantity" => Scalar::Quantity,
        "intorstring" => Scalar::IntOrString,
        "time" => Scalar::Time,
        "microtime" => Scalar::MicroTime,
        "duration" => Scalar::Duration,
        "fieldsv1" => Scalar::FieldsV1,
        "raw" => Scalar::Raw,
        "json" => Scalar::Json,
        "schemaorarray" => Scalar::SchemaOrArray,
        "schemaorbool" => Scalar::SchemaOrBool,
        "schemaorstrings" => Scalar::SchemaOrStrings,
        _ => return None,
    })
}

fn topology(column: &'static str) -> Option<Topology> {
    match column {
        "" => None,
        "set" => Some(Topology::Set),
        "atomic" => Some(Topology::Atomic),
        "granular" => Some(Topology::Granular),
        other => other
            .strip_prefix("map:")
            .map(|keys| Topology::Map(keys.split(',').map(Name::Borrowed).collect())),
    }
}

fn strategy(column: &'static str) -> Strategy {
    let (words, key) = column
        .split_once(':')
        .map_or((column, None), |(w, k)| (w, Some(Name::Borrowed(k))));
    let has = |word| words.split(',').any(|w| w == word);
    Strategy {
        merge: has("merge"),
        replace: has("replace"),
        retain_keys: has("retainKeys"),
        key,
    }
}
