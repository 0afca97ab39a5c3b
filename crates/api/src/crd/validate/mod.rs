//! Whether a CustomResourceDefinition is right, with upstream's rules, order and texts.
//!
//! Upstream looks at a definition in its internal form, in which what all versions have in common stands above them: with
//! one version the schema is at `spec.validation`, and so are the errors. Absent: rules in the expression language, which
//! the server checks.

pub mod approval;
mod conversion;
mod defaults;
mod gotext;
mod names;
pub mod schema;
mod selectable;

use serde_json::Value;

pub use conversion::ca_bundle;

use super::formats::Format;
use super::props::Props;
use crate::field::{Bad, Error, Path};
use crate::names as grammar;

type Errors = Vec<Error>;

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    let items = value.get(name).and_then(Value::as_array);
    items.map_or(&[], Vec::as_slice)
}

fn some<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    value.get(name).filter(|v| !v.is_null())
}

/// The texts of several things wrong with one value, as upstream joins them.
fn joined(errors: &mut Errors, path: &Path<'_>, value: &str, prefix: &str, wrong: Vec<String>) {
    if !wrong.is_empty() {
        let detail = format!("{prefix}{}", wrong.join(","));
        errors.push(Error::invalid(path, value, detail));
    }
}

/// The schema of one version, or of all of them.
#[derive(Debug)]
pub struct Schema<'v> {
    /// Where it is in errors.
    pub path: String,
    /// The JSON.
    pub schema: &'v Value,
}

/// The schemas of a definition.
pub fn schemas(definition: &Value) -> Vec<Schema<'_>> {
    let spec = &definition["spec"];
    if let Some(schema) = shared(spec, "schema") {
        let path = "spec.validation.openAPIV3Schema".to_owned();
        let schema = &schema["openAPIV3Schema"];
        return vec![Schema { path, schema }];
    }
    let versions = list(spec, "versions").iter().enumerate();
    let schemas = versions.map(|(i, version)| Schema {
        path: format!("spec.versions[{i}].schema.openAPIV3Schema"),
        schema: &version["schema"]["openAPIV3Schema"],
    });
    schemas.collect()
}

/// A rule as errors show it.
pub fn shown_rule(rule: &Value) -> Bad {
    Bad::Text(gotext::rule(rule).to_string())
}

/// A new definition, but for the general rules on metadata.
pub fn create(errors: &mut Errors, definition: &Value) {
    let spec = &definition["spec"];
    let name = text(&definition["metadata"], "name");
    let required = format!("{}.{}", text(&spec["names"], "plural"), text(spec, "group"));
    if !name.is_empty() && name != required {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(Error::invalid(
            &Path::root("metadata").field("name"),
            name,
            detail,
        ));
    }
    whole(errors, definition, None);
    errors.extend(approval::error(definition, None));
    preserve(errors, definition, None);
}

/// A changed definition.
pub fn update(errors: &mut Errors, old: &Value, new: &Value) {
    whole(errors, new, Some(old));
    errors.extend(approval::error(new, Some(old)));
    preserve(errors, new, Some(old));
}

/// A changed status.
pub fn status(errors: &mut Errors, new: &Value) {
    let root = Path::root("status");
    names::check(
        errors,
        &root.field("acceptedNames"),
        &new["status"]["acceptedNames"],
    );
}

fn whole(errors: &mut Errors, definition: &Value, old: Option<&Value>) {
    let spec = &definition["spec"];
    let path = Path::root("spec");
    self::spec(errors, &path, spec, old.map(|old| &old["spec"]));
    if let Some(old) = old {
        let established = super::definition::is_condition_true(old, "Established");
        immutable(errors, &path, &old["spec"], spec, established);
    }
    status(errors, definition);
    stored_versions(errors, definition);
}

fn immutable(errors: &mut Errors, path: &Path<'_>, old: &Value, new: &Value, established: bool) {
    let names = path.field("names");
    let mut same = |path: &Path<'_>, old: &Value, new: &Value| {
        if old != new {
            errors.push(Error::invalid(path, new, "field is immutable"));
        }
    };
    if established {
        same(&path.field("scope"), &old["scope"], &new["scope"]);
        same(
            &names.field("kind"),
            &old["names"]["kind"],
            &new["names"]["kind"],
        );
    }
    same(&path.field("group"), &old["group"], &new["group"]);
    same(
        &names.field("plural"),
        &old["names"]["plural"],
        &new["names"]["plural"],
    );
}

/// A member of all versions, and whether it is the same in all.
fn shared<'v>(spec: &'v Value, member: &str) -> Option<&'v Value> {
    let (first, rest) = list(spec, "versions").split_first()?;
    let first = some(first, member);
    let same = rest.iter().all(|v| some(v, member) == first);
    if same {
        Some(first.unwrap_or(&Value::Null))
    } else {
        None
    }
}

fn spec(errors: &mut Errors, path: &Path<'_>, spec: &Value, old: Option<&Value>) {
    let group = text(spec, "group");
    let at = path.field("group");
    if group.is_empty() {
        errors.push(Error::required(&at, ""));
    } else if !grammar::dns1123_subdomain(group).is_empty() {
        joined(errors, &at, group, "", grammar::dns1123_subdomain(group));
    } else if !group.contains('.') {
        errors.push(Error::invalid(
            &at,
            group,
            "should be a domain with at least one dot",
        ));
    }
    one_of(
        errors,
        &path.field("scope"),
        text(spec, "scope"),
        &["Cluster", "Namespaced"],
    );
    let versions = list(spec, "versions");
    let list_path = path.field("versions");
    for (i, version) in versions.iter().enumerate() {
        if some(&version["schema"], "openAPIV3Schema").is_none() {
            let at = list_path.index(i);
            let at = at.field("schema");
            errors.push(Error::required(&at.field("openAPIV3Schema"), ""));
        }
    }
    for (i, version) in versions.iter().enumerate() {
        let at = list_path.index(i);
        let name = text(version, "name");
        joined(
            errors,
            &at.field("name"),
            name,
            "",
            grammar::dns1035_label(name),
        );
        self::version(errors, &at, spec, version, old);
    }
    counts(errors, &list_path, spec);
    names::required(errors, &path.field("names"), &spec["names"]);
    names::check(errors, &path.field("names"), &spec["names"]);
    common(errors, path, spec, old);
    conversion::check(
        errors,
        &path.field("conversion"),
        &spec["conversion"],
        old.is_some(),
    );
}

fn one_of(errors: &mut Errors, path: &Path<'_>, word: &str, supported: &[&str]) {
    match word {
        "" => errors.push(Error::required(path, "")),
        word if supported.contains(&word) => {}
        word => errors.push(Error::not_supported(path, word, supported)),
    }
}

/// What belongs to one version alone.
fn version(
    errors: &mut Errors,
    path: &Path<'_>,
    spec: &Value,
    version: &Value,
    old: Option<&Value>,
) {
    deprecation(errors, &path.field("deprecationWarning"), version);
    if shared(spec, "schema").is_none() {
        let status = some(&version["subresources"], "status").is_some();
        let at = path.field("schema");
        schema::check(errors, &at, &version["schema"]["openAPIV3Schema"], status);
    }
    if shared(spec, "subresources").is_none() {
        subresources(
            errors,
            &path.field("subresources"),
            &version["subresources"],
        );
    }
    if shared(spec, "additionalPrinterColumns").is_none() {
        columns(
            errors,
            &path.field("additionalPrinterColumns"),
            list(version, "additionalPrinterColumns"),
        );
    }
    if shared(spec, "selectableFields").is_none() {
        let name = text(version, "name");
        let versions = old.map(|old| list(old, "versions")).unwrap_or_default();
        let before = versions.iter().find(|v| text(v, "name") == name);
        let fields = list(version, "selectableFields");
        let schema = Props::read(&version["schema"]["openAPIV3Schema"]);
        let unchanged = before.is_some_and(|v| list(v, "selectableFields") == fields);
        selectable::check(
            errors,
            &path.field("selectableFields"),
            fields,
            &schema,
            unchanged,
        );
    }
}

/// What all versions have in common.
fn common(errors: &mut Errors, path: &Path<'_>, spec: &Value, old: Option<&Value>) {
    let versions = list(spec, "versions");
    let status = |v: &Value| some(&v["subresources"], "status").is_some();
    let schema = shared(spec, "schema").map(|s| &s["openAPIV3Schema"]);
    if let Some(schema) = schema {
        let at = path.field("validation");
        schema::check(errors, &at, schema, versions.iter().any(status));
    }
    if let Some(value) = shared(spec, "subresources") {
        subresources(errors, &path.field("subresources"), value);
    }
    if let Some(value) = shared(spec, "additionalPrinterColumns") {
        let items = value.as_array().map_or(&[][..], Vec::as_slice);
        columns(errors, &path.field("additionalPrinterColumns"), items);
    }
    let Some(fields) = shared(spec, "selectableFields").and_then(Value::as_array) else {
        return;
    };
    let at = path.field("selectableFields");
    match schema {
        Some(schema) => {
            let before = old.and_then(|old| shared(old, "selectableFields"));
            let unchanged = before.and_then(Value::as_array) == Some(fields);
            selectable::check(errors, &at, fields, &Props::read(schema), unchanged);
        }
        None if fields.is_empty() => {}
        None => {
            let detail = "may only be set when validations.schema is included";
            errors.push(Error::invalid(&at, "", detail));
        }
    }
}

fn counts(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    let versions = list(spec, "versions");
    let shown = || Bad::Text(gotext::versions(spec));
    let twice = |(i, v): (usize, &Value)| {
        versions[..i]
            .iter()
            .any(|other| text(other, "name") == text(v, "name"))
    };
    if versions.iter().enumerate().any(twice) {
        errors.push(Error::invalid(
            path,
            shown(),
            "must contain unique version names",
        ));
    }
    let stored = versions.iter().filter(|v| v["storage"] == true).count();
    if stored != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(Error::invalid(path, shown(), detail));
    }
}

fn deprecation(errors: &mut Errors, path: &Path<'_>, version: &Value) {
    let Some(warning) = version.get("deprecationWarning").and_then(Value::as_str) else {
        return;
    };
    let mut wrong = |detail: String| errors.push(Error::invalid(path, warning, detail));
    if version["deprecated"] != true {
        return wrong("can only be set for deprecated versions".to_owned());
    }
    if warning.len() > 256 {
        wrong("must be <= 256 characters long".to_owned());
    }
    if warning.is_empty() {
        wrong("must not be an empty string".to_owned());
    }
    let hidden = |c: char| c.is_control() || c.is_whitespace() && c != ' ';
    if let Some((i, _)) = warning.char_indices().find(|(_, c)| hidden(*c)) {
        wrong(format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {i}"
        ));
    }
}

fn subresources(errors: &mut Errors, path: &Path<'_>, subresources: &Value) {
    let Some(scale) = some(subresources, "scale") else {
        return;
    };
    let mut numbers = |member: &str, prefix: &str| {
        let name = format!("scale.{member}");
        let at = path.field(&name);
        let value = text(scale, member);
        if value.is_empty() {
            errors.push(Error::required(&at, ""));
        } else if !simple_path(errors, &at, value) && !value.starts_with(&format!(".{prefix}.")) {
            let detail = format!("should be a json path under .{prefix}");
            errors.push(Error::invalid(&at, value, detail));
        }
    };
    numbers("specReplicasPath", "spec");
    numbers("statusReplicasPath", "status");
    let selector = text(scale, "labelSelectorPath");
    let at = path.field("scale.labelSelectorPath");
    if !selector.is_empty() && !simple_path(errors, &at, selector) {
        let right = selector.starts_with(".spec.") || selector.starts_with(".status.");
        if !right {
            let detail = "should be a json path under either .spec or .status";
            errors.push(Error::invalid(&at, selector, detail));
        }
    }
}

/// Whether a path was told to be none.
fn simple_path(errors: &mut Errors, path: &Path<'_>, value: &str) -> bool {
    let wrong = !value.starts_with('.');
    if wrong {
        let detail = "must be a simple json path starting with .";
        errors.push(Error::invalid(path, value, detail));
    }
    wrong
}

fn columns(errors: &mut Errors, path: &Path<'_>, columns: &[Value]) {
    const TYPES: &str = "must be one of boolean,date,integer,number,string";
    const FORMATS: [&str; 8] = [
        "byte",
        "date",
        "date-time",
        "double",
        "float",
        "int32",
        "int64",
        "password",
    ];
    for (i, column) in columns.iter().enumerate() {
        let at = path.index(i);
        if text(column, "name").is_empty() {
            errors.push(Error::required(&at.field("name"), ""));
        }
        match text(column, "type") {
            "" => errors.push(Error::required(&at.field("type"), TYPES)),
            "boolean" | "date" | "integer" | "number" | "string" => {}
            other => errors.push(Error::invalid(&at.field("type"), other, TYPES)),
        }
        let format = text(column, "format");
        if !format.is_empty() && !FORMATS.contains(&format) {
            let detail = format!("must be one of {}", FORMATS.join(","));
            errors.push(Error::invalid(&at.field("format"), format, detail));
        }
        match text(column, "jsonPath") {
            "" => errors.push(Error::required(&at.field("JSONPath"), "")),
            json_path => {
                simple_path(errors, &at.field("JSONPath"), json_path);
            }
        }
    }
}

fn stored_versions(errors: &mut Errors, definition: &Value) {
    let root = Path::root("status");
    let path = root.field("storedVersions");
    let stored = list(&definition["status"], "storedVersions");
    if stored.is_empty() {
        errors.push(Error::invalid(
            &path,
            Value::Null,
            "must have at least one stored version",
        ));
        return;
    }
    let versions = list(&definition["spec"], "versions");
    for version in versions.iter().filter(|v| v["storage"] == true) {
        let name = text(version, "name");
        if !stored.iter().any(|s| s == name) {
            let detail = format!("must have the storage version {name}");
            errors.push(Error::invalid(&path, Value::from(stored), detail));
        }
    }
    for (i, name) in stored.iter().enumerate() {
        let name = name.as_str().unwrap_or_default();
        if !versions.iter().any(|v| text(v, "name") == name) {
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions \
                 until a storage migration ensures no data remains persisted in {name} and removes {name} from \
                 status.storedVersions"
            );
            errors.push(Error::invalid(&path.index(i), name, detail));
        }
    }
}

fn preserve(errors: &mut Errors, definition: &Value, old: Option<&Value>) {
    let on = |d: &Value| d["spec"]["preserveUnknownFields"] == true;
    if on(definition) && !old.is_some_and(on) {
        let root = Path::root("spec");
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(Error::invalid(
            &root.field("preserveUnknownFields"),
            Value::from(true),
            detail,
        ));
    }
}

/// What is right but has no effect, and was not so before.
pub fn warnings(old: Option<&Value>, new: &Value) -> Vec<String> {
    let told = |definition: &Value| {
        let (mut formats, mut sets) = (Vec::new(), Vec::new());
        let spec = &definition["spec"];
        let schemas: Vec<&Value> = match shared(spec, "schema") {
            Some(one) => vec![one],
            None => list(spec, "versions")
                .iter()
                .map(|v| &v["schema"])
                .collect(),
        };
        for schema in schemas {
            Props::read(&schema["openAPIV3Schema"]).any(&mut |s| {
                let known = match &*s.ty {
                    "" | "string" => Format::of(&s.format).is_some(),
                    "integer" => matches!(&*s.format, "int32" | "int64"),
                    "number" => matches!(&*s.format, "float" | "double"),
                    _ => false,
                };
                if !s.format.is_empty() && !known {
                    formats.push(format!("unrecognized format {}", crate::field::quote(&s.format)));
                }
                let item = s.items.as_ref().map_or("", |items| &items.ty);
                if s.list_type.as_deref() == Some("set") && matches!(item, "object" | "array") {
                    sets.push(format!(
                        "x-kubernetes-list-type: set for items of type \"{item}\" is not supported by server-side apply \
                         or CEL validation rules"
                    ));
                }
                false
            });
        }
        sets.sort();
        formats.extend(sets);
        formats
    };
    let before = old.map(told).unwrap_or_default();
    told(new)
        .into_iter()
        .filter(|text| !before.contains(text))
        .collect()
}

#[cfg(test)]
mod tests;
