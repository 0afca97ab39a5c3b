//! Prints a result: one JSON line, or `path = value` lines for people.

use serde_json::Value;

/// Prints `value` to stdout, as one JSON line when `json`.
pub fn print(value: &Value, json: bool) {
    if json {
        println!("{value}");
    } else {
        lines("", value);
    }
}

fn lines(path: &str, value: &Value) {
    match value {
        Value::Object(map) if map.values().any(|v| v.is_object() || v.is_array()) => {
            for (key, inner) in map {
                lines(
                    &format!("{path}{}{key}", if path.is_empty() { "" } else { "." }),
                    inner,
                );
            }
        }
        Value::Object(map) => {
            let row: Vec<String> = map.iter().map(|(k, v)| format!("{k}={v}")).collect();
            println!("{path:<34} {}", row.join(" "));
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (i, inner) in items.iter().enumerate() {
                lines(&format!("{path}[{i}]"), inner);
            }
        }
        other => println!("{path:<34} {other}"),
    }
}
