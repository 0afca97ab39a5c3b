//! 401 and 403: by authentication, authorization and admission.

use super::{Status, qualified};
use crate::field;
use std::fmt::Write as _;

/// What [`Status::forbidden_resource`] says about a request.
#[derive(Debug, Clone, Copy)]
pub struct Denied<'a> {
    /// Name of the user.
    pub user: &'a str,
    /// The verb of the request.
    pub verb: &'a str,
    /// Group of the resource.
    pub group: &'a str,
    /// Plural of the resource.
    pub resource: &'a str,
    /// Empty when the request is for the object itself.
    pub subresource: &'a str,
    /// Empty at the cluster scope.
    pub namespace: &'a str,
    /// Empty for collections.
    pub name: &'a str,
    /// What the authorizer adds; mostly empty.
    pub reason: &'a str,
}

impl Status {
    /// 403 by admission: `pods "x" is forbidden: WHY`.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Status {
        let mut message = qualified(group, resource);
        if !name.is_empty() {
            let _ = write!(message, " {}", field::quote(name));
        }
        let _ = write!(message, " is forbidden: {why}");
        Status::failure(403, "Forbidden", message).about(group, resource, name)
    }

    /// 403 by authorization, for a resource.
    pub fn forbidden_resource(denied: Denied<'_>) -> Status {
        let slash = if denied.subresource.is_empty() {
            ""
        } else {
            "/"
        };
        let mut why = format!(
            "User {} cannot {} resource \"{}{slash}{}\" in API group \"{}\"",
            field::quote(denied.user),
            denied.verb,
            denied.resource,
            denied.subresource,
            denied.group
        );
        match denied.namespace {
            "" => why.push_str(" at the cluster scope"),
            namespace => {
                let _ = write!(why, " in the namespace \"{namespace}\"");
            }
        }
        if !denied.reason.is_empty() {
            let _ = write!(why, ": {}", denied.reason);
        }
        Status::forbidden(denied.group, denied.resource, denied.name, &why)
    }

    /// 403 by authorization, for a path that is no resource.
    pub fn forbidden_path(user: &str, verb: &str, path: &str, reason: &str) -> Status {
        let mut message = format!(
            "forbidden: User {} cannot {verb} path {}",
            field::quote(user),
            field::quote(path)
        );
        if !reason.is_empty() {
            let _ = write!(message, ": {reason}");
        }
        Status::failure(403, "Forbidden", message).about("", "", "")
    }

    /// 401.
    pub fn unauthorized() -> Status {
        Status::failure(401, "Unauthorized", "Unauthorized")
    }
}
