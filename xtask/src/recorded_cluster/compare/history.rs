//! Histories: of the values that both clusters showed at a place, the order of first appearance is the same.
//!
//! Where a value comes back (False, True, False), a cluster that skipped its first appearance shows another order of
//! first appearances without having reversed anything: then one sequence has to be a part of the other.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Difference;

/// What differs between the states of an object; `key` is its recorded name.
pub fn compare(key: &str, want: &[Value], have: &[Value]) -> Vec<Difference> {
    let (want, have) = (leaves(want), leaves(have));
    let mut out = Vec::new();
    for (path, values) in &want {
        let Some(others) = have.get(path) else {
            continue;
        };
        let both = |list: &[&Value], other: &[&Value]| -> Vec<String> {
            list.iter()
                .filter(|value| other.contains(value))
                .map(|value| value.to_string())
                .collect()
        };
        let (want, have) = (
            both(&values.first, &others.first),
            both(&others.first, &values.first),
        );
        let (long, short) = (
            both(&values.all, &others.first),
            both(&others.all, &values.first),
        );
        if want != have && !is_part(&long, &short) && !is_part(&short, &long) {
            let text = format!("want {}, have {}", want.join(" → "), have.join(" → "));
            out.push(Difference::new(format!("history:{key}:{path}"), text));
        }
    }
    out
}

/// Whether a sequence is the other with nothing but some of its members left out; repetitions are one.
fn is_part(part: &[String], whole: &[String]) -> bool {
    let mut part = part.to_vec();
    part.dedup();
    let mut whole = whole.iter();
    part.iter().all(|value| whole.any(|other| other == value))
}

/// The values at a place.
#[derive(Default)]
struct Values<'v> {
    /// Each once, in order of first appearance.
    first: Vec<&'v Value>,
    /// Each time that it changed.
    all: Vec<&'v Value>,
}

/// The values at each place.
fn leaves(states: &[Value]) -> BTreeMap<String, Values<'_>> {
    let mut found = BTreeMap::new();
    for state in states {
        walk(state, String::new(), &mut found);
    }
    found
}

fn walk<'v>(value: &'v Value, path: String, found: &mut BTreeMap<String, Values<'v>>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                walk(value, format!("{path}/{name}"), found);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (number, item) in items.iter().enumerate() {
                walk(item, format!("{path}/{number}"), found);
            }
        }
        Value::Null => {}
        leaf => {
            let values = found.entry(path).or_default();
            if !values.first.contains(&leaf) {
                values.first.push(leaf);
            }
            if values.all.last() != Some(&leaf) {
                values.all.push(leaf);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_that_comes_back_may_be_skipped_at_first() {
        let states =
            |list: &[bool]| -> Vec<Value> { list.iter().map(|on| json!({"on": on})).collect() };
        let cases: [(&[bool], &[bool], usize); 4] = [
            (&[true, false], &[false, true, false], 0),
            (&[false, true, false], &[true, false], 0),
            (&[true, false], &[false, true], 1),
            (&[true, false, true], &[false, true], 0),
        ];
        for (want, have, differences) in cases {
            let found = compare("Pod/a", &states(want), &states(have));
            assert_eq!(found.len(), differences, "{want:?} {have:?}");
        }
    }

    #[test]
    fn states_may_be_skipped_and_not_reversed() {
        let phases = |phases: &[&str]| -> Vec<Value> {
            phases
                .iter()
                .map(|phase| json!({"status": {"phase": phase}}))
                .collect()
        };
        let want = phases(&["Pending", "Running", "Succeeded"]);
        let cases: [(&[&str], usize); 5] = [
            (&["Pending", "Running", "Succeeded"], 0),
            (&["Pending", "Succeeded"], 0),
            (&["Pending", "Odd", "Running"], 0),
            (&["Running", "Pending"], 1),
            (&["Pending", "Running", "Pending", "Succeeded"], 0),
        ];
        for (have, differences) in cases {
            assert_eq!(
                compare("Pod/a", &want, &phases(have)).len(),
                differences,
                "{have:?}"
            );
        }
        assert_eq!(compare("Pod/a", &want, &[json!({"other": 1})]).len(), 0);
    }
}
