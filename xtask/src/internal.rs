//! The second table of `cargo xtask schema`: the structs that kube-apiserver keeps objects in.
//!
//! Some of its errors show such a struct, marshalled with Go's own field names and order (`{"Type":"X",
//! "RollingUpdate":null}`), or the difference of two. `internal.tsv` has a line for each struct of the internal packages:
//! its name, and for each field the Go name, the name in the API's JSON and the type (`*`, `[` and `{` as in
//! `schema.tsv`). Types of a meta package are shown as the API has them, and are not in the table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::schema::{Body, Field, Type, directory, parse, tag};

/// Internal packages, and the version whose JSON names they are given.
const PACKAGES: &[(&str, &str)] = &[
    ("admissionregistration", "v1"),
    ("apps", "v1"),
    ("authorization", "v1"),
    ("autoscaling", "v2"),
    ("batch", "v1"),
    ("certificates", "v1"),
    ("coordination", "v1"),
    ("core", "v1"),
    ("discovery", "v1"),
    ("flowcontrol", "v1"),
    ("networking", "v1"),
    ("node", "v1"),
    ("policy", "v1"),
    ("resource", "v1"),
    ("scheduling", "v1"),
    ("storage", "v1"),
];

type Types = BTreeMap<String, Type>;

/// Writes the table beside the schema's.
pub fn run(modules: &Path, output: &Path) -> Result<()> {
    let mut all: BTreeMap<&str, Types> = BTreeMap::new();
    for (package, _) in PACKAGES {
        let types = read(modules, &format!("k8s.io/kubernetes/pkg/apis/{package}"))?;
        all.insert(package, types);
    }
    let mut text = String::from(
        "# Made by `cargo xtask schema` from the internal Go types of Kubernetes. Do not edit.\n",
    );
    for (package, version) in PACKAGES {
        let versioned = read(modules, &format!("k8s.io/api/{package}/{version}"))?;
        for (name, ty) in &all[package] {
            let Body::Struct(fields) = &ty.body else {
                continue;
            };
            write!(text, "{package}.{name}")?;
            for field in fields {
                let json = json_name(field, versioned.get(name));
                let shown = expression(&field.go_type, package, ty, &all);
                let go = if field.name.is_empty() {
                    "+"
                } else {
                    &field.name
                };
                write!(text, "\t{go} {json} {shown}")?;
            }
            text.push('\n');
        }
    }
    let output = output.with_file_name("internal.tsv");
    fs::write(&output, text).with_context(|| format!("write {}", output.display()))
}

fn read(modules: &Path, path: &str) -> Result<Types> {
    let file = directory(modules, path)?.join("types.go");
    let source = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let mut types = Types::new();
    parse(&source, &mut types);
    Ok(types)
}

/// The name of the field of the same Go name in the versioned struct, or what it would be called.
fn json_name(field: &Field, versioned: Option<&Type>) -> String {
    let own = |field: &Field| {
        let name = tag(&field.tag, "json").unwrap_or_default();
        name.split(',').next().unwrap_or_default().to_owned()
    };
    let fields = match versioned.map(|ty| &ty.body) {
        Some(Body::Struct(fields)) => fields.as_slice(),
        _ => &[],
    };
    let twin = fields
        .iter()
        .find(|f| f.name.eq_ignore_ascii_case(&field.name));
    let name = twin
        .map(own)
        .filter(|n| !n.is_empty())
        .unwrap_or_else(|| own(field));
    match (name.is_empty(), field.name.is_empty()) {
        (false, _) => name,
        (true, true) => "+".to_owned(),
        (true, false) => field.name[..1].to_lowercase() + &field.name[1..],
    }
}

fn expression(go_type: &str, package: &str, ty: &Type, all: &BTreeMap<&str, Types>) -> String {
    let inner = |rest| expression(rest, package, ty, all);
    if go_type == "[]byte" || go_type == "[]uint8" {
        return "bytes".to_owned();
    }
    if let Some(rest) = go_type.strip_prefix('*') {
        return format!("*{}", inner(rest));
    }
    if let Some(rest) = go_type.strip_prefix("[]") {
        return format!("[{}", inner(rest));
    }
    if let Some((_, rest)) = go_type.strip_prefix("map[").and_then(|r| r.split_once(']')) {
        return format!("{{{}", inner(rest));
    }
    let (home, name) = match go_type.split_once('.') {
        None => (package, go_type),
        Some((alias, name)) => {
            let path = ty.imports.get(alias).map_or("", String::as_str);
            match path.rsplit('/').next().unwrap_or_default() {
                "resource" if name == "Quantity" => return "quantity".to_owned(),
                "intstr" => return "intorstring".to_owned(),
                "types" => return "string".to_owned(),
                "v1" => return format!("meta.{name}"),
                other => (other, name),
            }
        }
    };
    match all.get(home).and_then(|types| types.get(name)) {
        Some(named) => match &named.body {
            Body::Struct(_) => format!("{home}.{name}"),
            Body::Named(target) => expression(target, home, named, all),
        },
        None => name.to_owned(),
    }
}
