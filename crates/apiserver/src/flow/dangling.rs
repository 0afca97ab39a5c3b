//! The condition of a FlowSchema that says whether its priority level exists. Pure.

use serde_json::{Value, json};

use super::config::level_of;
use crate::write;

const TYPE: &str = "Dangling";

/// The condition of a schema that names `level`.
pub fn condition(level: &str, exists: bool) -> Value {
    let named =
        format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?}");
    let (status, reason, message) = match exists {
        true => ("False", "Found", format!("{named} and it exists")),
        false => (
            "True",
            "NotFound",
            format!("{named} but there is no such object"),
        ),
    };
    json!({
        "type": TYPE,
        "status": status,
        "lastTransitionTime": write::now(),
        "reason": reason,
        "message": message,
    })
}

/// What is applied to the schema so that it has the condition that it should have; `None` when it has it.
pub fn configuration(schema: &Value, exists: bool) -> Option<Value> {
    let wanted = condition(level_of(schema), exists);
    let conditions = schema["status"]["conditions"].as_array();
    let have = conditions.and_then(|all| all.iter().find(|c| c["type"] == TYPE));
    let same = |member: &str| have.is_some_and(|have| have[member] == wanted[member]);
    if same("status") && same("reason") && same("message") {
        return None;
    }
    Some(json!({
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": {"name": schema["metadata"]["name"]},
        "status": {"conditions": [wanted]},
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn condition_is_applied_once() {
        let mut schema =
            json!({"spec": {"priorityLevelConfiguration": {"name": "x"}}, "status": {}});
        let lost = configuration(&schema, false).expect("has none");
        assert_eq!(lost["status"]["conditions"][0]["status"], "True");
        assert_eq!(
            lost["status"]["conditions"][0]["message"],
            "This FlowSchema references the PriorityLevelConfiguration object named \"x\" but there is no such object"
        );
        schema["status"] = lost["status"].clone();
        assert_eq!(configuration(&schema, false), None);
        let found = configuration(&schema, true).expect("changed");
        assert_eq!(found["status"]["conditions"][0]["reason"], "Found");
    }
}
