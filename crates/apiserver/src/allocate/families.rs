//! IP families of a Service: which it has, from what it says and from what the cluster has (KEP-563).
//!
//! Pure. The order of the rules matters and is upstream's; the numbers are those of the rules there.

use std::net::IpAddr;

use karve_api::field::{Error, Path};
use karve_api::strategy::service as strategy;
use karve_api::validate;
use serde_json::{Value, json};

use crate::object;

/// An IP family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Of an address.
    pub fn of(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }

    /// As objects name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    /// From its name.
    pub fn parse(text: &str) -> Option<Family> {
        [Family::V4, Family::V6]
            .into_iter()
            .find(|f| f.as_str() == text)
    }

    fn other(self) -> Family {
        match self {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        }
    }
}

const SINGLE: &str = "SingleStack";
const PREFER: &str = "PreferDualStack";
const REQUIRE: &str = "RequireDualStack";

fn list(spec: &Value, name: &str) -> Vec<String> {
    let list = spec[name].as_array();
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn policy(spec: &Value) -> &str {
    spec["ipFamilyPolicy"].as_str().unwrap_or_default()
}

/// Sets `ipFamilyPolicy` and `ipFamilies`. `cluster` has the primary family first.
pub fn set(service: &mut Value, old: Option<&Value>, cluster: &[Family]) -> Result<(), Vec<Error>> {
    let Some(primary) = cluster.first().copied() else {
        return Ok(());
    };
    let old = old
        .map(|o| &o["spec"])
        .filter(|o| strategy::needs_cluster_ip(o));
    let spec = &mut service["spec"];
    if spec["type"] == "ExternalName" || is_kept(spec, old) {
        return Ok(());
    }
    let headless = strategy::is_headless(spec);
    let selected = spec["selector"].as_object().is_some_and(|s| !s.is_empty());
    if spec["ipFamilyPolicy"].is_null() {
        let before = old.map(policy).filter(|p| !p.is_empty());
        let fresh = if headless && !selected {
            REQUIRE
        } else {
            SINGLE
        };
        let chosen = before.unwrap_or(fresh).to_owned();
        object::member_of(spec).insert("ipFamilyPolicy".into(), chosen.into());
    }
    let wrong = validate::service_families(spec, old);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    if let Some(old) = old {
        shorten(spec, old)?;
    }
    check_single(spec)?;
    let mut families = list(spec, "ipFamilies");
    infer(spec, &mut families, cluster)?;
    let dual = policy(spec) != SINGLE;
    if headless && !selected {
        // Whatever the cluster has: who made the endpoints knows.
        if families.is_empty() {
            families.push(primary.as_str().to_owned());
        }
    } else {
        check_configured(spec, &families, cluster)?;
        if families.is_empty() {
            families.push(primary.as_str().to_owned());
        }
    }
    let may_add = dual && (cluster.len() > 1 || headless && !selected);
    if let [only] = &families[..]
        && may_add
        && let Some(family) = Family::parse(only)
    {
        families.push(family.other().as_str().to_owned());
    }
    object::member_of(spec).insert("ipFamilies".into(), json!(families));
    Ok(())
}

/// Rule 2: whoever prefers two families and changed nothing keeps what it has, though the cluster may have changed.
fn is_kept(spec: &Value, old: Option<&Value>) -> bool {
    old.is_some_and(|old| {
        policy(spec) == PREFER
            && policy(old) == PREFER
            && list(spec, "clusterIPs") == list(old, "clusterIPs")
            && list(spec, "ipFamilies") == list(old, "ipFamilies")
    })
}

/// Rule 5: with one family wanted, unchanged lists of two lose the second; else nothing may be left out.
fn shorten(spec: &mut Value, old: &Value) -> Result<(), Vec<Error>> {
    let root = Path::root("spec");
    let at = root.field("ipFamilyPolicy");
    let mut errors = Vec::new();
    for (name, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let (now, before) = (list(spec, name), list(old, name));
        if policy(spec) == SINGLE {
            if now.len() == 2 && now == before {
                object::member_of(spec).insert(name.into(), json!(now[..1]));
            }
        } else if before.len() == 2 && now.len() == 1 {
            let why = format!("must be 'SingleStack' to release the secondary {what}");
            errors.push(Error::invalid(&at, policy(spec), why));
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

/// Rule 6.
fn check_single(spec: &Value) -> Result<(), Vec<Error>> {
    let root = Path::root("spec");
    let at = root.field("ipFamilyPolicy");
    let mut errors = Vec::new();
    for (name, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
        if policy(spec) == SINGLE && list(spec, name).len() == 2 {
            let why = format!(
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            );
            errors.push(Error::invalid(&at, policy(spec), why));
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

/// Rule 7: families that the given addresses imply.
fn infer(spec: &Value, families: &mut Vec<String>, cluster: &[Family]) -> Result<(), Vec<Error>> {
    let root = Path::root("spec");
    let addresses = root.field("clusterIPs");
    for (i, text) in list(spec, "clusterIPs")
        .iter()
        .enumerate()
        .skip(families.len())
    {
        let Ok(address) = text.parse() else { continue };
        let family = Family::of(address);
        if !cluster.contains(&family) {
            let why = format!("{} is not configured on this cluster", family.as_str());
            return Err(vec![Error::invalid(
                &addresses.index(i),
                text.as_str(),
                why,
            )]);
        }
        families.push(family.as_str().to_owned());
    }
    Ok(())
}

/// Rule 9.
fn check_configured(
    spec: &Value,
    families: &[String],
    cluster: &[Family],
) -> Result<(), Vec<Error>> {
    let root = Path::root("spec");
    let mut errors = Vec::new();
    if policy(spec) == REQUIRE && cluster.len() == 1 {
        let why = "this cluster is not configured for dual-stack services";
        errors.push(Error::invalid(&root.field("ipFamilyPolicy"), REQUIRE, why));
    }
    let at = root.field("ipFamilies");
    for (i, text) in families.iter().enumerate() {
        if Family::parse(text).is_some_and(|family| !cluster.contains(&family)) {
            errors.push(Error::invalid(
                &at.index(i),
                text.as_str(),
                "not configured on this cluster",
            ));
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &[Family] = &[Family::V4];
    const TWO: &[Family] = &[Family::V4, Family::V6];

    #[test]
    fn families_follow_policy_addresses_and_cluster() {
        let rows = [
            (ONE, json!({}), "SingleStack", vec!["IPv4"]),
            (TWO, json!({}), "SingleStack", vec!["IPv4"]),
            (
                TWO,
                json!({"ipFamilyPolicy": PREFER}),
                PREFER,
                vec!["IPv4", "IPv6"],
            ),
            (ONE, json!({"ipFamilyPolicy": PREFER}), PREFER, vec!["IPv4"]),
            (
                TWO,
                json!({"ipFamilies": ["IPv6"], "ipFamilyPolicy": REQUIRE}),
                REQUIRE,
                vec!["IPv6", "IPv4"],
            ),
            (
                TWO,
                json!({"clusterIP": "fd00::5", "clusterIPs": ["fd00::5"]}),
                SINGLE,
                vec!["IPv6"],
            ),
            (
                ONE,
                json!({"clusterIP": "None", "clusterIPs": ["None"]}),
                REQUIRE,
                vec!["IPv4", "IPv6"],
            ),
            (
                ONE,
                json!({"clusterIP": "None", "clusterIPs": ["None"], "selector": {"a": "b"}}),
                SINGLE,
                vec!["IPv4"],
            ),
        ];
        for (cluster, mut spec, policy, families) in rows {
            spec["type"] = "ClusterIP".into();
            let mut service = json!({"spec": spec});
            set(&mut service, None, cluster).expect("valid");
            assert_eq!(service["spec"]["ipFamilyPolicy"], policy, "{service}");
            assert_eq!(service["spec"]["ipFamilies"], json!(families), "{service}");
        }
    }

    #[test]
    fn what_the_cluster_lacks_is_refused() {
        let rows = [
            (
                json!({"ipFamilyPolicy": REQUIRE}),
                "this cluster is not configured for dual-stack services",
            ),
            (
                json!({"ipFamilies": ["IPv6"]}),
                "not configured on this cluster",
            ),
            (
                json!({"clusterIP": "fd00::5", "clusterIPs": ["fd00::5"]}),
                "IPv6 is not configured on this cluster",
            ),
            (
                json!({"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": SINGLE}),
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
            ),
        ];
        for (mut spec, want) in rows {
            spec["type"] = "ClusterIP".into();
            let errors = set(&mut json!({"spec": spec}), None, ONE).expect_err("refused");
            assert_eq!(errors[0].detail, want);
        }
    }

    #[test]
    fn one_stack_again_drops_the_second_of_unchanged_lists() {
        let old = json!({"spec": {"type": "ClusterIP", "ipFamilyPolicy": PREFER, "clusterIP": "10.96.0.5",
            "clusterIPs": ["10.96.0.5", "fd00::5"], "ipFamilies": ["IPv4", "IPv6"]}});
        let mut new = old.clone();
        new["spec"]["ipFamilyPolicy"] = SINGLE.into();
        set(&mut new, Some(&old), TWO).expect("valid");
        assert_eq!(new["spec"]["clusterIPs"], json!(["10.96.0.5"]));
        assert_eq!(new["spec"]["ipFamilies"], json!(["IPv4"]));
    }
}
