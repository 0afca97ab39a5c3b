//! Fields that objects can be selected by, and paths of fields in schemas.

use serde_json::Value;

use super::{Errors, text};
use crate::crd::props::Props;
use crate::field::{Error, Path};

const FIELDS_MAX: usize = 8;

pub(super) fn check(
    errors: &mut Errors,
    path: &Path<'_>,
    fields: &[Value],
    schema: &Props,
    unchanged: bool,
) {
    let mut unique: Vec<Vec<String>> = Vec::new();
    for (i, field) in fields.iter().enumerate() {
        let item = path.index(i);
        let at = item.field("jsonPath");
        let json_path = text(field, "jsonPath");
        if json_path.is_empty() {
            errors.push(Error::required(&at, ""));
            continue;
        }
        let (steps, found) = match resolve(json_path, schema, false) {
            Ok(found) => found,
            Err(why) => {
                let detail = format!("is an invalid path: {why}");
                errors.push(Error::invalid(&at, json_path, detail));
                continue;
            }
        };
        if steps.first().is_some_and(|s| s == "metadata") {
            errors.push(Error::invalid(
                &at,
                json_path,
                "must not point to fields in metadata",
            ));
        }
        if !matches!(&*found.ty, "string" | "boolean" | "integer") {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(Error::invalid(&at, json_path, detail));
        }
        match unique.contains(&steps) {
            true => errors.push(Error::duplicate(&at, json_path)),
            false => unique.push(steps),
        }
    }
    if unique.len() > FIELDS_MAX && !unchanged {
        errors.push(Error::too_many(path, unique.len(), FIELDS_MAX));
    }
}

/// The names on a path (`.spec.a['b']`) and the schema at its end.
pub(super) fn resolve<'p>(
    path: &str,
    schema: &'p Props,
    brackets: bool,
) -> Result<(Vec<String>, &'p Props), String> {
    let (mut at, mut steps, mut rest) = (schema, Vec::new(), path);
    while !rest.is_empty() {
        let name;
        if let Some(behind) = rest.strip_prefix('.') {
            if behind.is_empty() {
                return Err("unexpected end of JSON path".to_owned());
            }
            let end = behind.find(['.', '[', ']']).unwrap_or(behind.len()).max(1);
            name = behind[..end].to_owned();
            rest = &behind[end..];
        } else if let Some(behind) = rest.strip_prefix('[') {
            if !brackets {
                return Err("array notation is not allowed".to_owned());
            }
            let Some(quoted) = behind.strip_prefix('\'') else {
                let end = behind.find(['.', '[', ']']).unwrap_or(behind.len());
                return Err(format!(
                    "expected single quoted string but got {}",
                    &behind[..end]
                ));
            };
            let Some(end) = quoted.find('\'') else {
                return Err("unexpected end of JSON path".to_owned());
            };
            name = quoted[..end].to_owned();
            rest = quoted[end + 1..]
                .strip_prefix(']')
                .ok_or_else(|| "unexpected end of JSON path".to_owned())?;
        } else {
            let end = rest.find(['.', '[', ']']).unwrap_or(rest.len());
            return Err(format!("expected [ or . but got: {}", &rest[..end.max(1)]));
        }
        let next = match at.properties.is_empty() {
            false => at.properties.get(&name),
            true => at.additional.as_ref().and_then(|a| a.schema()),
        };
        at = next.ok_or_else(|| "does not refer to a valid field".to_owned())?;
        steps.push(name);
    }
    Ok((steps, at))
}
