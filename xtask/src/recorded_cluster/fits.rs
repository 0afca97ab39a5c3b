//! Whether an object is as a scenario waits for it.

use serde_json::Value;

/// The value at a path of an object. Items of lists are found by their type, name or number.
pub fn at<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    let mut value = object;
    for name in path.split('/').skip(1) {
        let name = name.replace("~1", "/").replace("~0", "~");
        value = match value {
            Value::Object(members) => members.get(&name)?,
            Value::Array(items) => {
                let named = |item: &&Value| item["type"] == *name || item["name"] == *name;
                let number = || items.get(name.parse::<usize>().ok()?);
                items.iter().find(named).or_else(number)?
            }
            _ => return None,
        };
    }
    Some(value).filter(|value| !value.is_null())
}

/// Whether an object passes all tests.
pub fn fits(object: &Value, tests: &Value) -> bool {
    let mut tests = tests.as_array().into_iter().flatten();
    tests.all(|test| passes(object, test))
}

fn passes(object: &Value, test: &Value) -> bool {
    let path = |name: &str| test[name].as_str().unwrap_or_default();
    let have = at(object, path("path"));
    let value = have.unwrap_or(&Value::Null);
    let test = |name: &str| test.get(name);
    let number = |value: &Value| value.as_f64();
    test("is").is_none_or(|want| {
        value == want || number(value).is_some() && number(value) == number(want)
    }) && test("not").is_none_or(|other| value != other)
        && test("in").is_none_or(|list| list.as_array().is_some_and(|list| list.contains(value)))
        && test("at_least")
            .is_none_or(|least| number(value) >= number(least) && number(value).is_some())
        && test("same_as").is_none_or(|_| have.is_some() && have == at(object, path("same_as")))
        && test("exists").is_none_or(|exists| *exists == have.is_some())
        && test("contains").is_none_or(|part| contains(value, part))
}

fn contains(value: &Value, part: &Value) -> bool {
    match (value, part) {
        (Value::String(text), Value::String(part)) => text.contains(part.as_str()),
        (Value::Array(items), part) => items.contains(part),
        (Value::Object(members), Value::String(name)) => members.contains_key(name),
        _ => false,
    }
}

/// Whether a name is one, or has the shape of a pattern (`web-*`).
pub fn named(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => {
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        }
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tests_of_an_object() {
        let object = json!({
            "metadata": {"generation": 2},
            "status": {"observedGeneration": 2, "phase": "Running", "ready": 3, "message": "a b",
                "conditions": [{"type": "Ready", "status": "True"}]},
            "endpoints": null,
        });
        let cases = [
            (
                json!({"path": "/status/conditions/Ready/status", "is": "True"}),
                true,
            ),
            (
                json!({"path": "/status/conditions/0/status", "is": "True"}),
                true,
            ),
            (
                json!({"path": "/status/conditions/1/status", "exists": false}),
                true,
            ),
            (json!({"path": "/endpoints", "exists": true}), false),
            (json!({"path": "/status/phase", "not": "Running"}), false),
            (
                json!({"path": "/status/phase", "in": ["Pending", "Running"]}),
                true,
            ),
            (json!({"path": "/status/ready", "at_least": 3}), true),
            (json!({"path": "/status/none", "at_least": 0}), false),
            (
                json!({"path": "/status/observedGeneration", "same_as": "/metadata/generation"}),
                true,
            ),
            (
                json!({"path": "/status/none", "same_as": "/metadata/none"}),
                false,
            ),
            (json!({"path": "/status/message", "contains": "a "}), true),
        ];
        for (test, expected) in cases {
            assert_eq!(fits(&object, &json!([test])), expected, "{test}");
        }
        assert!(fits(&object, &json!([])));
    }

    #[test]
    fn patterns() {
        assert!(named("web-*", "web-a-b"));
        assert!(!named("web-*", "wob"));
        assert!(named("a", "a") && !named("a", "ab"));
    }
}
