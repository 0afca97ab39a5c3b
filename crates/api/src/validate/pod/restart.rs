//! When a container starts again (KEP-5307, KEP-5532).

use super::super::checks::{Errors, list, some, text};
use crate::field::{Error, Path};
use serde_json::Value;

const POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];
const ACTIONS: [&str; 2] = ["Restart", "RestartAllContainers"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const RULES_MAX: usize = 20;
const VALUES_MAX: usize = 255;

/// `restartPolicy` and `restartPolicyRules` of a container.
pub(super) fn policy(errors: &mut Errors, path: &Path<'_>, container: &Value) {
    let rules = list(container, "restartPolicyRules");
    let at = path.field("restartPolicy");
    match some(container, "restartPolicy").and_then(Value::as_str) {
        None if rules.is_empty() => return,
        None => {
            let detail = "must specify restartPolicy when restart rules are used";
            errors.push(Error::required(&at, detail));
        }
        Some(policy) if !POLICIES.contains(&policy) => {
            errors.push(Error::not_supported(&at, policy, &POLICIES));
        }
        Some(_) => {}
    }
    let rules_path = path.field("restartPolicyRules");
    if rules.len() > RULES_MAX {
        errors.push(Error::too_many(&rules_path, rules.len(), RULES_MAX));
    }
    for (i, rule) in rules.iter().enumerate() {
        let at = rules_path.index(i);
        let action = text(rule, "action");
        if !ACTIONS.contains(&action) {
            errors.push(Error::not_supported(&at.field("action"), action, &ACTIONS));
        }
        let codes_path = at.field("exitCodes");
        let Some(codes) = some(rule, "exitCodes") else {
            errors.push(Error::required(&codes_path, "must be specified"));
            continue;
        };
        let operator = text(codes, "operator");
        if !OPERATORS.contains(&operator) {
            let at = codes_path.field("operator");
            errors.push(Error::not_supported(&at, operator, &OPERATORS));
        }
        let values = list(codes, "values");
        if values.len() > VALUES_MAX {
            errors.push(Error::too_many(
                &codes_path.field("values"),
                values.len(),
                VALUES_MAX,
            ));
        }
    }
}
