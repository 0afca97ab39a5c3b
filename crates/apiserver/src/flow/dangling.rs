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

/// The schema with the condition that it should have; `None` when it has it.
pub fn corrected(schema: &Value, exists: bool) -> Option<Value> {
    let level = level_of(schema);
    let wanted = condition(level, exists);
    let conditions = schema["status"]["conditions"].as_array();
    let present = conditions.and_then(|all| all.iter().position(|c| c["type"] == TYPE));
    let have = conditions.zip(present).map(|(all, at)| &all[at]);
    let same = |member: &str| have.is_some_and(|have| have[member] == wanted[member]);
    if same("status") && same("reason") && same("message") {
        return None;
    }
    let mut schema = schema.clone();
    if !schema["status"]["conditions"].is_array() {
        schema["status"] = json!({"conditions": []});
    }
    let conditions = schema["status"]["conditions"].as_array_mut()?;
    match present {
        Some(at) => conditions[at] = wanted,
        None => conditions.push(wanted),
    }
    Some(schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn condition_is_written_once() {
        let schema = json!({"spec": {"priorityLevelConfiguration": {"name": "x"}}, "status": {}});
        let lost = corrected(&schema, false).expect("has none");
        assert_eq!(lost["status"]["conditions"][0]["status"], "True");
        assert_eq!(
            lost["status"]["conditions"][0]["message"],
            "This FlowSchema references the PriorityLevelConfiguration object named \"x\" but there is no such object"
        );
        assert_eq!(corrected(&lost, false), None);
        let found = corrected(&lost, true).expect("changed");
        assert_eq!(
            found["status"]["conditions"].as_array().map(Vec::len),
            Some(1)
        );
        assert_eq!(found["status"]["conditions"][0]["reason"], "Found");
    }
}
