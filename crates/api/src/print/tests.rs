//! Rows of Tables that kube-apiserver v1.37.2 answered, with the objects that they show.

use super::*;
use crate::resource::Table;

/// An age is any duration: those of the recording are lost.
fn is_age(text: &str) -> bool {
    text == "<invalid>"
        || text
            .strip_suffix(['s', 'm', 'h', 'd', 'y'])
            .is_some_and(|t| t.starts_with(|c: char| c.is_ascii_digit()))
}

fn normalise(cell: &Value) -> Value {
    let Some(text) = cell.as_str() else {
        return cell.clone();
    };
    if is_age(text) {
        return "<age>".into();
    }
    match text
        .split_once(" (")
        .and_then(|(head, tail)| Some((head, tail.strip_suffix(" ago)")?)))
    {
        Some((head, age)) if is_age(age) => format!("{head} (<age> ago)").into(),
        _ => cell.clone(),
    }
}

fn with_times(value: &mut Value) {
    match value {
        Value::Object(members) => members.values_mut().for_each(with_times),
        Value::Array(items) => items.iter_mut().for_each(with_times),
        Value::String(text) if text == "<time>" => *text = "2026-11-24T20:00:00Z".to_owned(),
        Value::String(text) if text == "<microtime>" => {
            *text = "2026-11-24T20:00:00.000001Z".to_owned()
        }
        _ => {}
    }
}

#[test]
fn rows_read_as_recorded() {
    let now = "2026-11-24T20:00:05Z".parse().expect("a time");
    let mut failures = Vec::new();
    let mut count = 0;
    for line in include_str!("../../testdata/tables.jsonl").lines() {
        let mut case: Value = serde_json::from_str(line).expect("a line of JSON");
        let key = case["resource"].as_str().expect("a name").to_owned();
        let mut parts = key.split('/');
        let mut next = || parts.next().expect("three parts");
        let (group, version, plural) = (next(), next(), next());
        let group = if group == "core" { "" } else { group };
        let resource = Table::builtin()
            .lookup(group, version, plural)
            .expect("built in");
        with_times(&mut case);
        // Some objects are known as they were sent.
        crate::defaults::apply(resource, &mut case["object"]);
        let got: Vec<Value> = row(resource, &case["object"], now)
            .iter()
            .map(normalise)
            .collect();
        let wanted: Vec<Value> = case["cells"]
            .as_array()
            .expect("cells")
            .iter()
            .map(normalise)
            .collect();
        count += 1;
        if got != wanted {
            failures.push(format!(
                "{key}\n   got    {}\n   wanted {}",
                json!(got),
                json!(wanted)
            ));
        }
    }
    assert!(count > 140, "{count} rows");
    assert!(
        failures.is_empty(),
        "{} of {count}\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn columns_come_from_the_table() {
    let pods = Table::builtin().lookup("", "v1", "pods").expect("built in");
    let names: Vec<&str> = columns(pods).iter().map(|c| &*c.name).collect();
    assert_eq!(names[..5], ["Name", "Ready", "Status", "Restarts", "Age"]);
    let json = serde_json::to_value(&columns(pods)[0]).expect("serializes");
    assert_eq!(json["type"], "string");
    assert_eq!(json["format"], "name");
    assert!(
        columns(pods)
            .iter()
            .all(|c| !c.description.starts_with('$'))
    );
}

#[test]
fn ended_pods_have_a_condition() {
    let pods = Table::builtin().lookup("", "v1", "pods").expect("built in");
    assert_eq!(
        row_conditions(pods, &json!({"status": {"phase": "Running"}})),
        None
    );
    let failed =
        row_conditions(pods, &json!({"status": {"phase": "Failed"}})).expect("a condition");
    assert_eq!(failed[0]["message"], "The pod failed.");
}
