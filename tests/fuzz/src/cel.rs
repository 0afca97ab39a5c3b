//! Expressions of rules and policies.

use karve_cel::cost::CALL_MAX;
use karve_cel::env::Env;
use karve_cel::eval::Activation;
use karve_cel::program::Program;
use karve_cel::types::Type;
use karve_cel::value::Value;
use serde_json::json;

/// Parsed, checked and evaluated; within its cost, and the same again.
pub fn expression(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let object = json!({"a": [1, 2, 3], "b": {"c": "text", "d": null}, "e": 1.5, "f": true,
        "items": [{"name": "x", "value": "1"}, {"name": "y", "value": "2"}]});
    let env = Env::new(true)
        .variable("object", Type::Dyn)
        .variable("self", Type::Dyn);
    let Ok(program) = Program::compile(&text, &env) else {
        return;
    };
    let activation = Activation::new()
        .with("object", Value::dynamic(&object))
        .with("self", Value::dynamic(&object));
    let run = || {
        let outcome = program.evaluate(&activation, CALL_MAX);
        outcome
            .value
            .map(|value| format!("{value:?}"))
            .map_err(|err| err.to_string())
    };
    assert_eq!(run(), run());
}
