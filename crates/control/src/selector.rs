//! Label selectors.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

type Labels = BTreeMap<String, String>;

/// True if `labels` satisfy `selector`; an empty selector fits everything.
pub(crate) fn matches(selector: &LabelSelector, labels: Option<&Labels>) -> bool {
    let value_of = |key: &str| labels.and_then(|labels| labels.get(key));
    let equal = |(key, value): (&String, &String)| value_of(key) == Some(value);
    if !selector.match_labels.iter().flatten().all(equal) {
        return false;
    }
    let mut expressions = selector.match_expressions.iter().flatten();
    expressions.all(|expression| {
        let values = expression.values.as_deref().unwrap_or_default();
        fits(value_of(&expression.key), &expression.operator, values)
    })
}

/// One requirement; an operator that is not known fits nothing.
pub(crate) fn fits(value: Option<&String>, operator: &str, values: &[String]) -> bool {
    match operator {
        "In" => value.is_some_and(|value| values.contains(value)),
        "NotIn" => value.is_none_or(|value| !values.contains(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(value, values).is_some_and(|(value, bound)| value > bound),
        "Lt" => compare(value, values).is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

fn compare(value: Option<&String>, values: &[String]) -> Option<(i64, i64)> {
    let [bound] = values else { return None };
    Some((value?.parse().ok()?, bound.parse().ok()?))
}

/// True if a Service-like selector (a map) is contained in `labels`.
pub(crate) fn contains(selector: &Labels, labels: Option<&Labels>) -> bool {
    let has = |(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value);
    selector.iter().all(has)
}

/// A selector as upstream's events show it.
pub(crate) fn go_text(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten();
    let labels: String = labels
        .map(|(name, value)| format!("{name}: {value},"))
        .collect();
    let expressions = selector.match_expressions.iter().flatten();
    let expressions: String = expressions
        .map(|one| {
            let values = one.values.as_deref().unwrap_or_default().join(" ");
            format!(
                "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},",
                one.key, one.operator
            )
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},\
         MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

/// True if the selector has no requirement at all.
pub(crate) fn is_empty(selector: &LabelSelector) -> bool {
    let labels = selector.match_labels.iter().flatten().count();
    let expressions = selector.match_expressions.iter().flatten().count();
    labels + expressions == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators() {
        let values = |list: &[&str]| list.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
        let table: [(Option<&str>, &str, &[&str], bool); 12] = [
            (Some("a"), "In", &["a", "b"], true),
            (Some("c"), "In", &["a", "b"], false),
            (None, "In", &["a"], false),
            (Some("a"), "NotIn", &["a"], false),
            (None, "NotIn", &["a"], true),
            (Some(""), "Exists", &[], true),
            (None, "Exists", &[], false),
            (None, "DoesNotExist", &[], true),
            (Some("5"), "Gt", &["4"], true),
            (Some("5"), "Lt", &["5"], false),
            (Some("x"), "Gt", &["4"], false),
            (Some("a"), "Like", &["a"], false),
        ];
        for (value, operator, list, expected) in table {
            let value = value.map(str::to_owned);
            let got = fits(value.as_ref(), operator, &values(list));
            assert_eq!(got, expected, "{value:?} {operator} {list:?}");
        }
    }
}
