//! Texts: what kubectl printed, line by line, and logs.

use serde_json::Value;

use super::Difference;
use crate::recorded::matcher::{self, Bindings};

/// What differs in exit codes and outputs.
pub fn kubectl(recorded: &Value, have: &[Value]) -> Vec<Difference> {
    let want = recorded.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut out = Vec::new();
    for (number, want) in want.iter().enumerate() {
        let id = format!("kubectl:{number}");
        let Some(have) = have.get(number) else {
            out.push(Difference::new(id, "was not run"));
            continue;
        };
        if want.get("code") != have.get("code") {
            let text = format!("want {}, have {}", want["code"], have["code"]);
            out.push(Difference::new(format!("{id}:code"), text));
        }
        for stream in ["stdout", "stderr", "received"] {
            let text = |value: &Value| value[stream].as_str().unwrap_or_default().to_owned();
            out.extend(lines(&format!("{id}:{stream}"), &text(want), &text(have)));
        }
    }
    out
}

/// What differs in logs.
pub fn logs(recorded: &Value, have: &[(String, String)]) -> Vec<Difference> {
    let mut out = Vec::new();
    for (name, want) in recorded.as_object().into_iter().flatten() {
        let id = format!("log:{name}");
        // The last of several counts, as in the recordings.
        match have.iter().rfind(|(other, _)| other == name) {
            Some((_, text)) => out.extend(lines(&id, want.as_str().unwrap_or_default(), text)),
            None => out.push(Difference::new(id, "was not read")),
        }
    }
    out
}

fn lines(id: &str, want: &str, have: &str) -> Vec<Difference> {
    // Blank lines at the end were not recorded.
    let of = |text: &str| text.trim_end().lines().map(squeeze).collect::<Vec<_>>();
    let (want, have) = (of(want), of(have));
    let mut out = Vec::new();
    for number in 0..want.len().max(have.len()) {
        let id = format!("{id}:{number}");
        match (want.get(number), have.get(number)) {
            (Some(want), Some(have)) if matcher::text(want, have, &mut Bindings::default()) => {}
            (Some(want), Some(have)) => {
                out.push(Difference::new(
                    id,
                    format!("want {want:?}\n          have {have:?}"),
                ));
            }
            (Some(want), None) => out.push(Difference::new(id, format!("missing, want {want:?}"))),
            (None, Some(have)) => out.push(Difference::new(id, format!("not wanted: {have:?}"))),
            (None, None) => {}
        }
    }
    out
}

/// Runs of blanks are one, and none ends a line.
fn squeeze(line: &str) -> String {
    let mut squeezed = String::with_capacity(line.len());
    for c in line.trim_end().chars() {
        if c != ' ' || !squeezed.ends_with(' ') {
            squeezed.push(c);
        }
    }
    squeezed
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn outputs() {
        let want = json!([{"code": 0, "stdout": "NAME   AGE\na      <age>\n"}]);
        let ids = |have: Value| -> Vec<String> {
            kubectl(&want, &[have])
                .into_iter()
                .map(|difference| difference.id)
                .collect()
        };
        let none: [&str; 0] = [];
        assert_eq!(
            ids(json!({"code": 0, "stdout": "NAME  AGE\na     3s\n", "stderr": ""})),
            none
        );
        assert_eq!(
            ids(json!({"code": 1, "stdout": "NAME AGE\nb 3s\n"})),
            ["kubectl:0:code", "kubectl:0:stdout:1"]
        );
        assert_eq!(
            ids(json!({"code": 0, "stdout": "NAME AGE\na 3s\nb 3s\n", "stderr": "x"})),
            ["kubectl:0:stdout:2", "kubectl:0:stderr:0"]
        );
    }

    #[test]
    fn last_log_counts() {
        let want = json!({"Pod/a": "one\ntwo\n"});
        let have = |text: &str| ("Pod/a".to_owned(), text.to_owned());
        assert!(logs(&want, &[have("x"), have("one\ntwo\n")]).is_empty());
        assert_eq!(logs(&want, &[have("one\n")])[0].id, "log:Pod/a:1");
        assert_eq!(logs(&want, &[])[0].id, "log:Pod/a");
    }
}
