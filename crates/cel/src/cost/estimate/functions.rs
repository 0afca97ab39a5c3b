//! The estimates of functions that have their own: Kubernetes' libraries and those of lists.

use super::super::range::Range;
use super::super::{CHAR, LIST, PATTERN_CHAR, STRUCT, scaled};
use super::{Arg, CallEstimate, Estimator, sized};
use crate::ast::{ExprKind, Literal};
use crate::types::Type;

/// The pattern that formats are estimated with.
const FORMAT_PATTERN: f64 = 128.0;
/// The longest name of a format.
const FORMAT_MAX: u64 = 64;

fn allocated(size: Range, factor: f64) -> CallEstimate {
    let cost = size.scaled(factor).plus(Range::exactly(1 + LIST));
    CallEstimate::sized(cost, size)
}

/// A literal number, or what stands for it.
fn number(arg: &Arg<'_>, otherwise: u64) -> u64 {
    match &arg.expr.kind {
        ExprKind::Literal(Literal::Int(value)) => u64::try_from(*value).unwrap_or(0),
        _ => otherwise,
    }
}

/// Functions of lists that are estimated by their overloads.
pub fn listed(
    _: &Estimator<'_>,
    overload: &str,
    target: Option<&Arg<'_>>,
    args: &[Arg<'_>],
) -> Option<CallEstimate> {
    Some(match (overload, target, args) {
        ("list_slice", Some(list), [start, end]) => {
            let (start, end) = (number(start, 0), number(end, sized(list).max));
            allocated(Range::exactly(end.wrapping_sub(start)), 1.0)
        }
        ("lists_range", None, [count]) => allocated(Range::exactly(number(count, u64::MAX)), 1.0),
        ("list_sets_contains_list" | "list_sets_intersects_list", _, [one, two]) => {
            CallEstimate::of(sized(one).times(sized(two)).plus(Range::ONE))
        }
        ("list_sets_equivalent_list", _, [one, two]) => {
            CallEstimate::of(sized(one).times(sized(two)).scaled(2.0).plus(Range::ONE))
        }
        ("list_reverse", Some(list), []) => allocated(sized(list), 1.0),
        ("list_flatten", Some(list), []) => allocated(sized(list), 1.0),
        ("list_flatten_int", Some(list), [depth]) => {
            allocated(sized(list), number(depth, u64::MAX) as f64)
        }
        ("list_distinct", Some(list), []) => allocated(sized(list).times(sized(list)), 2.0),
        (id, Some(list), []) if id.ends_with("_sort") => sorted(id, list),
        (id, Some(_), [keys]) if id.ends_with("_sortByAssociatedKeys") => sorted(id, keys),
        _ => return None,
    })
}

fn sorted(overload: &str, keys: &Arg<'_>) -> CallEstimate {
    let text = overload.starts_with("list_string_") || overload.starts_with("list_bytes_");
    allocated(
        sized(keys).times(sized(keys)),
        if text { 2.0 + CHAR } else { 2.0 },
    )
}

fn selector(length: Range) -> Range {
    let requirements = length.scaled(0.5).scaled((LIST + STRUCT) as f64);
    Range::exactly(LIST)
        .plus(length.scaled(CHAR))
        .plus(requirements)
}

/// Functions of Kubernetes' libraries.
pub fn kubernetes(
    estimator: &Estimator<'_>,
    function: &str,
    overload: &str,
    target: Option<&Arg<'_>>,
    args: &[Arg<'_>],
) -> Option<CallEstimate> {
    let plain = |cost| Some(CallEstimate::of(cost));
    match (function, target, args) {
        ("check", ..) => plain(Range::exactly(350_000)),
        (
            "serviceAccount"
            | "path"
            | "group"
            | "resource"
            | "subresource"
            | "namespace"
            | "name"
            | "allowed"
            | "reason"
            | "error"
            | "errored"
            | "masked"
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
            | "getQuery",
            ..,
        ) => plain(Range::ONE),
        ("fieldSelector" | "labelSelector", _, [text]) => plain(selector(sized(text))),
        (
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" | "includes",
            Some(list),
            _,
        ) => plain(searched(estimator, function, list)),
        ("url" | "jsonpatch.escapeKey", _, [text]) => {
            Some(CallEstimate::sized(sized(text).scaled(CHAR), sized(text)))
        }
        ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(text), _) => {
            Some(CallEstimate::sized(sized(text).scaled(CHAR), sized(text)))
        }
        ("replace", Some(text), [old, new, ..]) => {
            let size = replaced(sized(text), sized(old), sized(new));
            Some(CallEstimate::sized(sized(text).scaled(2.0 * CHAR), size))
        }
        ("split", Some(text), _) => Some(split(text, args)),
        ("join", Some(list), _) => {
            let size = joined(estimator, list, args.first());
            Some(CallEstimate::sized(size.scaled(CHAR), size))
        }
        ("find" | "findAll", Some(text), [pattern, ..]) => {
            let text = sized(text);
            let cost = text
                .plus(Range::ONE)
                .scaled(CHAR)
                .times(sized(pattern).scaled(PATTERN_CHAR));
            Some(CallEstimate::sized(
                cost,
                Range {
                    min: 0,
                    max: text.max,
                },
            ))
        }
        ("ip", ..) if overload == "cidr_ip" => plain(Range::ONE),
        (
            "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver",
            _,
            [text, ..],
        ) => plain(sized(text).scaled(CHAR)),
        ("ip.isCanonical", _, [text]) => plain(sized(text).scaled(2.0 * CHAR)),
        ("containsIP" | "containsCIDR", _, [other]) => plain(contained(function, overload, other)),
        ("validate", _, [text]) => plain(
            sized(text)
                .scaled(CHAR)
                .scaled(FORMAT_PATTERN * PATTERN_CHAR),
        ),
        ("_==_", _, [one, two]) => equal(one, two),
        _ => None,
    }
}

/// What an element of a list can be as large as.
fn element_size(estimator: &Estimator<'_>, list: &Arg<'_>) -> Range {
    if list.path.is_empty() {
        return Range::UNKNOWN;
    }
    let mut path = list.path.clone();
    path.push("@items".to_owned());
    estimator.declared_size(&path).unwrap_or(Range::UNKNOWN)
}

/// The first parameter of a type: of lists their elements, of maps their keys.
fn parameter(ty: &Type) -> Option<&Type> {
    match ty {
        Type::List(element) => Some(element),
        Type::Map(entry) => Some(&entry.0),
        Type::Opaque(_, params) => params.first(),
        _ => None,
    }
}

fn searched(estimator: &Estimator<'_>, function: &str, list: &Arg<'_>) -> Range {
    match parameter(&list.ty) {
        Some(element) => {
            let mut each = Range::ONE;
            if matches!(element, Type::String | Type::Bytes) {
                each = each.plus(element_size(estimator, list).scaled(CHAR));
            }
            sized(list).times(each)
        }
        None if function == "includes" => sized(list).times(Range::ONE),
        None => sized(list).scaled(CHAR),
    }
}

fn replaced(text: Range, old: Range, new: Range) -> Range {
    let (mut count, mut kept) = (Range::ZERO, Range::ZERO);
    if old.min == 0 {
        count.max = text.max.saturating_add(1);
        kept.max = text.max;
    } else if new.max <= old.min {
        kept.max = text.max;
    } else {
        count.max = scaled(text.max, 1.0 / old.min as f64).min(ratio(text.max, old.min));
    }
    if old.max == 0 {
        count.min = text.min.saturating_add(1);
        kept.min = text.min;
    } else if old.max <= new.min {
        kept.min = text.min;
    } else {
        count.min = ratio(text.min, old.max);
    }
    count.times(new).plus(kept)
}

fn ratio(one: u64, two: u64) -> u64 {
    (one as f64 / two as f64).ceil() as u64
}

fn split(text: &Arg<'_>, args: &[Arg<'_>]) -> CallEstimate {
    let size = sized(text);
    let max = match args {
        [_, most] => number(most, size.max),
        _ => size.max,
    };
    CallEstimate::sized(size.scaled(2.0 * CHAR), Range { min: 0, max })
}

fn joined(estimator: &Estimator<'_>, list: &Arg<'_>, separator: Option<&Arg<'_>>) -> Range {
    let count = sized(list);
    let mut size = match parameter(&list.ty) {
        Some(_) => count.times(element_size(estimator, list)),
        None => Range::ZERO,
    };
    if let Some(separator) = separator {
        let gaps = Range {
            min: count.min.saturating_sub(1),
            max: count.max.saturating_sub(1),
        };
        size = size.plus(sized(separator).times(gaps));
    }
    size
}

fn contained(function: &str, overload: &str, other: &Arg<'_>) -> Range {
    let address = Range { min: 4, max: 16 };
    let mut cost = address.plus(address).scaled(CHAR);
    if function == "containsCIDR" {
        cost = cost.plus(address.scaled(CHAR)).plus(Range::ONE);
    }
    if overload.ends_with("_string") {
        cost = cost.plus(sized(other).scaled(CHAR));
    }
    cost
}

/// Values of Kubernetes' types are compared in constant time.
fn equal(one: &Arg<'_>, two: &Arg<'_>) -> Option<CallEstimate> {
    if one.ty != two.ty {
        return None;
    }
    let cost = match &one.ty {
        Type::Opaque(name, _) if matches!(&**name, "net.IP" | "net.CIDR") => Range::ONE,
        Type::Object(name) => match &**name {
            "kubernetes.Quantity" | "kubernetes.Semver" => Range::ONE,
            "kubernetes.NamedFormat" => Range {
                min: 1,
                max: FORMAT_MAX,
            }
            .scaled(CHAR),
            "kubernetes.URL" => Range {
                min: 1,
                max: two.size.map_or(1, |size| size.max),
            }
            .scaled(CHAR),
            name if name.starts_with("kubernetes.authorization.") => Range::ONE,
            _ => return None,
        },
        _ => return None,
    };
    Some(CallEstimate::of(cost))
}
