//! Services: cluster addresses and their families.

use super::address;
use super::checks::{Errors, list, one_of_if_set, some, text, texts};
use crate::field::{Error, Path};
use crate::strategy::service::is_headless;
use serde_json::Value;
use std::collections::HashSet;

/// Addresses and families of one Service, by themselves and together.
pub(super) fn families(errors: &mut Errors, spec: &Value, old: Option<&Value>) {
    if text(spec, "type") == "ExternalName" {
        return;
    }
    let path = Path::root("spec");
    let (ips_path, families_path) = (path.field("clusterIPs"), path.field("ipFamilies"));
    let (ip, ips) = (text(spec, "clusterIP"), list(spec, "clusterIPs"));
    let all = || some(spec, "clusterIPs");
    match (ip, ips.first()) {
        ("", Some(_)) => {
            errors.push(Error::invalid(
                &ips_path,
                all(),
                "must be empty when `clusterIP` is not specified",
            ));
        }
        ("", None) => {}
        (_, None) => errors.push(Error::required(&ips_path, "")),
        (ip, Some(first)) if first != ip => {
            errors.push(Error::invalid(
                &ips_path,
                all(),
                "first value must match `clusterIP`",
            ));
        }
        _ => {}
    }
    let mut seen = HashSet::new();
    for (i, family) in list(spec, "ipFamilies").iter().enumerate() {
        if family != "IPv4" && family != "IPv6" {
            errors.push(Error::not_supported(
                &families_path.index(i),
                family,
                &["IPv4", "IPv6"],
            ));
        }
        if !seen.insert(family.as_str()) {
            errors.push(Error::duplicate(&families_path.index(i), family));
        }
    }
    const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    one_of_if_set(errors, &path, spec, "ipFamilyPolicy", &POLICIES);
    if addresses(errors, &ips_path, spec, old) {
        matches(errors, &ips_path, spec);
    }
}

/// Whether all are addresses, so that more can be said of them.
fn addresses(errors: &mut Errors, path: &Path<'_>, spec: &Value, old: Option<&Value>) -> bool {
    let ips = list(spec, "clusterIPs");
    let before = old.map(|o| texts(o, "clusterIPs")).unwrap_or_default();
    let all = || some(spec, "clusterIPs");
    let mut right = true;
    for (i, value) in ips.iter().enumerate() {
        if i == 0 && value == "None" {
            if ips.len() > 1 {
                right = false;
                errors.push(Error::invalid(
                    path,
                    all(),
                    "'None' must be the first and only value",
                ));
            }
            continue;
        }
        let text = value.as_str().unwrap_or("");
        right &= address::ip(errors, &path.index(i), text, before.contains(text));
    }
    if ips.len() > 2 {
        errors.push(Error::invalid(path, all(), "may only hold up to 2 values"));
    }
    right
}

fn matches(errors: &mut Errors, path: &Path<'_>, spec: &Value) {
    let ips: Vec<&str> = list(spec, "clusterIPs")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let sixes = ips.iter().filter(|ip| address::is_ipv6(ip)).count();
    if ips.len() > 1 && (sixes == 0 || sixes == ips.len()) {
        let all = some(spec, "clusterIPs");
        errors.push(Error::invalid(
            path,
            all,
            "may specify no more than one IP for each IP family",
        ));
    }
    if is_headless(spec) {
        return;
    }
    for (i, (ip, family)) in ips.iter().zip(list(spec, "ipFamilies")).enumerate() {
        let six = address::is_ipv6(ip);
        if (family == "IPv4" && six) || (family == "IPv6" && !six) {
            let family = family.as_str().unwrap_or("");
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{i}]`");
            errors.push(Error::invalid(&path.index(i), *ip, detail));
        }
    }
}

/// How addresses and families may change: never the primary, the secondary only to come or go.
pub(super) fn changes(errors: &mut Errors, old: &Value, new: &Value) {
    if text(old, "type") == "ExternalName" || text(new, "type") == "ExternalName" {
        return;
    }
    if is_headless(old) && is_headless(new) {
        return;
    }
    change(errors, old, new, "clusterIPs", "clusterIP");
    change(errors, old, new, "ipFamilies", "ipFamily");
}

fn change(errors: &mut Errors, old: &Value, new: &Value, member: &str, one: &str) {
    let spec = Path::root("spec");
    let path = spec.field(member);
    let (before, after) = (list(old, member), list(new, member));
    let all = || some(new, member);
    const SET: &str = "may not change once set";
    if before.len() == after.len() {
        for (i, _) in before
            .iter()
            .zip(after)
            .enumerate()
            .filter(|(_, (a, b))| a != b)
        {
            errors.push(Error::invalid(&path.index(i), all(), SET));
        }
        return;
    }
    match (before.first(), after.first()) {
        (Some(_), None) => {
            let detail = format!("primary {one} can not be unset");
            errors.push(Error::invalid(&path.index(0), all(), detail));
        }
        (Some(a), Some(b)) if a != b => errors.push(Error::invalid(&path.index(0), all(), SET)),
        _ => {}
    }
    if after.len() == 1 && before.len() > 1 && text(new, "ipFamilyPolicy") != "SingleStack" {
        let detail = format!("must be set to 'SingleStack' when releasing the secondary {one}");
        errors.push(Error::invalid(
            &spec.field("ipFamilyPolicy"),
            some(new, "ipFamilyPolicy"),
            detail,
        ));
    }
}
