//! Defaults of a schema must themselves be right by it.

use serde_json::{Value, json};

use super::Errors;
use crate::crd::metadata;
use crate::crd::props::Props;
use crate::crd::value;
use crate::field::{Error, Path};

/// What is wrong with the defaults of the schema of a whole resource.
pub(super) fn check(errors: &mut Errors, path: &Path<'_>, schema: &Props) {
    walk(errors, path, &schema.as_resource(), &mut Vec::new(), false);
}

#[derive(Clone)]
enum Step {
    Member(String),
    Item,
}

/// `place` leads from the innermost resource to the schema; `in_meta` is whether it is a part of that one's metadata.
fn walk(
    errors: &mut Errors,
    path: &Path<'_>,
    schema: &Props,
    place: &mut Vec<Step>,
    in_meta: bool,
) {
    let mut own = Vec::new();
    let (place, in_meta) = match schema.embedded {
        true => (&mut own, false),
        false => (place, in_meta),
    };
    if let Some(default) = &schema.default {
        match in_meta {
            true => of_metadata(errors, &path.field("default"), default, place, schema),
            false => of_value(errors, &path.field("default"), default, schema),
        }
    }
    if let Some(items) = &schema.items {
        place.push(Step::Item);
        walk(errors, &path.field("items"), items, place, in_meta);
        place.pop();
    }
    let properties = path.field("properties");
    for (name, property) in &schema.properties {
        let meta = schema.embedded && matches!(&**name, "metadata" | "apiVersion" | "kind");
        place.push(Step::Member(name.clone()));
        walk(
            errors,
            &properties.key(name),
            property,
            place,
            in_meta || meta,
        );
        place.pop();
    }
}

fn of_value(errors: &mut Errors, path: &Path<'_>, default: &Value, schema: &Props) {
    if !metadata::is_pruned(default, schema) {
        errors.push(Error::invalid(
            path,
            default,
            "must not have unknown fields",
        ));
    }
    let mut coerced = default.clone();
    if let Err(error) = metadata::coerce(&mut coerced, schema, path, &mut Vec::new()) {
        errors.push(error);
        return;
    }
    let before = errors.len();
    metadata::validate(errors, Some(path), &coerced, schema);
    if errors.len() == before {
        errors.extend(value::create(schema, Some(path), default));
    }
}

/// A default of a name or another part of metadata is judged inside of an object that has nothing else.
fn of_metadata(
    errors: &mut Errors,
    path: &Path<'_>,
    default: &Value,
    place: &[Step],
    schema: &Props,
) {
    let mut object = place
        .iter()
        .rev()
        .fold(default.clone(), |inner, step| match step {
            Step::Member(name) => json!({name.as_str(): inner}),
            Step::Item => json!([inner]),
        });
    for (name, value) in [("kind", "Validation"), ("apiVersion", "validation/v1")] {
        if object[name].is_null() {
            object[name] = value.into();
        }
    }
    let resource = Props {
        embedded: true,
        ..Props::default()
    };
    let wrong = |why: String| format!("must result in valid metadata: {why}");
    if let Err(error) = metadata::coerce_root(&mut object, &resource, &mut Vec::new()) {
        errors.push(Error::invalid(path, default, wrong(error.to_string())));
        return;
    }
    let mut found = Vec::new();
    metadata::validate(&mut found, None, &object, &resource);
    let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
    match &texts[..] {
        [] => errors.extend(value::create(schema, Some(path), default)),
        [one] => errors.push(Error::invalid(path, default, wrong(one.clone()))),
        many => {
            let all = format!("[{}]", many.join(", "));
            errors.push(Error::invalid(path, default, wrong(all)));
        }
    }
}
