//! 409: a name is taken, or somebody else was faster.

use super::{Cause, Status, qualified};
use crate::field;

impl Status {
    /// 409: the name is taken.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Status {
        let message = format!(
            "{} {} already exists",
            qualified(group, resource),
            field::quote(name)
        );
        Status::failure(409, "AlreadyExists", message).about(group, resource, name)
    }

    /// 409: the name is taken by an object that is being deleted.
    pub fn already_exists_deleting(group: &str, resource: &str, name: &str) -> Status {
        let mut status = Status::already_exists(group, resource, name);
        status.message.insert_str(0, "object is being deleted: ");
        status
    }

    /// 409 for any other reason.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Status {
        let message = format!(
            "Operation cannot be fulfilled on {} {}: {why}",
            qualified(group, resource),
            field::quote(name)
        );
        Status::failure(409, "Conflict", message).about(group, resource, name)
    }

    /// 409: the resourceVersion in the request is not the stored one.
    pub fn modified(group: &str, resource: &str, name: &str) -> Status {
        Status::conflict(
            group,
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409: the UID of a precondition is not the stored one. Upstream has the *kind* here where others have the resource.
    pub fn uid_precondition(kind: &str, name: &str, wanted: &str, stored: &str) -> Status {
        let why = format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({stored}). \
             The object might have been deleted and then recreated"
        );
        Status::conflict("", kind, name, &why)
    }

    /// 409: the resourceVersion of a precondition is not the stored one.
    pub fn version_precondition(kind: &str, name: &str, wanted: &str, stored: &str) -> Status {
        let why = format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({stored}). \
             The object might have been modified"
        );
        Status::conflict("", kind, name, &why)
    }

    /// 409: server-side apply met fields of other managers. Each conflict is the manager's text
    /// (`"m1" using v1`) and the field's path, in upstream's order.
    pub fn apply_conflict<'a>(
        conflicts: impl IntoIterator<Item = (&'a str, &'a str)> + Clone,
    ) -> Status {
        let mut managers: Vec<(&str, Vec<&str>)> = Vec::new();
        for (manager, path) in conflicts.clone() {
            match managers.iter_mut().find(|(m, _)| *m == manager) {
                Some((_, paths)) => paths.push(path),
                None => managers.push((manager, vec![path])),
            }
        }
        let message = match &managers[..] {
            [(manager, paths)] if paths.len() == 1 => {
                let path = paths[0];
                format!("Apply failed with 1 conflict: conflict with {manager}: {path}")
            }
            // Each manager has its lines, also for a single field.
            managers => {
                let total: usize = managers.iter().map(|(_, paths)| paths.len()).sum();
                let mut lines = Vec::new();
                for (manager, paths) in managers {
                    lines.push(format!("conflicts with {manager}:"));
                    lines.extend(paths.iter().map(|path| format!("- {path}")));
                }
                format!("Apply failed with {total} conflicts: {}", lines.join("\n"))
            }
        };
        let mut status = Status::failure(409, "Conflict", message).about("", "", "");
        if let Some(details) = &mut status.details {
            details.causes = conflicts
                .into_iter()
                .map(|(manager, path)| Cause {
                    reason: "FieldManagerConflict".into(),
                    message: format!("conflict with {manager}"),
                    field: path.to_owned(),
                })
                .collect();
        }
        status
    }
}
