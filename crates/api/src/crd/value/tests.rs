use super::*;
use serde_json::json;

fn schema() -> Props {
    Props::read(&json!({"type": "object", "required": ["n"], "properties": {
        "n": {"type": "integer", "minimum": 1, "maximum": 10},
        "ex": {"type": "number", "exclusiveMinimum": true, "minimum": 0},
        "mul": {"type": "integer", "multipleOf": 5},
        "s": {"type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[a-z]+$"},
        "e": {"type": "string", "enum": ["A", "B"]},
        "ip": {"type": "string", "format": "ipv4"},
        "arr": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string"}},
        "ios": {"x-kubernetes-int-or-string": true},
        "mp": {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 2},
        "nul": {"type": "string", "nullable": true},
        "i32": {"type": "integer", "format": "int32"},
        "one": {"type": "object", "properties": {"x": {"type": "string"}, "y": {"type": "string"}},
            "oneOf": [{"required": ["x"]}, {"required": ["y"]}]},
        "shut": {"type": "object", "additionalProperties": false},
        "no": {"type": "integer", "not": {"enum": [3]}},
        "any": {"type": "integer", "anyOf": [{"minimum": 5}, {"maximum": 1}]},
    }}))
}

#[test]
fn errors_are_upstreams() {
    let table = [
        (json!({}), vec!["n: Required value"]),
        (
            json!({"n": 0}),
            vec!["n: Invalid value: 0: n in body should be greater than or equal to 1"],
        ),
        (
            json!({"n": 1.5}),
            vec![
                "n: Invalid value: \"number\": n in body must be of type integer: \"number\"",
                "<nil>: Invalid value: \"\": Checked value must be of type integer (default format) in n",
            ],
        ),
        (json!({"n": 2.0}), vec![]),
        (
            json!({"n": 1, "ex": 0}),
            vec!["ex: Invalid value: 0: ex in body should be greater than 0"],
        ),
        (
            json!({"n": 1, "mul": 7}),
            vec!["mul: Invalid value: 7: mul in body should be a multiple of 5"],
        ),
        (
            json!({"n": 1, "s": "a"}),
            vec!["s: Invalid value: \"a\": s in body should be at least 2 chars long"],
        ),
        (
            json!({"n": 1, "s": "abcdef"}),
            vec!["s: Too long: may not be more than 5 bytes"],
        ),
        (
            json!({"n": 1, "s": "AB"}),
            vec!["s: Invalid value: \"AB\": s in body should match '^[a-z]+$'"],
        ),
        (
            json!({"n": 1, "e": "C"}),
            vec!["e: Unsupported value: \"C\": supported values: \"A\", \"B\""],
        ),
        (
            json!({"n": 1, "ip": "x"}),
            vec!["ip: Invalid value: \"x\": ip in body must be of type ipv4: \"x\""],
        ),
        (
            json!({"n": 1, "arr": []}),
            vec!["arr: Invalid value: 0: arr in body should have at least 1 items"],
        ),
        (
            json!({"n": 1, "arr": ["a", "b", "c"]}),
            vec!["arr: Too many: 3: must have at most 2 items"],
        ),
        (
            json!({"n": 1, "arr": ["a", 1]}),
            vec![
                "arr[1]: Invalid value: \"integer\": arr[1] in body must be of type string: \"integer\"",
            ],
        ),
        (
            json!({"n": 1, "ios": true}),
            vec![
                "ios: Invalid value: \"boolean\": ios in body must be of type integer,string: \"boolean\"",
            ],
        ),
        (json!({"n": 1, "ios": "50%"}), vec![]),
        (
            json!({"n": 1, "mp": {"a": "x"}}),
            vec![
                "mp.a: Invalid value: \"string\": mp.a in body must be of type integer: \"string\"",
            ],
        ),
        (json!({"n": 1, "nul": null}), vec![]),
        (
            json!({"n": null}),
            vec!["n: Invalid value: \"null\": n in body must be of type integer: \"null\""],
        ),
        (
            json!({"n": 1, "i32": 3_000_000_000u64}),
            vec![
                "<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in i32",
            ],
        ),
        (
            json!({"n": 1, "one": {}}),
            vec![
                "<nil>: Invalid value: \"\": \"one\" must validate one and only one schema (oneOf). Found none valid",
                "one.x: Required value",
            ],
        ),
        (
            json!({"n": 1, "one": {"x": "a", "y": "b"}}),
            vec![
                "<nil>: Invalid value: \"\": \"one\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
            ],
        ),
        (
            json!({"n": 1, "shut": {"a": 1}}),
            vec!["shut: Invalid value: \"a\": shut.a in body is a forbidden property"],
        ),
        (
            json!({"n": 1, "no": 3}),
            vec!["<nil>: Invalid value: \"\": \"no\" must not validate the schema (not)"],
        ),
        (json!({"n": 1, "any": 1}), vec![]),
        (
            json!({"n": 1, "any": 3}),
            vec![
                "<nil>: Invalid value: \"\": \"any\" must validate at least one schema (anyOf)",
                "any: Invalid value: 3: any in body should be greater than or equal to 5",
            ],
        ),
    ];
    for (value, expected) in table {
        let errors = create(&schema(), None, &value);
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(texts, expected, "{value}");
    }
}

#[test]
fn unchanged_faults_are_forgiven() {
    let schema = schema();
    let errors = |old: Value, new: Value| {
        update(&schema, None, Some(Old::new(&new, &old, &schema)), &new).len()
    };
    assert_eq!(errors(json!({"n": 0}), json!({"n": 0, "s": "abc"})), 0);
    assert_eq!(errors(json!({"n": 0}), json!({"n": -1})), 1);
    assert_eq!(
        errors(
            json!({"n": 1, "mp": {"a": "x"}}),
            json!({"n": 1, "mp": {"a": "x", "b": "y"}})
        ),
        1
    );
    // Items of atomic lists have no old version, but the whole list has.
    assert_eq!(
        errors(json!({"n": 1, "arr": [1]}), json!({"n": 2, "arr": [1]})),
        0
    );
    assert_eq!(
        errors(
            json!({"n": 1, "arr": [1]}),
            json!({"n": 1, "arr": [1, "a"]})
        ),
        1
    );
}

#[test]
fn floats_are_shown_as_in_go() {
    for (float, text) in [
        (0.5, "0.5"),
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (0.00001, "1e-05"),
        (5.0, "5"),
    ] {
        assert_eq!(number::show(float), text);
    }
}
