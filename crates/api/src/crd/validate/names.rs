//! The names of a definition.

use serde_json::Value;

use super::{Errors, joined, list, text};
use crate::field::{Error, Path};
use crate::names::dns1035_label;

/// Names that a definition must have.
pub(super) fn required(errors: &mut Errors, path: &Path<'_>, names: &Value) {
    for member in ["plural", "singular", "kind", "listKind"] {
        if text(names, member).is_empty() {
            errors.push(Error::required(&path.field(member), ""));
        }
    }
}

/// The grammar of names that are there.
pub(super) fn check(errors: &mut Errors, path: &Path<'_>, names: &Value) {
    for member in ["plural", "singular"] {
        let name = text(names, member);
        if !name.is_empty() {
            joined(errors, &path.field(member), name, "", dns1035_label(name));
        }
    }
    for member in ["kind", "listKind"] {
        let name = text(names, member);
        if !name.is_empty() {
            let prefix = "may have mixed case, but should otherwise match: ";
            let wrong = dns1035_label(&name.to_lowercase());
            joined(errors, &path.field(member), name, prefix, wrong);
        }
    }
    let each = |errors: &mut Errors, member: &str| {
        let at = path.field(member);
        for (i, name) in list(names, member).iter().enumerate() {
            let name = name.as_str().unwrap_or_default();
            joined(errors, &at.index(i), name, "", dns1035_label(name));
        }
    };
    each(errors, "shortNames");
    let (kind, list_kind) = (text(names, "kind"), text(names, "listKind"));
    if !kind.is_empty() && kind == list_kind {
        let detail = "kind and listKind may not be the same";
        errors.push(Error::invalid(&path.field("listKind"), list_kind, detail));
    }
    each(errors, "categories");
}
