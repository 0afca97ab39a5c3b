//! The rules that pick an endpoint, with and without session affinity.

use std::time::Duration;

use karve_sys::nft::{Batch, DynsetOp, Expr, Nat, Register};

use super::rules::{Rules, map};
use super::{AFFINITY, Map, Pick, TABLE, Via, nft_family};

impl Rules<'_> {
    /// Appends the choice of an endpoint.
    pub(super) fn add_pick(&self, batch: &mut Batch, chain: &str, pick: Pick) {
        if let Some(seconds) = pick.affinity {
            self.add_known_clients(batch, chain, pick, seconds);
            self.add_new_clients(batch, chain, pick, seconds);
            return;
        }
        let choose = [
            self.service_port(pick.via),
            self.choose(pick, Map::Endpoints, self.at.endpoint),
            vec![self.dnat()],
        ];
        batch.add_rule(TABLE, chain, comment(pick.via), &choose.concat());
    }

    /// Appends the rule for clients that have been here and whose endpoint is still there.
    fn add_known_clients(&self, batch: &mut Batch, chain: &str, pick: Pick, seconds: u32) {
        let at = self.at;
        let endpoints = Map::affinity_endpoints(pick.list).name();
        let stay = vec![
            self.load_ip(at.saddr, at.after),
            Expr::MapLookup {
                set: AFFINITY.into(),
                sreg: at.service,
                dreg: at.pad,
            },
            self.settle(),
            Expr::Lookup {
                set: endpoints.into(),
                sreg: at.endpoint,
                invert: false,
            },
            // Starts its time anew. One that went this instant is made again as it was.
            self.affinity(DynsetOp::Update, Some(seconds)),
            self.dnat(),
        ];
        let known = [self.service_port(pick.via), self.blank_endpoint(), stay].concat();
        let comment = "known clients: endpoint by @affinity";
        batch.add_rule(TABLE, chain, comment, &known);
    }

    /// Appends the rules for all other clients.
    fn add_new_clients(&self, batch: &mut Batch, chain: &str, pick: Pick, seconds: u32) {
        let choose = self.choose(pick, Map::AffinityPicks, self.at.pad);
        let settle = vec![self.settle()];
        let prepare = [
            self.service_port(pick.via),
            self.blank_endpoint(),
            choose,
            settle,
        ]
        .concat();
        // An element keeps its data when it is added again, so one with a former endpoint goes first.
        let remember = vec![
            self.load_ip(self.at.saddr, self.at.after),
            self.affinity(DynsetOp::Delete, None),
            self.affinity(DynsetOp::Add, Some(seconds)),
            self.dnat(),
        ];
        let new = [prepare.clone(), remember].concat();
        batch.add_rule(
            TABLE,
            chain,
            "new clients: endpoint by @affinity-picks",
            &new,
        );
        // A full map ends the rule before; such a client is served without being remembered.
        let other = [prepare, vec![self.dnat()]].concat();
        let comment = "no room to remember: endpoint by @affinity-picks";
        batch.add_rule(TABLE, chain, comment, &other);
    }

    /// Changes what is remembered of the client.
    fn affinity(&self, op: DynsetOp, seconds: Option<u32>) -> Expr {
        let timeout = seconds.map(|seconds| Duration::from_secs(u64::from(seconds)));
        Expr::Dynset {
            set: AFFINITY.into(),
            op,
            key: self.at.service,
            data: Some(self.at.pad),
            timeout,
        }
    }

    /// Loads a random endpoint of the service port.
    fn choose(&self, pick: Pick, endpoints: Map, dreg: Register) -> Vec<Expr> {
        let (modulus, offset) = (u32::from(pick.count), pick.list.offset());
        let number = Expr::NumgenRandom {
            dreg: self.at.after,
            modulus,
            offset,
        };
        vec![number, map(endpoints, self.at.service, dreg)]
    }

    /// Zeroes a padded endpoint, so that `nft` knows how long its parts are.
    fn blank_endpoint(&self) -> Vec<Expr> {
        let at = self.at;
        let blank = |(dreg, len): (Register, u32)| Expr::Immediate {
            dreg,
            value: vec![0; len as usize],
        };
        let parts = [(at.pad, 4), (at.endpoint, at.ip_len), (at.endpoint_port, 2)];
        parts.into_iter().map(blank).collect()
    }

    /// Loads the pad again after a map has given a padded endpoint: the same zero, but `nft` takes a map's
    /// result to be zero bytes long and aborts when that goes into a set.
    fn settle(&self) -> Expr {
        Expr::Immediate {
            dreg: self.at.pad,
            value: vec![0; 4],
        }
    }

    fn dnat(&self) -> Expr {
        Expr::Nat {
            kind: Nat::Destination,
            family: nft_family(self.layout.family),
            addr: self.at.endpoint,
            port: Some(self.at.endpoint_port),
        }
    }
}

/// What `nft` cannot print of [`Rules::service_port`].
fn comment(via: Via) -> &'static str {
    match via {
        Via::ClusterIp => "",
        Via::ExternalIp => "service by @external-ips",
        Via::NodePort => "service by @nodeports",
    }
}
