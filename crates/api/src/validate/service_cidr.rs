//! ServiceCIDRs and IPAddresses: the pools of cluster addresses and what is taken of them (KEP-1880).

use super::address;
use super::checks::{Errors, immutable, invalid_each, list, some, text};
use crate::field::{Bad, Error, Path};
use crate::names;
use serde_json::Value;

fn is_ipv6(cidr: &Value) -> bool {
    cidr.as_str().is_some_and(|text| text.contains(':'))
}

pub(super) fn service_cidr(errors: &mut Errors, object: &Value) {
    let (spec, parent) = (&object["spec"], Path::root("spec"));
    let path = parent.field("cidrs");
    let cidrs = list(spec, "cidrs");
    let shown = || some(spec, "cidrs");
    match cidrs {
        [] => errors.push(Error::required(&path, "at least one CIDR required")),
        [_, _, _, ..] => {
            let all = Value::from(cidrs.to_vec());
            let detail = "may only hold up to 2 values";
            errors.push(Error::invalid(
                &path,
                Bad::Text(format!(r#"{{"CIDRs":{all}}}"#)),
                detail,
            ));
            return;
        }
        _ => {}
    }
    let mut right = true;
    for (i, cidr) in cidrs.iter().enumerate() {
        right &= address::cidr(errors, &path.index(i), cidr.as_str().unwrap_or(""), false);
    }
    if let [a, b] = cidrs
        && right
        && is_ipv6(a) == is_ipv6(b)
    {
        let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(Error::invalid(&path, shown(), detail));
    }
}

/// A second family can be added; what there is stays.
pub(super) fn service_cidr_update(errors: &mut Errors, old: &Value, new: &Value) {
    let parent = Path::root("spec");
    let path = parent.field("cidrs");
    let (before, after) = (list(&old["spec"], "cidrs"), list(&new["spec"], "cidrs"));
    match (before.len(), after.len()) {
        (1, 2) | (1, 1) | (2, 2) => {
            for (i, (was, is)) in before.iter().zip(after).enumerate() {
                if was != is {
                    errors.push(Error::invalid(&path.index(i), is, "field is immutable"));
                }
            }
            if before.len() < after.len() {
                service_cidr(errors, new);
            }
        }
        _ => errors.push(Error::invalid(
            &path,
            some(&new["spec"], "cidrs"),
            "field is immutable",
        )),
    }
}

pub(super) fn ip_address(errors: &mut Errors, object: &Value) {
    let spec = Path::root("spec");
    let path = spec.field("parentRef");
    match some(&object["spec"], "parentRef") {
        None => errors.push(Error::required(&path, "")),
        Some(parent) => {
            let group = text(parent, "group");
            if !group.is_empty() {
                invalid_each(
                    errors,
                    &path.field("group"),
                    group,
                    names::dns1123_subdomain(group),
                );
            }
            for member in ["resource", "name", "namespace"] {
                let word = text(parent, member);
                if !word.is_empty() {
                    invalid_each(errors, &path.field(member), word, names::path_segment(word));
                } else if member != "namespace" {
                    errors.push(Error::required(&path.field(member), ""));
                }
            }
        }
    }
}

/// Whom an address is for can't change.
pub(super) fn ip_address_update(errors: &mut Errors, old: &Value, new: &Value) {
    ip_address(errors, new);
    immutable(
        errors,
        &Path::root("spec"),
        &old["spec"],
        &new["spec"],
        "parentRef",
    );
}
