//! Endpoints and EndpointSlices.

use super::address;
use super::checks::{
    Check, Errors, check_if_there, int, invalid_each, labels, list, one_of, one_of_if_set,
    one_of_words, port_number, same, some, text,
};
use crate::field::{Error, Path};
use crate::names;
use serde_json::Value;
use std::collections::HashSet;

const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const HINTS_MAX: usize = 8;
const TOPOLOGY_MAX: usize = 16;
const PORTS_MAX: usize = 20_000;

pub(super) fn endpoints(errors: &mut Errors, endpoints: &Value) {
    let path = Path::root("subsets");
    for (i, subset) in list(endpoints, "subsets").iter().enumerate() {
        let at = path.index(i);
        let (ready, others) = (list(subset, "addresses"), list(subset, "notReadyAddresses"));
        if ready.is_empty() && others.is_empty() {
            errors.push(Error::required(
                &at,
                "must specify `addresses` or `notReadyAddresses`",
            ));
        }
        for (member, all) in [("addresses", ready), ("notReadyAddresses", others)] {
            let path = at.field(member);
            for (j, entry) in all.iter().enumerate() {
                endpoint_address(errors, &path.index(j), entry);
            }
        }
        let ports_path = at.field("ports");
        let ports = list(subset, "ports");
        for (j, port) in ports.iter().enumerate() {
            endpoint_port(errors, &ports_path.index(j), port, ports.len() > 1);
        }
    }
}

fn endpoint_address(errors: &mut Errors, path: &Path<'_>, entry: &Value) {
    let ip = text(entry, "ip");
    let at = path.field("ip");
    match address::ip(errors, &at, ip, false) {
        true => address::not_special(errors, &at, ip),
        false if address::parse(ip).is_none() => {
            errors.push(Error::invalid(&at, ip, "must be a valid IP address"));
        }
        false => {}
    }
    let host = text(entry, "hostname");
    if !host.is_empty() {
        invalid_each(
            errors,
            &path.field("hostname"),
            host,
            names::dns1123_label(host),
        );
    }
    check_if_there(errors, path, entry, "nodeName", names::dns1123_subdomain);
}

fn endpoint_port(errors: &mut Errors, path: &Path<'_>, port: &Value, named: bool) {
    let name = text(port, "name");
    match name {
        "" if named => errors.push(Error::required(&path.field("name"), "")),
        "" => {}
        _ => invalid_each(
            errors,
            &path.field("name"),
            name,
            names::dns1123_label(name),
        ),
    }
    port_number(errors, &path.field("port"), int(port, "port"));
    one_of(errors, path, port, "protocol", &["SCTP", "TCP", "UDP"]);
    check_if_there(errors, path, port, "appProtocol", names::qualified_name);
}

/// Endpoints that an update leaves as they are may be what older rules let in.
pub(super) fn slice(errors: &mut Errors, slice: &Value, old: Option<&Value>) {
    let path = Path::root("addressType");
    one_of_words(
        errors,
        &path,
        text(slice, "addressType"),
        &["FQDN", "IPv4", "IPv6"],
    );
    slice_ports(errors, slice);
    if old.is_none_or(|old| !same(&old["endpoints"], &slice["endpoints"])) {
        slice_endpoints(errors, slice);
    }
}

fn slice_endpoints(errors: &mut Errors, slice: &Value) {
    let path = Path::root("endpoints");
    let all = list(slice, "endpoints");
    if all.len() > ENDPOINTS_MAX {
        errors.push(Error::too_many(&path, all.len(), ENDPOINTS_MAX));
        return;
    }
    for (i, endpoint) in all.iter().enumerate() {
        let at = path.index(i);
        let addresses = at.field("addresses");
        let found = list(endpoint, "addresses");
        if found.is_empty() {
            errors.push(Error::required(&addresses, ""));
        } else if found.len() > ADDRESSES_MAX {
            errors.push(Error::too_many(&addresses, found.len(), ADDRESSES_MAX));
        }
        for (j, value) in found.iter().filter_map(Value::as_str).enumerate() {
            slice_address(errors, &addresses, j, value, text(slice, "addressType"));
        }
        check_if_there(errors, &at, endpoint, "nodeName", names::dns1123_subdomain);
        let topology = at.field("deprecatedTopology");
        if let Some(found) = endpoint
            .get("deprecatedTopology")
            .and_then(Value::as_object)
            && found.len() > TOPOLOGY_MAX
        {
            errors.push(Error::too_many(&topology, found.len(), TOPOLOGY_MAX));
        }
        labels(errors, &topology, endpoint.get("deprecatedTopology"));
        check_if_there(errors, &at, endpoint, "hostname", names::dns1123_label);
        hints(errors, &at.field("hints"), &endpoint["hints"]);
    }
}

/// For which zones and Nodes an endpoint is meant.
fn hints(errors: &mut Errors, path: &Path<'_>, hints: &Value) {
    let checks: [(&str, Check); 2] = [
        ("forZones", names::label_value),
        ("forNodes", names::dns1123_subdomain),
    ];
    for (member, check) in checks {
        let (all, at) = (list(hints, member), path.field(member));
        if all.len() > HINTS_MAX {
            errors.push(Error::too_many(&at, all.len(), HINTS_MAX));
            return;
        }
        let mut seen = HashSet::new();
        for (i, hint) in all.iter().enumerate() {
            let (at, name) = (at.index(i), text(hint, "name"));
            if !seen.insert(name) {
                errors.push(Error::duplicate(&at.field("name"), name));
            }
            invalid_each(errors, &at.field("name"), name, check(name));
        }
    }
}

/// A domain of two labels or more; a dot at its end is left out.
fn domain(errors: &mut Errors, path: &Path<'_>, name: &str) {
    if name.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let wrong = names::dns1123_subdomain(name);
    if !wrong.is_empty() {
        return errors.push(Error::invalid(path, name, wrong.join(",")));
    }
    if !name.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.push(Error::invalid(path, name, detail));
        return;
    }
    for label in name.split('.') {
        let wrong = names::dns1123_label(label);
        if !wrong.is_empty() {
            errors.push(Error::invalid(path, label, wrong.join(",")));
        }
    }
}

fn slice_address(errors: &mut Errors, path: &Path<'_>, index: usize, value: &str, kind: &str) {
    let at = path.index(index);
    match kind {
        "IPv4" | "IPv6" => {
            if !address::ip(errors, &at, value, false) {
                return;
            }
            if address::is_ipv6(value) != (kind == "IPv6") {
                let article = if kind == "IPv4" { "an IPv4" } else { "an IPv6" };
                errors.push(Error::invalid(
                    path,
                    value,
                    format!("must be {article} address"),
                ));
                return;
            }
            address::not_special(errors, &at, value);
        }
        "FQDN" => domain(errors, &at, value),
        _ => {}
    }
}

fn slice_ports(errors: &mut Errors, slice: &Value) {
    let path = Path::root("ports");
    let all = list(slice, "ports");
    if all.len() > PORTS_MAX {
        errors.push(Error::too_many(&path, all.len(), PORTS_MAX));
        return;
    }
    let mut seen = HashSet::new();
    for (i, port) in all.iter().enumerate() {
        let at = path.index(i);
        let name = text(port, "name");
        if !name.is_empty() {
            invalid_each(errors, &at.field("name"), name, names::dns1123_label(name));
        }
        if !seen.insert(name) {
            errors.push(Error::duplicate(&at.field("name"), name));
        }
        match some(port, "protocol") {
            None => errors.push(Error::required(&at.field("protocol"), "")),
            Some(_) => one_of_if_set(errors, &at, port, "protocol", &["SCTP", "TCP", "UDP"]),
        }
        check_if_there(errors, &at, port, "appProtocol", names::qualified_name);
    }
}

pub(super) fn slice_update(errors: &mut Errors, old: &Value, new: &Value) {
    slice(errors, new, Some(old));
    if text(old, "addressType") != text(new, "addressType") {
        // Upstream shows null, whatever the type.
        let path = Path::root("addressType");
        errors.push(Error::invalid(&path, Value::Null, "field is immutable"));
    }
}
