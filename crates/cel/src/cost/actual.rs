//! What a call costs, by its arguments and its result.

use super::{CHAR, LIST, PATTERN_CHAR, STRUCT, scaled};
use crate::library::opaque::Opaque;
use crate::value::Value;

/// The cost of a call.
pub fn call(
    function: &str,
    overload: Option<&str>,
    args: &[Value<'_>],
    result: Option<&Value<'_>>,
) -> u64 {
    if let Some(overload) = overload
        && let Some(cost) = of_overload(overload, args, result)
    {
        return cost;
    }
    if let Some(cost) = of_function(function, overload, args, result) {
        return cost;
    }
    standard(overload.unwrap_or_default(), args)
}

fn size(args: &[Value<'_>], index: usize) -> u64 {
    args.get(index).map_or(1, Value::size)
}

/// A list that is made of so many parts.
fn allocated(count: u64, factor: f64) -> u64 {
    floored(count, factor).saturating_add(1 + LIST)
}

/// A size times a factor, rounded down.
fn floored(size: u64, factor: f64) -> u64 {
    (size as f64 * factor) as u64
}

/// Comparing each element of a list with each.
fn self_compared(list: Option<&Value<'_>>) -> u64 {
    let Some(Value::List(list)) = list else {
        return 1;
    };
    let count = list.len() as u64;
    let text = matches!(list.get(0), Some(Ok(Value::String(_) | Value::Bytes(_))));
    allocated(
        count.saturating_mul(count),
        if text { 2.0 + CHAR } else { 2.0 },
    )
}

/// The functions of lists that are counted by their overloads.
fn of_overload(overload: &str, args: &[Value<'_>], result: Option<&Value<'_>>) -> Option<u64> {
    Some(match overload {
        "list_slice" | "lists_range" | "list_reverse" => {
            allocated(result.map_or(1, Value::size), 1.0)
        }
        "list_flatten" => allocated(size(args, 0), 1.0),
        "list_flatten_int" => {
            let depth = match args.get(1) {
                Some(Value::Int(depth)) => *depth as f64,
                _ => 1.0,
            };
            allocated(size(args, 0), depth)
        }
        "list_sets_contains_list" | "list_sets_intersects_list" => size(args, 0)
            .saturating_mul(size(args, 1))
            .saturating_add(1),
        "list_sets_equivalent_list" => size(args, 0)
            .saturating_mul(size(args, 1))
            .saturating_mul(2)
            .saturating_add(1),
        "list_distinct" => self_compared(args.first()),
        id if id.starts_with("list_") && id.ends_with("_sort") => self_compared(args.first()),
        id if id.ends_with("_sortByAssociatedKeys") => self_compared(args.get(1)),
        _ => return None,
    })
}

fn matching(text: u64, pattern: u64) -> u64 {
    scaled(text.saturating_add(1), CHAR).saturating_mul(scaled(pattern, PATTERN_CHAR))
}

fn selector(length: u64) -> u64 {
    let requirements = scaled(length, 0.5);
    LIST + scaled(length, CHAR) + scaled(requirements, (LIST + STRUCT) as f64)
}

fn of_function(
    function: &str,
    overload: Option<&str>,
    args: &[Value<'_>],
    result: Option<&Value<'_>>,
) -> Option<u64> {
    Some(match function {
        "check" => 350_000,
        "serviceAccount" | "path" | "group" | "resource" | "subresource" | "namespace" | "name"
        | "allowed" | "reason" | "error" | "errored" => 1,
        "fieldSelector" | "labelSelector" => selector(size(args, 1)),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" | "includes" => {
            args.first().map_or(0, |value| traversal(value, 0))
        }
        "url"
        | "lowerAscii"
        | "upperAscii"
        | "substring"
        | "trim"
        | "jsonpatch.escapeKey"
        | "cidr"
        | "isIP"
        | "isCIDR"
        | "quantity"
        | "isQuantity"
        | "semver"
        | "isSemver" => scaled(size(args, 0), CHAR),
        "replace" | "split" | "ip.isCanonical" => scaled(size(args, 0), 2.0 * CHAR),
        "join" => scaled(result.map_or(1, Value::size), 2.0 * CHAR),
        "find" | "findAll" => matching(size(args, 0), size(args, 1)),
        "ip" if overload == Some("cidr_ip") => 1,
        "ip" => scaled(size(args, 0), CHAR),
        "masked"
        | "prefixLength"
        | "family"
        | "isUnspecified"
        | "isLoopback"
        | "isLinkLocalMulticast"
        | "isLinkLocalUnicast"
        | "isGlobalUnicast"
        | "format.named"
        | "sign"
        | "asInteger"
        | "isInteger"
        | "asApproximateFloat"
        | "isGreaterThan"
        | "isLessThan"
        | "compareTo"
        | "add"
        | "sub"
        | "major"
        | "minor"
        | "patch"
        | "getScheme"
        | "getHostname"
        | "getHost"
        | "getPort"
        | "getEscapedPath"
        | "getQuery" => 1,
        "containsIP" | "containsCIDR" => {
            let network = size(args, 0);
            let mut cost = scaled(network * 2, CHAR);
            if function == "containsCIDR" {
                cost += scaled(network, CHAR) + 1;
            }
            if overload.is_some_and(|id| id.ends_with("_string")) {
                cost += scaled(size(args, 1), CHAR);
            }
            cost
        }
        "validate" => match args.first() {
            Some(Value::Opaque(opaque)) => match &**opaque {
                Opaque::Format(format) => matching(size(args, 1), format.pattern_size),
                _ => return None,
            },
            _ => return None,
        },
        "_==_" if matches!(args.first(), Some(Value::Opaque(_))) => 1,
        _ => return None,
    })
}

/// The cost of looking at all of a value.
fn traversal(value: &Value<'_>, depth: usize) -> u64 {
    match value {
        Value::String(text) => (text.len() as f64 * CHAR) as u64,
        Value::Bytes(bytes) => (bytes.len() as f64 * CHAR) as u64,
        Value::List(list) if depth < 64 => list
            .iter()
            .map(|element| element.map_or(1, |element| traversal(&element, depth + 1)))
            .fold(0, u64::saturating_add),
        Value::Map(map) if depth < 64 => map
            .keys()
            .iter()
            .map(|key| {
                let value = map.find(key).and_then(Result::ok);
                traversal(key, depth + 1)
                    .saturating_add(value.map_or(1, |value| traversal(&value, depth + 1)))
            })
            .fold(0, u64::saturating_add),
        _ => 1,
    }
}

fn standard(overload: &str, args: &[Value<'_>]) -> u64 {
    match overload {
        "starts_with_string" | "ends_with_string" => scaled(size(args, 1), CHAR),
        "string_to_bytes" | "bytes_to_string" | "strings_quote" | "string_format" => {
            scaled(size(args, 0), CHAR)
        }
        "in_list" => size(args, 1),
        "less_string"
        | "greater_string"
        | "less_equals_string"
        | "greater_equals_string"
        | "less_bytes"
        | "greater_bytes"
        | "less_equals_bytes"
        | "greater_equals_bytes"
        | "equals"
        | "not_equals" => scaled(size(args, 0).min(size(args, 1)), CHAR),
        "add_string" | "add_bytes" => scaled(size(args, 0) + size(args, 1), CHAR),
        "matches" | "matches_string" => matching(size(args, 0), size(args, 1)),
        "contains_string" => {
            scaled(size(args, 0), CHAR).saturating_mul(scaled(size(args, 1), CHAR))
        }
        _ => 1,
    }
}
