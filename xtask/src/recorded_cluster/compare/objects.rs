//! Objects: each as the recorded one in the end, and its states in the same order. Those with generated names are
//! paired so that the fewest differences remain.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Difference, Observed, documents, history, strict};
use crate::recorded_cluster::merge;

/// An object of the tested cluster, normalised.
#[derive(Debug, Clone)]
pub struct Shown {
    /// `Pod/web-<hash:1>-<rand>`
    pub base: String,
    /// What it was in the end, if it was there.
    pub end: Option<Value>,
    /// Its views.
    pub states: Vec<Value>,
}

/// A recorded object.
struct Recorded {
    /// `Pod/web-<hash:1>-<rand>#2`
    key: String,
    end: Option<Value>,
    states: Vec<Value>,
}

/// What differs.
pub fn compare(recorded: &Value, loose: &[&str], observed: &Observed) -> Vec<Difference> {
    let mut have: BTreeMap<&str, Vec<&Shown>> = BTreeMap::new();
    for shown in &observed.objects {
        have.entry(&shown.base).or_default().push(shown);
    }
    let mut out = Vec::new();
    let mut wanted = by_base(recorded);
    for (base, want) in &wanted {
        let have = have.get(&**base).map(Vec::as_slice).unwrap_or_default();
        let generated = base.contains("<rand>") || base.contains("<minute>");
        match generated {
            true => out.extend(paired(base, want, have, loose)),
            false => {
                for number in 0..want.len().max(have.len()) {
                    out.extend(one(
                        base,
                        want.get(number),
                        have.get(number).copied(),
                        loose,
                    ));
                }
            }
        }
    }
    let optional = |base: &str| observed.optional.iter().any(|name| name == base);
    for (base, have) in have.into_iter().filter(|(base, _)| !optional(base)) {
        if wanted.remove(base).is_some() {
            continue;
        }
        for shown in have.into_iter().filter(|shown| shown.end.is_some()) {
            let text = format!("not wanted: {}", shown.end.as_ref().unwrap_or(&Value::Null));
            out.push(Difference::new(format!("final:{base}"), text));
        }
    }
    out
}

fn by_base(recorded: &Value) -> BTreeMap<String, Vec<Recorded>> {
    let members = |name: &str| recorded[name].as_object().into_iter().flatten();
    let mut keys: Vec<&String> = members("histories").map(|(key, _)| key).collect();
    keys.extend(
        members("final")
            .map(|(key, _)| key)
            .filter(|key| recorded["histories"].get(key.as_str()).is_none()),
    );
    let mut by_base: BTreeMap<String, Vec<(u32, Recorded)>> = BTreeMap::new();
    for key in keys {
        let (base, number) = key.rsplit_once('#').unwrap_or((key, "1"));
        let history = recorded["histories"][key]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let object = Recorded {
            key: key.clone(),
            end: recorded["final"].get(key).cloned(),
            states: merge::states(history),
        };
        by_base
            .entry(base.to_owned())
            .or_default()
            .push((number.parse().unwrap_or(0), object));
    }
    let in_order = |(base, mut list): (String, Vec<(u32, Recorded)>)| {
        list.sort_by_key(|(number, _)| *number);
        (base, list.into_iter().map(|(_, object)| object).collect())
    };
    by_base.into_iter().map(in_order).collect()
}

/// The differences of one object.
fn one(
    base: &str,
    want: Option<&Recorded>,
    have: Option<&Shown>,
    loose: &[&str],
) -> Vec<Difference> {
    let key = want.map_or(base, |want| &want.key);
    let id = format!("final:{key}");
    let ends = (
        want.and_then(|want| want.end.as_ref()),
        have.and_then(|have| have.end.as_ref()),
    );
    let mut out = match ends {
        (Some(want), Some(have)) => documents(&id, &sorted(want), &sorted(have)),
        (Some(_), None) => vec![Difference::new(id, "is not there")],
        (None, Some(have)) => vec![Difference::new(id, format!("is still there: {have}"))],
        (None, None) => Vec::new(),
    };
    if let (Some(want), Some(have)) = (want, have) {
        let sorted = |states: &[Value]| states.iter().map(sorted).collect::<Vec<_>>();
        out.extend(history::compare(
            key,
            &sorted(&want.states),
            &sorted(&have.states),
        ));
    }
    strict(out, loose)
}

/// The subsets of Endpoints are in the order of a hash that UIDs are part of, and addresses in the order of numbers that
/// are placeholders: here both are sorted by their text.
fn sorted(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(Value::Array(subsets)) = object.get_mut("subsets") {
        for subset in subsets.iter_mut() {
            for list in ["addresses", "notReadyAddresses"] {
                if let Some(Value::Array(addresses)) = subset.get_mut(list) {
                    addresses.sort_by_cached_key(Value::to_string);
                }
            }
        }
        subsets.sort_by_cached_key(Value::to_string);
    }
    object
}

/// Objects with a generated name. How many there were may differ, which is one difference of the kind `count`; how
/// many are there in the end is another.
fn paired(base: &str, want: &[Recorded], have: &[&Shown], loose: &[&str]) -> Vec<Difference> {
    let mut out = Vec::new();
    let ends = (
        want.iter().filter(|want| want.end.is_some()).count(),
        have.iter().filter(|have| have.end.is_some()).count(),
    );
    if ends.0 != ends.1 {
        let text = format!("want {} in the end, have {}", ends.0, ends.1);
        out.push(Difference::new(format!("count:{base}"), text));
    }
    let table: Vec<Vec<Vec<Difference>>> = want
        .iter()
        .map(|want| {
            have.iter()
                .map(|have| one(base, Some(want), Some(have), loose))
                .collect()
        })
        .collect();
    let costs: Vec<Vec<usize>> = table
        .iter()
        .map(|row| row.iter().map(Vec::len).collect())
        .collect();
    for (row, column) in cheapest(&costs) {
        // Whether it is there in the end was counted.
        let both = want[row].end.is_some() == have[column].end.is_some();
        let differences = table[row][column].iter().cloned();
        out.extend(
            differences.filter(|difference| both || !difference.id.ends_with(&want[row].key)),
        );
    }
    out
}

/// Pairs of rows and columns, each at most once, as many as there can be, cheap ones first; then pairs change partners
/// while that makes the whole cheaper.
fn cheapest(costs: &[Vec<usize>]) -> Vec<(usize, usize)> {
    let mut all: Vec<(usize, usize, usize)> = Vec::new();
    for (row, columns) in costs.iter().enumerate() {
        all.extend(
            columns
                .iter()
                .enumerate()
                .map(|(column, cost)| (*cost, row, column)),
        );
    }
    all.sort_unstable();
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    for (_, row, column) in all {
        if pairs.iter().all(|(r, c)| *r != row && *c != column) {
            pairs.push((row, column));
        }
    }
    loop {
        let mut changed = false;
        for a in 0..pairs.len() {
            for b in a + 1..pairs.len() {
                let ((r, c), (s, d)) = (pairs[a], pairs[b]);
                if costs[r][d] + costs[s][c] < costs[r][c] + costs[s][d] {
                    (pairs[a].1, pairs[b].1) = (d, c);
                    changed = true;
                }
            }
        }
        if !changed {
            pairs.sort_unstable();
            return pairs;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(base: &str, end: Option<Value>) -> Shown {
        let states = end.iter().cloned().collect();
        Shown {
            base: base.into(),
            end,
            states,
        }
    }

    fn ids(recorded: &Value, objects: Vec<Shown>) -> Vec<String> {
        let observed = Observed {
            objects,
            ..Observed::default()
        };
        compare(recorded, &[], &observed)
            .into_iter()
            .map(|difference| difference.id)
            .collect()
    }

    #[test]
    fn objects_are_there_or_not() {
        let recorded = json!({"histories": {"A/x": [{"a": 1}], "A/y": [{"a": 1}, {"deleted": true}]}, "final": {"A/x": {"a": 1}}});
        let (x, y) = (shown("A/x", Some(json!({"a": 1}))), shown("A/y", None));
        let none: [&str; 0] = [];
        assert_eq!(ids(&recorded, vec![x.clone(), y.clone()]), none);
        assert_eq!(ids(&recorded, vec![y.clone()]), ["final:A/x"]);
        assert_eq!(
            ids(&recorded, vec![x.clone(), shown("A/y", Some(json!({})))]),
            ["final:A/y"]
        );
        assert_eq!(
            ids(&recorded, vec![x.clone(), shown("A/z", Some(json!({})))]),
            ["final:A/z"]
        );
        assert_eq!(
            ids(&recorded, vec![x, shown("A/z", None)]),
            none,
            "what came and went is no end"
        );
    }

    #[test]
    fn generated_names_are_paired_with_the_fewest_differences() {
        let recorded = json!({
            "histories": {"P/a-<rand>#1": [{"a": 1}], "P/a-<rand>#2": [{"a": 2}]},
            "final": {"P/a-<rand>#1": {"a": 1}, "P/a-<rand>#2": {"a": 2}},
        });
        let pod = |a: u32| shown("P/a-<rand>", Some(json!({"a": a})));
        let none: [&str; 0] = [];
        assert_eq!(ids(&recorded, vec![pod(2), pod(1)]), none);
        assert_eq!(
            ids(&recorded, vec![pod(3), pod(1)]),
            ["final:P/a-<rand>#2:/a"]
        );
        assert_eq!(ids(&recorded, vec![pod(1)]), ["count:P/a-<rand>"]);
    }

    #[test]
    fn pairs_change_partners() {
        assert_eq!(cheapest(&[vec![0, 1], vec![1, 9]]), [(0, 1), (1, 0)]);
        assert_eq!(cheapest(&[vec![5], vec![1]]), [(1, 0)]);
        assert!(cheapest(&[]).is_empty());
    }
}
