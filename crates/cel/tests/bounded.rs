//! Whatever the expression, it is parsed, checked and run within bounds of time and memory, and nothing panics.

use std::time::{Duration, Instant};

use karve_cel::cost::CALL_MAX;
use karve_cel::env::Env;
use karve_cel::eval::Activation;
use karve_cel::program::Program;
use karve_cel::types::Type;
use karve_cel::value::{EvalError, Value};
use proptest::prelude::*;
use serde_json::json;

/// Generous, since tests are built without optimization.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs an expression to its end, whatever comes of it.
fn run(text: &str) -> Result<String, String> {
    let object = json!({"a": [1, 2, 3], "b": {"c": "text", "d": null}, "e": 1.5, "f": true});
    let env = Env::new(true).variable("object", Type::Dyn);
    let program = Program::compile(text, &env).map_err(|err| err.to_string())?;
    let activation = Activation::new().with("object", Value::dynamic(&object));
    let outcome = program.evaluate(&activation, CALL_MAX);
    match outcome.value {
        Ok(value) => Ok(format!("{value:?}")),
        Err(err) => Err(err.to_string()),
    }
}

#[test]
fn bombs_do_not_go_off() {
    let ten = "[0,1,2,3,4,5,6,7,8,9]";
    let loops = (0..9).fold("true".to_owned(), |inner, n| {
        format!("{ten}.all(x{n}, {inner})")
    });
    let doubled = |start: &str, times: usize| {
        (0..times).fold(start.to_owned(), |inner, _| {
            format!("[{inner}].map(x, x + x)[0]")
        })
    };
    let rows = [
        loops,
        doubled("'0123456789'", 20),
        doubled("[1, 2, 3]", 20),
        format!("{}1{}", "(".repeat(5000), ")".repeat(5000)),
        format!("{}1{}", "[".repeat(5000), "]".repeat(5000)),
        format!("{}true", "!".repeat(90_000)),
        format!("1{}", " + 1".repeat(24_000)),
        format!("object{}", ".a".repeat(45_000)),
        format!("1{}", " == 1".repeat(19_000)),
        format!("true{}", " && true".repeat(12_000)),
        format!("true{}", " ? true : true".repeat(7_000)),
        format!("[{}1]", "1,".repeat(45_000)),
        format!("{}x", "a.b(".repeat(20_000)),
        "'a'.matches('(((a*)*)*)*b')".to_owned(),
        "'aaaaaaaaaaaaaaaaaaaaaaaaaaaa!'.matches('^(a+)+$')".to_owned(),
    ];
    for row in rows {
        let start = Instant::now();
        drop(run(&row));
        let took = start.elapsed();
        let shown = &row[..row.len().min(60)];
        assert!(took < PATIENCE, "{shown} took {took:?}");
    }
    let spread = format!("{}.size() > 0", doubled("'0123456789'", 24));
    assert_eq!(run(&spread), Err(EvalError::CostLimit.to_string()));
}

#[test]
fn expressions_mean_what_the_language_says() {
    for text in [
        "1 + 2 * 3 == 7",
        "object.a.exists_one(x, x > 2)",
        "object.a.map(x, x > 1, x * 2) == [4, 6]",
        "has(object.b.c) && !has(object.b.z)",
        "object.?b.?z.orValue('none') == 'none'",
        "'a-b-c'.split('-').join('+') == 'a+b+c'",
        "quantity('1Ki').isGreaterThan(quantity('1k'))",
        "ip('10.0.0.1').family() == 4",
        "cidr('10.0.0.0/8').containsIP('10.1.2.3')",
        "url('https://a:1/b').getPort() == '1'",
        "semver('1.2.3').isLessThan(semver('1.10.0'))",
        "'abc123'.find('[0-9]+') == '123'",
        "[3, 1, 2].max() == 3 && [1, 2].sum() == 3",
        "sets.contains([1, 2, 3], [2])",
        "dyn(1) == 1.0 && dyn(1u) == 1",
        "timestamp('2024-01-01T00:00:00Z').getFullYear() == 2024",
        "object.a.all(i, v, v == i + 1)",
    ] {
        assert_eq!(run(text).as_deref(), Ok("true"), "{text}");
    }
    for (text, why) in [
        ("object.z", "no such key: z"),
        ("object.a[7]", "index out of bounds: 7"),
        ("dyn(1) / 0 == 1", "division by zero"),
        ("object.a + object.e", "no such overload"),
        ("dyn(9223372036854775807) + 1 == 0", "integer overflow"),
    ] {
        assert_eq!(run(text), Err(why.to_owned()), "{text}");
    }
}

/// Expressions that are mostly right.
fn expression() -> impl Strategy<Value = String> {
    let leaves = "1 -2 3u 1.5 'text' b'x' true null object object.a object.b.c object.e object.z [] {} x duration('1s') quantity('1')";
    let words = |text: &'static str| prop::sample::select(text.split(' ').collect::<Vec<_>>());
    words(leaves).prop_map(str::to_owned).prop_recursive(5, 40, 3, move |inner| {
        let binary = words("+ - * / % == != < >= && || in");
        let call = words("size() orValue(1) split(',') sum() max() sort() lowerAscii() isSorted() distinct() reverse()");
        let makes = words("all exists exists_one map filter");
        let global = words("size int string double type dyn has quantity timestamp");
        let one = || inner.clone();
        prop_oneof![
            (one(), binary, one()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            (one(), call).prop_map(|(a, call)| format!("{a}.{call}")),
            (one(), makes, one()).prop_map(|(a, name, b)| format!("{a}.{name}(x, {b})")),
            (global, one()).prop_map(|(name, a)| format!("{name}({a})")),
            (one(), one()).prop_map(|(a, b)| format!("{a}[{b}]")),
            (one(), one()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            (one(), one()).prop_map(|(a, b)| format!("{{{a}: {b}}}")),
            (one(), one(), one()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn expressions_end_and_say_the_same_again(text in expression()) {
        let start = Instant::now();
        let outcome = run(&text);
        prop_assert!(start.elapsed() < PATIENCE);
        prop_assert_eq!(run(&text), outcome);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "[a-z0-9 .,:?!'\"(){}+*/%<>=&|\\[\\]-]{0,60}") {
        drop(run(&text));
    }

    #[test]
    fn any_characters_are_parsed_or_refused(text in any::<String>()) {
        drop(run(&text));
    }
}
