//! Syntax errors, with their places.

use super::parse;

/// The errors of an expression, without the lines that show it.
fn errors(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(_) => Vec::new(),
        Err(issues) => issues
            .to_string()
            .lines()
            .filter(|line| line.starts_with("ERROR"))
            .map(|line| line.trim_start_matches("ERROR: <input>:").to_owned())
            .collect(),
    }
}

const OPERAND: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', \
                       NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

#[test]
fn syntax_errors_say_what_was_expected() {
    let mismatched = |place: &str, input: &str| {
        format!("{place}: Syntax error: mismatched input '{input}' expecting {OPERAND}")
    };
    let cases: [(&str, Vec<String>); 12] = [
        ("self >", vec![mismatched("1:7", "<EOF>")]),
        ("", vec![mismatched("1:0", "<EOF>")]),
        (
            "1 + +",
            vec![mismatched("1:5", "+"), mismatched("1:6", "<EOF>")],
        ),
        (
            "a | b",
            vec![
                "1:3: Syntax error: token recognition error at: '| '".to_owned(),
                "1:5: Syntax error: extraneous input 'b' expecting <EOF>".to_owned(),
            ],
        ),
        (
            "{a}",
            vec!["1:3: Syntax error: mismatched input '}' expecting ':'".to_owned()],
        ),
        (
            "(a",
            vec!["1:3: Syntax error: missing ')' at '<EOF>'".to_owned()],
        ),
        (
            "a.true",
            vec!["1:3: Syntax error: mismatched input 'true' expecting IDENTIFIER".to_owned()],
        ),
        (
            "x. y.",
            vec!["1:6: Syntax error: no viable alternative at input '.'".to_owned()],
        ),
        ("as", vec!["1:1: reserved identifier: as".to_owned()]),
        (
            "[].all(1, x)",
            vec!["1:8: argument must be a simple name".to_owned()],
        ),
        (
            "has(a)",
            vec!["1:5: invalid argument to has() macro".to_owned()],
        ),
        (
            "[1].all(x, x, true)",
            vec!["1:12: duplicate variable name: x".to_owned()],
        ),
    ];
    for (text, want) in cases {
        assert_eq!(errors(text), want, "{text}");
    }
}

#[test]
fn errors_show_the_line_and_the_place() {
    let issues = parse("1 +\n\té $ 2").unwrap_err().to_string();
    assert!(
        issues.contains(
            "ERROR: <input>:2:2: Syntax error: token recognition error at: 'é'\n |  é $ 2\n | .＾"
        ),
        "{issues}"
    );
}

#[test]
fn depth_is_bounded() {
    assert_eq!(
        errors(&"(".repeat(10_000)),
        ["-1:0: expression recursion limit exceeded: 250"]
    );
    assert_eq!(
        errors(&format!("a{}", ".b".repeat(300))),
        ["-1:0: max recursion depth exceeded"]
    );
    assert_eq!(errors(&vec!["a"; 10_000].join("&&")), Vec::<String>::new());
    assert!(errors(&"a".repeat(100_001))[0].contains("expression code point size exceeds limit"));
}
