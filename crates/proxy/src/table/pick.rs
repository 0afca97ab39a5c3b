//! The rules that pick an endpoint, with and without session affinity.
//!
//! Registers: 2-3 the endpoint, 4-6 the service port, 7 the number of the endpoint or the client. A
//! map's result starts one register earlier when it goes on into a key (see [`super::PAD`]).

use std::time::Duration;

use karve_sys::nft::{Batch, DynsetOp, Expr, Nat, Register};

use super::rules::{SADDR_OFFSET, SERVICE, SERVICE_PROTOCOL, destination, load_ip, map};
use super::{AFFINITY, FAMILY, Map, Pick, TABLE, Via};

const ENDPOINT: Register = Register::new(2);
const ENDPOINT_PORT: Register = Register::new(3);
const NUMBER: Register = Register::new(7);
/// Behind the service port too, so that both make up the key of [`AFFINITY`].
const CLIENT: Register = NUMBER;
/// The pads before the service port and before the endpoint, and a second one before that.
const PADDED_SERVICE: Register = Register::new(3);
const PADDED_ENDPOINT: Register = Register::new(1);
const TWICE_PADDED_ENDPOINT: Register = Register::new(0);
const FOUND: [Register; 3] = [PADDED_ENDPOINT, ENDPOINT, ENDPOINT_PORT];
const BLANK: [Register; 3] = [Register::new(8), Register::new(9), Register::new(10)];

/// Appends the choice of an endpoint.
pub(super) fn add(batch: &mut Batch, chain: &str, pick: Pick) {
    if let Some(seconds) = pick.affinity {
        add_known_clients(batch, chain, pick, seconds);
        add_new_clients(batch, chain, pick, seconds);
        return;
    }
    let choose = [
        service_port(pick.via),
        choose(pick, Map::Endpoints, ENDPOINT),
        vec![dnat()],
    ];
    batch.add_rule(TABLE, chain, comment(pick.via), &choose.concat());
}

/// Appends the rule for clients that have been here and whose endpoint is still there.
fn add_known_clients(batch: &mut Batch, chain: &str, pick: Pick, seconds: u32) {
    let endpoints = Map::affinity_endpoints(pick.list).name();
    let mut stay = blank_endpoint(BLANK);
    stay.extend([
        load_ip(SADDR_OFFSET, CLIENT),
        Expr::MapLookup {
            set: AFFINITY.into(),
            sreg: SERVICE,
            dreg: PADDED_ENDPOINT,
        },
        Expr::Lookup {
            set: endpoints.into(),
            sreg: ENDPOINT,
            invert: false,
        },
        // An element that is there keeps its data. One that went this instant is made with zeroes,
        // which are no endpoint, so that the client is then a new one.
        affinity(DynsetOp::Update, BLANK[0], Some(seconds)),
        dnat(),
    ]);
    let known = [service_port(pick.via), blank_endpoint(FOUND), stay];
    batch.add_rule(
        TABLE,
        chain,
        "known clients: endpoint by @affinity",
        &known.concat(),
    );
}

/// Appends the rules for all other clients.
fn add_new_clients(batch: &mut Batch, chain: &str, pick: Pick, seconds: u32) {
    let choose = choose(pick, Map::AffinityPicks, TWICE_PADDED_ENDPOINT);
    let prepare = [service_port(pick.via), blank_endpoint(FOUND), choose].concat();
    // An element keeps its data when it is added again, so one with a former endpoint goes first.
    let remember = vec![
        load_ip(SADDR_OFFSET, CLIENT),
        affinity(DynsetOp::Delete, PADDED_ENDPOINT, None),
        affinity(DynsetOp::Add, PADDED_ENDPOINT, Some(seconds)),
        dnat(),
    ];
    let new = [prepare.clone(), remember].concat();
    batch.add_rule(
        TABLE,
        chain,
        "new clients: endpoint by @affinity-picks",
        &new,
    );
    // A full map ends the rule before; such a client is served without being remembered.
    let other = [prepare, vec![dnat()]].concat();
    batch.add_rule(
        TABLE,
        chain,
        "no room to remember: endpoint by @affinity-picks",
        &other,
    );
}

/// Changes what is remembered of the client.
fn affinity(op: DynsetOp, data: Register, seconds: Option<u32>) -> Expr {
    let timeout = seconds.map(|seconds| Duration::from_secs(u64::from(seconds)));
    Expr::Dynset {
        set: AFFINITY.into(),
        op,
        key: SERVICE,
        data: Some(data),
        timeout,
    }
}

/// Loads a random endpoint of the service port.
fn choose(pick: Pick, endpoints: Map, dreg: Register) -> Vec<Expr> {
    let (modulus, offset) = (u32::from(pick.count), pick.list.offset());
    let number = Expr::NumgenRandom {
        dreg: NUMBER,
        modulus,
        offset,
    };
    vec![number, map(endpoints, SERVICE, dreg)]
}

/// Zeroes a padded endpoint, so that `nft` knows how long its parts are.
fn blank_endpoint(registers: [Register; 3]) -> Vec<Expr> {
    let blank = |(dreg, len): (Register, usize)| Expr::Immediate {
        dreg,
        value: vec![0; len],
    };
    registers.into_iter().zip([4, 4, 2]).map(blank).collect()
}

fn dnat() -> Expr {
    Expr::Nat {
        kind: Nat::Destination,
        family: FAMILY,
        addr: ENDPOINT,
        port: Some(ENDPOINT_PORT),
    }
}

/// Loads the service port that the packet means.
fn service_port(via: Via) -> Vec<Expr> {
    let mut exprs = destination();
    match via {
        Via::ClusterIp => {}
        Via::ExternalIp => exprs.push(map(Map::ExternalIps, SERVICE, PADDED_SERVICE)),
        Via::NodePort => exprs.push(map(Map::NodePorts, SERVICE_PROTOCOL, PADDED_SERVICE)),
    }
    exprs
}

/// What `nft` cannot print of [`service_port`].
fn comment(via: Via) -> &'static str {
    match via {
        Via::ClusterIp => "",
        Via::ExternalIp => "service by @external-ips",
        Via::NodePort => "service by @nodeports",
    }
}
