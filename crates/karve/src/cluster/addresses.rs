//! The LoadBalancer pool, written as MetalLB 0.9's own object, so that its tutorials work as they are.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// MetalLB's namespace.
pub const NAMESPACE: &str = "metallb-system";
/// MetalLB's ConfigMap.
pub const CONFIG: &str = "config";
/// The key in it.
const KEY: &str = "config";

/// Addresses from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    /// The first.
    pub first: Ipv4Addr,
    /// The last.
    pub last: Ipv4Addr,
}

/// Why a text is not a range.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRange {
    /// Not two addresses.
    #[error("a range is FIRST-LAST, such as 192.168.64.200-192.168.64.250")]
    Form,
    /// The wrong way round.
    #[error("a range's first address must not be above its last")]
    Order,
}

impl AddressRange {
    /// A range whose ends are in order.
    pub fn new(first: Ipv4Addr, last: Ipv4Addr) -> Result<Self, InvalidRange> {
        if first > last {
            return Err(InvalidRange::Order);
        }
        Ok(Self { first, last })
    }
}

impl FromStr for AddressRange {
    type Err = InvalidRange;

    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let (first, last) = text.split_once('-').ok_or(InvalidRange::Form)?;
        let parse = |text: &str| text.trim().parse().map_err(|_| InvalidRange::Form);
        Self::new(parse(first)?, parse(last)?)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// `data.config` of MetalLB 0.9.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    #[serde(default)]
    address_pools: Vec<Pool>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Pool {
    name: String,
    protocol: String,
    addresses: Vec<String>,
}

/// Makes MetalLB's namespace, which is how `addons` tells enabled from disabled.
pub async fn enable(client: &kube::Client) -> Result<()> {
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(NAMESPACE.to_owned()),
            labels: Some(BTreeMap::from([("app".to_owned(), "metallb".to_owned())])),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    match Api::<Namespace>::all(client.clone())
        .create(&PostParams::default(), &namespace)
        .await
    {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => Err(error).with_context(|| format!("make namespace {NAMESPACE}")),
        Ok(_) => Ok(()),
    }
}

/// Whether [`enable`] was done.
pub async fn is_enabled(client: &kube::Client) -> Result<bool> {
    let namespace = Api::<Namespace>::all(client.clone())
        .get_opt(NAMESPACE)
        .await;
    Ok(namespace
        .with_context(|| format!("get namespace {NAMESPACE}"))?
        .is_some())
}

/// Takes the pool away. Services keep the addresses that they have.
pub async fn disable(client: &kube::Client) -> Result<()> {
    let gone =
        |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.is_not_found());
    let maps = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE);
    match maps.delete(CONFIG, &DeleteParams::default()).await {
        Err(error) if !gone(&error) => return Err(error).context("delete the LoadBalancer pool"),
        _ => {}
    }
    match Api::<Namespace>::all(client.clone())
        .delete(NAMESPACE, &DeleteParams::default())
        .await
    {
        Err(error) if !gone(&error) => {
            Err(error).with_context(|| format!("delete namespace {NAMESPACE}"))
        }
        _ => Ok(()),
    }
}

/// Writes the pool.
pub async fn configure(client: &kube::Client, range: AddressRange) -> Result<()> {
    enable(client).await?;
    let pool = Pool {
        name: "default".to_owned(),
        protocol: "layer2".to_owned(),
        addresses: vec![range.to_string()],
    };
    let config = serde_saphyr::to_string(&Config {
        address_pools: vec![pool],
    })
    .context("encode the pool")?;
    let maps = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE);
    let object = ConfigMap {
        metadata: ObjectMeta {
            name: Some(CONFIG.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(KEY.to_owned(), config.clone())])),
        ..ConfigMap::default()
    };
    match maps.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let patch = Patch::Merge(json!({ "data": { KEY: config } }));
            maps.patch(CONFIG, &PatchParams::default(), &patch)
                .await
                .map(drop)
        }
        other => other.map(drop),
    }
    .context("write the LoadBalancer pool")
}

/// The ranges of the pools; empty when there are none.
pub async fn ranges(client: &kube::Client) -> Result<Vec<String>> {
    let maps = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE);
    let map = maps
        .get_opt(CONFIG)
        .await
        .context("get the LoadBalancer pool")?;
    let Some(text) = map.and_then(|map| map.data?.remove(KEY)) else {
        return Ok(Vec::new());
    };
    let config: Config = serde_saphyr::from_str(&text).context("decode the LoadBalancer pool")?;
    Ok(config
        .address_pools
        .into_iter()
        .flat_map(|pool| pool.addresses)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_two_addresses_in_order() {
        let range: AddressRange = "192.168.64.4 - 192.168.64.4"
            .parse()
            .expect("a range of one");
        assert_eq!(range.to_string(), "192.168.64.4-192.168.64.4");
        for text in ["", "192.168.64.4", "a-b", "192.168.64.0/24"] {
            assert_eq!(
                text.parse::<AddressRange>(),
                Err(InvalidRange::Form),
                "{text}"
            );
        }
        assert_eq!(
            "10.0.0.2-10.0.0.1".parse::<AddressRange>(),
            Err(InvalidRange::Order)
        );
    }

    #[test]
    fn the_pool_is_written_as_metallb_reads_it() {
        let pool = Pool {
            name: "default".to_owned(),
            protocol: "layer2".to_owned(),
            addresses: vec!["192.168.64.200-192.168.64.250".to_owned()],
        };
        let text = serde_saphyr::to_string(&Config {
            address_pools: vec![pool],
        })
        .expect("YAML");
        assert_eq!(
            text,
            "address-pools:\n- name: default\n  protocol: layer2\n  addresses:\n  - 192.168.64.200-192.168.64.250\n"
        );
    }
}
