//! `cargo xtask schema`: makes `crates/api/src/data/schema.tsv` from the Go types of Kubernetes' API modules.
//!
//! The Go types are upstream's single source: struct tags hold JSON names, `omitempty`, strategic-merge strategies and
//! protobuf numbers; comments hold list types, map keys and defaults. OpenAPI documents and `.proto` files are made from
//! them and each lack a part. The argument is the directory that holds the unpacked modules, as the Go module cache
//! lays them out: `DIR/api@VERSION`, `DIR/apimachinery@VERSION` and so on.
//!
//! The output has one line per package (`@`), named type or struct (no indent) and field (one blank). Texts, enums and
//! everything that no server rule needs are left out; the texts, which only `kubectl explain` shows, go to
//! `descriptions.tsv` beside it, with line breaks as `\n`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Packages whose kinds are served, as import paths.
const SERVED: &[&str] = &[
    "k8s.io/api/admission/v1",
    "k8s.io/api/admissionregistration/v1",
    "k8s.io/api/apps/v1",
    "k8s.io/api/authentication/v1",
    "k8s.io/api/authorization/v1",
    "k8s.io/api/autoscaling/v1",
    "k8s.io/api/autoscaling/v2",
    "k8s.io/api/batch/v1",
    "k8s.io/api/certificates/v1",
    "k8s.io/api/coordination/v1",
    "k8s.io/api/core/v1",
    "k8s.io/api/discovery/v1",
    "k8s.io/api/events/v1",
    "k8s.io/api/flowcontrol/v1",
    "k8s.io/api/networking/v1",
    "k8s.io/api/node/v1",
    "k8s.io/api/policy/v1",
    "k8s.io/api/rbac/v1",
    "k8s.io/api/resource/v1",
    "k8s.io/api/scheduling/v1",
    "k8s.io/api/storage/v1",
    "k8s.io/api/storagemigration/v1",
    "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1",
    "k8s.io/apimachinery/pkg/apis/meta/v1",
    "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1",
];

/// Packages that are only referred to: of these, the table has the types that served kinds reach.
const REFERRED: &[&str] = &[
    "k8s.io/api/scheduling/v1alpha3",
    "k8s.io/apimachinery/pkg/types",
];

/// Types that marshal themselves, and the name that the table gives them.
const CUSTOM: &[(&str, &str)] = &[
    ("k8s.io/apimachinery/pkg/api/resource.Quantity", "quantity"),
    (
        "k8s.io/apimachinery/pkg/util/intstr.IntOrString",
        "intorstring",
    ),
    ("k8s.io/apimachinery/pkg/apis/meta/v1.Time", "time"),
    (
        "k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime",
        "microtime",
    ),
    ("k8s.io/apimachinery/pkg/apis/meta/v1.Duration", "duration"),
    ("k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1", "fieldsv1"),
    ("k8s.io/apimachinery/pkg/runtime.RawExtension", "raw"),
    ("k8s.io/apimachinery/pkg/runtime.Object", "raw"),
    (
        "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSON",
        "json",
    ),
    (
        "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrArray",
        "schemaorarray",
    ),
    (
        "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrBool",
        "schemaorbool",
    ),
    (
        "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrStringArray",
        "schemaorstrings",
    ),
];

type Packages = BTreeMap<&'static str, Package>;

/// Stands for an empty line between comments: what is before it belongs to markers, but not to the description.
const BREAK: &str = "";

/// Writes the table and the descriptions.
pub fn run(modules: &Path, output: &Path) -> Result<()> {
    let mut packages = Packages::new();
    for path in SERVED.iter().chain(REFERRED) {
        packages.insert(
            path,
            Package::read(modules, path).with_context(|| format!("read package {path}"))?,
        );
    }
    let entries = reachable(&packages)?;
    let mut text = String::from(
        "# Made by `cargo xtask schema` from the Go types of Kubernetes. Do not edit.\n",
    );
    for (path, package) in &packages {
        let short = short_path(path);
        writeln!(
            text,
            "@{short}\t{}\t{}\t{}",
            package.model_prefix, package.group, package.version
        )?;
        entries
            .iter()
            .filter(|((package, _), _)| package == short)
            .for_each(|(_, lines)| text.push_str(lines));
    }
    fs::write(output, text).with_context(|| format!("write {}", output.display()))?;
    let mut texts = String::from(
        "# Made by `cargo xtask schema` from the comments of Kubernetes' Go types (Apache-2.0).\n",
    );
    for (package, name) in entries.keys() {
        describe_type(package, name, &packages, &mut texts)?;
    }
    let output = output.with_file_name("descriptions.tsv");
    fs::write(&output, texts).with_context(|| format!("write {}", output.display()))?;
    crate::internal::run(modules, &output)
}

/// The description of a struct and of its members, those of embedded structs included.
fn describe_type(package: &str, name: &str, packages: &Packages, out: &mut String) -> Result<()> {
    let (path, package) = packages
        .iter()
        .find(|(path, _)| short_path(path) == package)
        .context("a known package")?;
    let ty = package.types.get(name).context("a known type")?;
    if let Body::Struct(_) = &ty.body {
        writeln!(
            out,
            "{}.{name}\t{}",
            package.model_prefix,
            description(&ty.comments)
        )?;
        describe_fields(path, ty, packages, out)?;
    }
    Ok(())
}

fn describe_fields(path: &str, ty: &Type, packages: &Packages, out: &mut String) -> Result<()> {
    let Body::Struct(fields) = &ty.body else {
        return Ok(());
    };
    for field in fields {
        let json = tag(&field.tag, "json").unwrap_or_default();
        let name = json.split(',').next().unwrap_or_default();
        if field.name.is_empty() && name.is_empty() {
            let (package, inner) = match field.go_type.split_once('.') {
                Some((alias, inner)) => (ty.imports.get(alias).map_or("", String::as_str), inner),
                None => (path, field.go_type.as_str()),
            };
            if let Some(embedded) = packages.get(package).and_then(|p| p.types.get(inner)) {
                describe_fields(package, embedded, packages, out)?;
            }
        } else if !name.is_empty() && name != "-" {
            let text = description(&field.comments);
            if !text.is_empty() {
                writeln!(out, " {name}\t{text}")?;
            }
        }
    }
    Ok(())
}

/// The text of the comment right before a declaration, without markers and notes to developers.
fn description(comments: &[String]) -> String {
    // An empty comment line parts paragraphs; an empty source line parts comments.
    let own = comments
        .rsplit(|line| line == BREAK)
        .find(|lines| !lines.is_empty())
        .unwrap_or_default();
    let mut text = String::new();
    for line in own {
        let trimmed = line.trim();
        if trimmed == "---" {
            break;
        }
        if trimmed.starts_with('+') || trimmed.starts_with("TODO") {
            continue;
        }
        // Indented lines, such as lists, stay lines of their own.
        let body = line.strip_prefix(' ').unwrap_or(line).trim_end();
        let indented = body.starts_with([' ', '\t']);
        let fresh = text.is_empty() || text.ends_with("\\n");
        match trimmed {
            "" if text.ends_with("\\n\\n") || text.is_empty() => {}
            "" => text.push_str(if fresh { "\\n" } else { "\\n\\n" }),
            _ => {
                if !fresh {
                    text.push_str(if indented { "\\n" } else { " " });
                }
                let shown = if indented { body } else { trimmed };
                text.push_str(&shown.replace('\\', "\\\\").replace('\t', "\\t"));
                if indented {
                    text.push_str("\\n");
                }
            }
        }
    }
    text.trim_end_matches("\\n").to_owned()
}

/// The lines of every type that a served kind reaches, by short package path and name.
fn reachable(packages: &Packages) -> Result<BTreeMap<(String, String), String>> {
    let mut todo: Vec<(String, String)> = Vec::new();
    for path in SERVED {
        let kinds = packages[path].types.iter().filter(|(_, ty)| ty.is_kind());
        todo.extend(kinds.map(|(name, _)| (short_path(path).to_owned(), name.clone())));
    }
    let mut entries = BTreeMap::new();
    while let Some(key) = todo.pop() {
        if entries.contains_key(&key) {
            continue;
        }
        let (path, package) = packages
            .iter()
            .find(|(p, _)| short_path(p) == key.0)
            .context("a known package")?;
        let lines = package
            .lines(path, &key.1, packages)
            .with_context(|| format!("write {}.{}", key.0, key.1))?;
        for line in lines.lines() {
            let expr = line
                .split('\t')
                .nth(1)
                .unwrap_or_default()
                .trim_start_matches(['=', '*', '[', '{']);
            if let Some((package, name)) = expr.rsplit_once('.') {
                let package = if package.is_empty() { &key.0 } else { package };
                todo.push((package.to_owned(), name.to_owned()));
            }
        }
        entries.insert(key, lines);
    }
    Ok(entries)
}

#[derive(Default)]
struct Package {
    /// `io.k8s.api.core.v1`: what OpenAPI calls the package.
    model_prefix: String,
    group: String,
    version: String,
    types: BTreeMap<String, Type>,
}

pub(crate) struct Type {
    pub(crate) body: Body,
    comments: Vec<String>,
    pub(crate) imports: BTreeMap<String, String>,
}

pub(crate) enum Body {
    Struct(Vec<Field>),
    Named(String),
}

pub(crate) struct Field {
    /// Empty when the type is embedded.
    pub(crate) name: String,
    pub(crate) go_type: String,
    pub(crate) tag: String,
    comments: Vec<String>,
}

impl Package {
    fn read(modules: &Path, path: &str) -> Result<Package> {
        let dir = directory(modules, path)?;
        let mut package = Package {
            version: path.rsplit('/').next().unwrap_or_default().to_owned(),
            group: group_name(&dir)?,
            model_prefix: model_prefix(&dir)?,
            ..Package::default()
        };
        for entry in fs::read_dir(&dir)? {
            let file = entry?.path();
            let name = file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let generated =
                name.starts_with("zz_") || name.contains("generated") || name.ends_with("_test.go");
            if name.ends_with(".go") && !generated {
                parse(&fs::read_to_string(&file)?, &mut package.types);
            }
        }
        Ok(package)
    }

    /// The lines of one type.
    fn lines(&self, path: &str, name: &str, packages: &Packages) -> Result<String> {
        let ty = self.types.get(name).context("a known type")?;
        let mut out = String::new();
        match &ty.body {
            Body::Named(target) => {
                let expr = expression(target, path, &ty.imports, packages)?;
                let message = if has(&ty.comments, "protobuf.nullable") {
                    "\tmessage"
                } else {
                    ""
                };
                writeln!(out, "{name}\t={expr}{message}")?;
            }
            Body::Struct(fields) => {
                let atomic = marker(&ty.comments, "structType").or(marker(&ty.comments, "mapType"));
                writeln!(
                    out,
                    "{name}\t{}",
                    if atomic == Some("atomic") {
                        "atomic"
                    } else {
                        "struct"
                    }
                )?;
                for field in fields {
                    if let Some(line) = field
                        .line(path, ty, packages)
                        .with_context(|| field.name.clone())?
                    {
                        writeln!(out, " {line}")?;
                    }
                }
            }
        }
        Ok(out)
    }
}

impl Type {
    /// Whether objects of this type say their apiVersion and kind.
    fn is_kind(&self) -> bool {
        match &self.body {
            Body::Struct(fields) => fields
                .iter()
                .any(|f| f.name.is_empty() && f.go_type.ends_with("TypeMeta")),
            Body::Named(_) => false,
        }
    }
}

impl Field {
    /// name, type, flags, protobuf number, list type, patch strategy, default; without the empty columns at the end.
    fn line(&self, path: &str, ty: &Type, packages: &Packages) -> Result<Option<String>> {
        let json = tag(&self.tag, "json").unwrap_or_default();
        let (json_name, options) = json.split_once(',').unwrap_or((json, ""));
        if json_name == "-" || !self.tag.contains("json:") {
            return Ok(None);
        }
        let embedded = self.name.is_empty() && json_name.is_empty();
        let name = if embedded { "+" } else { json_name };
        let mut flags = String::new();
        let omits = options.split(',').any(|o| o == "omitempty");
        if omits {
            flags.push('e');
        }
        if options.split(',').any(|o| o == "omitzero") {
            flags.push('z');
        }
        let optional = omits || has(&self.comments, "optional");
        if !embedded && (!optional || has(&self.comments, "required")) {
            flags.push('r');
        }
        let columns = [
            name.to_owned(),
            expression(&self.go_type, path, &ty.imports, packages)?,
            flags,
            tag(&self.tag, "protobuf")
                .and_then(|p| p.split(',').nth(1))
                .unwrap_or_default()
                .to_owned(),
            self.list(),
            self.patch(),
            marker(&self.comments, "default")
                .filter(|d| !d.starts_with("ref("))
                .unwrap_or_default()
                .to_owned(),
        ];
        Ok(Some(columns.join("\t").trim_end_matches('\t').to_owned()))
    }

    fn list(&self) -> String {
        let keys: Vec<_> = markers(&self.comments, "listMapKey").collect();
        let object = ["mapType", "structType"]
            .iter()
            .find_map(|m| marker(&self.comments, m));
        match marker(&self.comments, "listType") {
            Some("map") => format!("map:{}", keys.join(",")),
            Some(other) => other.to_owned(),
            None => object.unwrap_or_default().to_owned(),
        }
    }

    fn patch(&self) -> String {
        let strategy = tag(&self.tag, "patchStrategy").unwrap_or_default();
        match tag(&self.tag, "patchMergeKey") {
            Some(key) => format!("{strategy}:{key}"),
            None => strategy.to_owned(),
        }
    }
}

/// `DIR/api@v0.37.2/core/v1` for `k8s.io/api/core/v1`.
pub(crate) fn directory(modules: &Path, path: &str) -> Result<PathBuf> {
    let rest = path.trim_start_matches("k8s.io/");
    let (module, inside) = rest.split_once('/').context("a package inside a module")?;
    for entry in fs::read_dir(modules).with_context(|| format!("read {}", modules.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == module || name.starts_with(&format!("{module}@")) {
            return Ok(entry.path().join(inside));
        }
    }
    bail!("module {module} is not in {}", modules.display())
}

fn group_name(dir: &Path) -> Result<String> {
    let Ok(text) = fs::read_to_string(dir.join("register.go")) else {
        return Ok(String::new());
    };
    let line = text
        .lines()
        .find(|l| l.contains("GroupName = \""))
        .unwrap_or_default();
    Ok(line.split('"').nth(1).unwrap_or_default().to_owned())
}

fn model_prefix(dir: &Path) -> Result<String> {
    let Ok(text) = fs::read_to_string(dir.join("zz_generated.model_name.go")) else {
        return Ok(String::new());
    };
    let line = text
        .lines()
        .find_map(|l| l.trim().strip_prefix("return \""))
        .context("a model name")?;
    let name = line.trim_end_matches('"');
    Ok(name
        .rsplit_once('.')
        .context("a dotted model name")?
        .0
        .to_owned())
}

/// Collects the type declarations of one gofmt-ed file.
pub(crate) fn parse(source: &str, types: &mut BTreeMap<String, Type>) {
    let mut imports = BTreeMap::new();
    let mut comments = Vec::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let trimmed = line.trim();
        if let Some(comment) = trimmed.strip_prefix("//") {
            comments.push(format!("{} ", comment.trim_end()));
        } else if trimmed.starts_with("import")
            || (trimmed.ends_with('"') && trimmed.contains("k8s.io/"))
        {
            import(trimmed, &mut imports);
        } else if let Some(rest) = line.strip_prefix("type ") {
            let (name, target) = rest.split_once(' ').unwrap_or((rest, ""));
            let body = match target.trim() {
                "struct {" => Some(Body::Struct(fields(&mut lines))),
                "struct{}" => Some(Body::Struct(Vec::new())),
                other
                    if other.starts_with("interface")
                        || other.starts_with("func")
                        || other.starts_with('=') =>
                {
                    None
                }
                other => Some(Body::Named(
                    other.split(" //").next().unwrap_or(other).trim().to_owned(),
                )),
            };
            if let Some(body) = body {
                let ty = Type {
                    body,
                    comments: std::mem::take(&mut comments),
                    imports: imports.clone(),
                };
                types.insert(name.to_owned(), ty);
            }
            comments.clear();
        } else if trimmed.is_empty() {
            comments.push(BREAK.to_owned());
        } else {
            comments.clear();
        }
    }
}

fn import(line: &str, imports: &mut BTreeMap<String, String>) {
    let Some(path) = line.split('"').nth(1) else {
        return;
    };
    let before = line
        .split('"')
        .next()
        .unwrap_or_default()
        .trim_start_matches("import")
        .trim();
    let alias = if before.is_empty() {
        path.rsplit('/').next().unwrap_or(path)
    } else {
        before
    };
    imports.insert(alias.to_owned(), path.to_owned());
}

fn fields<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut comments = Vec::new();
    for line in lines {
        let trimmed = line.trim();
        if line == "}" {
            break;
        }
        if let Some(comment) = trimmed.strip_prefix("//") {
            comments.push(format!("{} ", comment.trim_end()));
            continue;
        }
        if trimmed.is_empty() {
            comments.push(BREAK.to_owned());
            continue;
        }
        let (declaration, tag) = trimmed.split_once('`').unwrap_or((trimmed, ""));
        let tag = tag.split('`').next().unwrap_or_default().to_owned();
        let mut words = declaration.split_whitespace();
        let first = words.next().unwrap_or_default().to_owned();
        let (name, go_type) = match words.next() {
            Some(go_type) => (first, go_type.to_owned()),
            None => (String::new(), first),
        };
        fields.push(Field {
            name,
            go_type,
            tag,
            comments: std::mem::take(&mut comments),
        });
    }
    fields
}

/// A Go type in the table's words: `*`, `[` and `{` are pointer, list and map from strings.
fn expression(
    go_type: &str,
    path: &str,
    imports: &BTreeMap<String, String>,
    packages: &Packages,
) -> Result<String> {
    let inner = |rest| expression(rest, path, imports, packages);
    if go_type == "[]byte" || go_type == "[]uint8" {
        return Ok("bytes".to_owned());
    }
    if let Some(rest) = go_type.strip_prefix('*') {
        return Ok(format!("*{}", inner(rest)?));
    }
    if let Some(rest) = go_type.strip_prefix("[]") {
        return Ok(format!("[{}", inner(rest)?));
    }
    if let Some((_, rest)) = go_type.strip_prefix("map[").and_then(|r| r.split_once(']')) {
        return Ok(format!("{{{}", inner(rest)?));
    }
    match go_type {
        "string" | "bool" | "int32" | "int64" | "float64" | "uint32" | "uint64" => {
            return Ok(go_type.to_owned());
        }
        "int" => return Ok("int64".to_owned()),
        "interface{}" | "any" => return Ok("json".to_owned()),
        _ => {}
    }
    let (package, name) = match go_type.split_once('.') {
        None => (path.to_owned(), go_type),
        Some((alias, name)) => (
            imports
                .get(alias)
                .with_context(|| format!("import {alias}"))?
                .clone(),
            name,
        ),
    };
    let full = format!("{package}.{name}");
    if let Some((_, word)) = CUSTOM.iter().find(|(custom, _)| *custom == full) {
        return Ok((*word).to_owned());
    }
    if packages
        .get(&*package)
        .is_some_and(|p| p.types.contains_key(name))
    {
        let local = package == path;
        return Ok(if local {
            format!(".{name}")
        } else {
            format!("{}.{name}", short_path(&package))
        });
    }
    bail!("type {full} is not in a known package")
}

/// `core/v1` for `k8s.io/api/core/v1`, `meta/v1` for `k8s.io/apimachinery/pkg/apis/meta/v1`.
fn short_path(path: &str) -> &str {
    let mut slashes = path.rmatch_indices('/').map(|(i, _)| i);
    slashes.nth(1).map_or(path, |i| &path[i + 1..])
}

pub(crate) fn tag<'a>(tags: &'a str, key: &str) -> Option<&'a str> {
    let start = tags.find(&format!("{key}:\""))? + key.len() + 2;
    tags[start..].split('"').next()
}

fn has(comments: &[String], name: &str) -> bool {
    comments.iter().any(|c| {
        c.trim()
            .strip_prefix('+')
            .is_some_and(|c| c == name || c.starts_with(&format!("{name}=")))
    })
}

fn marker<'a>(comments: &'a [String], name: &'a str) -> Option<&'a str> {
    markers(comments, name).next()
}

fn markers<'a>(comments: &'a [String], name: &'a str) -> impl Iterator<Item = &'a str> {
    comments.iter().filter_map(move |c| {
        c.trim()
            .strip_prefix('+')?
            .strip_prefix(name)?
            .strip_prefix('=')
    })
}
