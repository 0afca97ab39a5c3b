//! Histories: of the values that both clusters showed at a place, the order of first appearance is the same.

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
        let (want, have) = (both(values, others), both(others, values));
        if want != have {
            let text = format!("want {}, have {}", want.join(" → "), have.join(" → "));
            out.push(Difference::new(format!("history:{key}:{path}"), text));
        }
    }
    out
}

/// The different values at each place, in order of first appearance.
fn leaves(states: &[Value]) -> BTreeMap<String, Vec<&Value>> {
    let mut found = BTreeMap::new();
    for state in states {
        walk(state, String::new(), &mut found);
    }
    found
}

fn walk<'v>(value: &'v Value, path: String, found: &mut BTreeMap<String, Vec<&'v Value>>) {
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
            if !values.contains(&leaf) {
                values.push(leaf);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
