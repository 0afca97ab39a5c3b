//! Nobody gives away what they don't have: checks of new and changed roles and bindings.
//!
//! Upstream does this in its storage, after admission has changed the object and before it is validated.

use karve_api::status::{Details, Status};
use serde_json::Value;

use super::{Rbac, RoleRef, Rule, rule};
use crate::answer::Refusal;
use crate::authorize::{Attributes, Authorizer};
use crate::call::Call;
use crate::identity::MASTERS;
use crate::object::Meta;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Refuses a role or binding that gives more than its writer has. `old` is the stored object of an update.
pub fn check(
    authorizer: &Authorizer,
    call: &Call,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), Refusal> {
    if call.resource.group != GROUP
        || call.identity.in_group(MASTERS)
        || !call.path.subresource.is_empty()
    {
        return Ok(());
    }
    if old.is_some_and(|old| only_collected(object, old)) {
        return Ok(());
    }
    match &*call.resource.plural {
        "roles" | "clusterroles" => role(authorizer, call, object, old),
        "rolebindings" | "clusterrolebindings" => binding(authorizer, call, object),
        _ => Ok(()),
    }
}

/// Whether only owners and finalizers change, as the garbage collector does.
fn only_collected(object: &Value, old: &Value) -> bool {
    let rest = |object: &Value| {
        let mut object = object.clone();
        for member in [
            "ownerReferences",
            "finalizers",
            "managedFields",
            "resourceVersion",
            "generation",
            "uid",
            "creationTimestamp",
        ] {
            object.metadata_mut().remove(member);
        }
        object
    };
    rest(object) == rest(old)
}

fn rules_of(object: &Value) -> Vec<Rule> {
    let rules = object["rules"].as_array().into_iter().flatten();
    rules
        .filter_map(|rule| serde_json::from_value(rule.clone()).ok())
        .collect()
}

fn aggregates(role: &Value) -> bool {
    let selectors = role["aggregationRule"]["clusterRoleSelectors"].as_array();
    selectors.is_some_and(|s| !s.is_empty())
}

fn role(
    authorizer: &Authorizer,
    call: &Call,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), Refusal> {
    let escalate = Attributes {
        version: "*",
        name: call.name(),
        namespace: call.namespace(),
        ..Attributes::resource(&call.identity, "escalate", GROUP, &call.resource.plural)
    };
    if authorizer.decide(&escalate).allowed() {
        return Ok(());
    }
    let rbac = authorizer.rbac();
    covered(&rbac, call, object.meta("name"), &rules_of(object))?;
    if !aggregates(object) && !old.is_some_and(aggregates) {
        return Ok(());
    }
    let everything = rules_of(&serde_json::json!({"rules": [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]}]}));
    // Whoever says what is gathered may gather anything.
    covered(&rbac, call, object.meta("name"), &everything).map_err(|_| {
        forbidden(
            call,
            object.meta("name"),
            "must have cluster-admin privileges to use the aggregationRule",
        )
    })
}

fn binding(authorizer: &Authorizer, call: &Call, object: &Value) -> Result<(), Refusal> {
    let text = |member: &str| object["roleRef"][member].as_str().unwrap_or_default();
    let (kind, name) = (text("kind"), text("name"));
    let plural = match kind {
        "Role" => "roles",
        "ClusterRole" => "clusterroles",
        _ => "",
    };
    let bind = Attributes {
        version: "*",
        name,
        namespace: call.namespace(),
        ..Attributes::resource(&call.identity, "bind", text("apiGroup"), plural)
    };
    if !plural.is_empty() && authorizer.decide(&bind).allowed() {
        return Ok(());
    }
    let rbac = authorizer.rbac();
    let role = RoleRef {
        kind: kind.into(),
        name: name.into(),
    };
    let rules = rbac
        .role(&role, call.namespace())
        .map_err(|why| no_role(&role, why))?;
    covered(&rbac, call, object.meta("name"), rules)
}

fn no_role(role: &RoleRef, why: String) -> Refusal {
    let kind = match &*role.kind {
        "Role" => "role",
        "ClusterRole" => "clusterrole",
        // Upstream's plain error.
        _ => return Status::unclassified(why).into(),
    };
    let mut status = Status::not_found(GROUP, kind, &role.name);
    if let Some(Details { kind: shown, .. }) = &mut status.details {
        *shown = kind.to_owned();
    }
    status.into()
}

fn forbidden(call: &Call, name: &str, why: &str) -> Refusal {
    Status::forbidden(GROUP, &call.resource.plural, name, why).into()
}

/// Refuses rules that the user does not have all of.
fn covered(rbac: &Rbac, call: &Call, name: &str, wanted: &[Rule]) -> Result<(), Refusal> {
    let (owned, errors) = rbac.rules(&call.identity, call.namespace());
    let missing = rule::uncovered(&owned, wanted);
    if missing.is_empty() {
        return Ok(());
    }
    let user = &call.identity;
    let mut why = format!(
        "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        karve_api::field::quote(&user.user),
        rule::quoted(&user.groups),
        missing.join("\n")
    );
    if let Some(errors) = errors {
        why.push_str(&format!("; resolution errors: [{errors}]"));
    }
    Err(forbidden(call, name, &why))
}
