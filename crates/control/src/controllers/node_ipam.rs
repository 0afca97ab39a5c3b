//! A range of pod addresses for every node.
//!
//! Node `…N` gets the N-th /24 of the cluster's range if it is free, so that
//! addresses tell where a pod runs; other nodes get the first free one. The
//! first block is left for the time when all others are taken.

use std::collections::HashSet;

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Node;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::{
    event::Kind,
    queue::{Outcome, Queue},
    watch::Key,
    write::{self, Part, Writer},
};

/// The prefix length of a node's range; upstream's default.
const NODE_PREFIX: u8 = 24;
/// How often secrets and config maps may be stale: no longer read by anyone,
/// but the annotation is part of what a Node shows.
const TTL_ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";

/// Runs the controller until shutdown.
pub(super) async fn run(context: Context, cluster: Ipv4Net, shutdown: CancellationToken) {
    let queue: Queue<Key> = Queue::new();
    let changed = queue.clone();
    context.kinds.nodes.subscribe(move |change| {
        if let Some(node) = change.new
            && needs_work(node)
        {
            changed.add(Key::of(&**node));
        }
    });
    let nodes = Writer::new(&context.client, &context.kinds.nodes);
    let reconcile = move |key: Key| {
        let (context, nodes) = (context.clone(), nodes.clone());
        async move { reconcile(&context, &nodes, cluster, &key).await }
    };
    // One at a time: a range is taken once its node is in the store.
    queue.run("node-ipam", 1, shutdown, reconcile).await;
}

fn range_of(node: &Node) -> Option<&str> {
    let range = node.spec.as_ref()?.pod_cidr.as_deref()?;
    (!range.is_empty()).then_some(range)
}

fn needs_work(node: &Node) -> bool {
    let annotations = node.metadata.annotations.as_ref();
    let has_ttl = annotations.is_some_and(|all| all.contains_key(TTL_ANNOTATION));
    range_of(node).is_none() || !has_ttl
}

async fn reconcile(
    context: &Context,
    nodes: &Writer<Node>,
    cluster: Ipv4Net,
    key: &Key,
) -> Result<Outcome, write::Error> {
    let Some(node) = context.kinds.nodes.get(key).filter(|node| needs_work(node)) else {
        return Ok(Outcome::Settled);
    };
    let mut patch = json!({"metadata": {
        "resourceVersion": node.metadata.resource_version,
        "annotations": {TTL_ANNOTATION: "0"},
    }});
    if range_of(&node).is_none() {
        let all = context.kinds.nodes.all();
        let taken: HashSet<Ipv4Net> = all
            .iter()
            .filter_map(|node| range_of(node)?.parse().ok())
            .collect();
        match choose(cluster, &key.name, &taken) {
            Some(range) => {
                let range = range.to_string();
                patch["spec"] = json!({"podCIDR": range, "podCIDRs": [range]});
            }
            None => {
                let message = format!("Node {} status is now: CIDRNotAvailable", key.name);
                let recorder = context.recorder.component("cidrAllocator");
                recorder.record(&*node, Kind::Normal, "CIDRNotAvailable", message);
            }
        }
    }
    match nodes.merge(key, Part::Main, patch).await {
        Err(err) if !err.is_not_found() => Err(err),
        _ => Ok(Outcome::Settled),
    }
}

/// A free range for the node of this name.
fn choose(cluster: Ipv4Net, node: &str, taken: &HashSet<Ipv4Net>) -> Option<Ipv4Net> {
    let is_free = |range: &Ipv4Net| !taken.contains(range);
    let mut ranges = cluster
        .subnets(NODE_PREFIX.max(cluster.prefix_len()))
        .ok()?;
    let digits = node.trim_start_matches(|c: char| !c.is_ascii_digit());
    let number = digits.parse::<usize>().ok().filter(|number| *number > 0);
    let own = number.and_then(|number| ranges.clone().nth(number));
    let first = ranges.next();
    own.into_iter().chain(ranges).chain(first).find(is_free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_gets_the_range_of_its_number_or_the_first_free_one() {
        let cluster: Ipv4Net = "10.244.0.0/16".parse().unwrap();
        let small: Ipv4Net = "10.244.0.0/23".parse().unwrap();
        let table: [(Ipv4Net, &str, &[&str], Option<&str>); 9] = [
            (cluster, "node1", &[], Some("10.244.1.0/24")),
            (cluster, "node2", &[], Some("10.244.2.0/24")),
            (cluster, "node2", &["10.244.2.0/24"], Some("10.244.1.0/24")),
            (cluster, "web", &["10.244.1.0/24"], Some("10.244.2.0/24")),
            (cluster, "node900", &[], Some("10.244.1.0/24")),
            (cluster, "node0", &[], Some("10.244.1.0/24")),
            (small, "node1", &[], Some("10.244.1.0/24")),
            (small, "node2", &["10.244.1.0/24"], Some("10.244.0.0/24")),
            (small, "node3", &["10.244.0.0/24", "10.244.1.0/24"], None),
        ];
        for (cluster, node, taken, expected) in table {
            let taken = taken.iter().map(|range| range.parse().unwrap()).collect();
            let expected = expected.map(|range| range.parse().unwrap());
            assert_eq!(choose(cluster, node, &taken), expected, "{node} {taken:?}");
        }
    }
}
