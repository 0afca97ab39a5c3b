//! Random histories of Services, slices, restarts and faults: after each step, what answers in the kernel is
//! compared with what a small model of the rules says, written from the specification alone.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};

use ipnet::IpNet;
use karve_sys::link::{Netlink, Route};
use karve_sys::netns::NetNs;
use karve_sys::nft::{Batch, Element, Nft};
use serde_json::json;

use super::net::{
    CLIENT_IP, CLIENT_IP6, FAR_POD, FAR_POD6, NODE_IP, NODE_IP6, Net, PODS, PODS6, connect, echo,
    is_dropped, serve_tcp,
};
use crate::dataplane::Family;
use crate::kernel::{Kernel, Spoil};
use crate::objects::{Service, Site, Slice};
use crate::proxier::Proxier;
use crate::table::{Layout, Map, TABLE, nft_family};
use karve_watch::ObjectName;

const STEPS: usize = 40;
const PORT: u16 = 8080;
const FAMILIES: [Family; 2] = Family::BOTH;

/// A small generator (xorshift64*), so that a seed is a history.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// The addresses of one family.
struct Place {
    family: Family,
    node: &'static str,
    client: &'static str,
    pods: [&'static str; 3],
    far: &'static str,
    vips: [&'static str; 3],
    balancers: [&'static str; 3],
    external: &'static str,
    unallocated: &'static str,
}

fn place(family: Family) -> Place {
    match family {
        Family::V4 => Place {
            family,
            node: NODE_IP,
            client: CLIENT_IP,
            pods: PODS,
            far: FAR_POD,
            vips: ["10.96.0.50", "10.96.0.51", "10.96.0.52"],
            balancers: ["192.168.64.200", "192.168.64.201", "192.168.64.202"],
            external: "203.0.113.9",
            unallocated: "10.96.7.7",
        },
        Family::V6 => Place {
            family,
            node: NODE_IP6,
            client: CLIENT_IP6,
            pods: PODS6,
            far: FAR_POD6,
            vips: ["fd00:96::50", "fd00:96::51", "fd00:96::52"],
            balancers: ["fd00:64::200", "fd00:64::201", "fd00:64::202"],
            external: "2001:db8::9",
            unallocated: "fd00:96::77",
        },
    }
}

impl Place {
    fn layout(&self) -> Layout {
        let net = |v4: &str, v6: &str| match self.family {
            Family::V4 => v4.parse().expect("net"),
            Family::V6 => v6.parse().expect("net"),
        };
        Layout {
            family: self.family,
            cluster_cidrs: vec![net("10.244.0.0/16", "fd00:244::/48")],
            service_cidrs: vec![net("10.96.0.0/16", "fd00:96::/112")],
            node_port_addresses: Vec::new(),
        }
    }
}

/// An endpoint as the model knows it.
#[derive(Debug, Clone)]
struct End {
    ip: &'static str,
    here: bool,
    ready: bool,
    serving: bool,
    terminating: bool,
    zone: Option<&'static str>,
}

/// A Service as the model knows it.
#[derive(Debug, Clone, Default)]
struct Model {
    exists: bool,
    labelled: bool,
    kind: &'static str,
    internal_local: bool,
    external_local: bool,
    external: bool,
    range: Option<String>,
    ends: Vec<End>,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Pod(usize),
    Node,
    Client,
}

/// What becomes of a connection.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Refused,
    Dropped,
    /// Answered by one of these; the flag says whether the client's address is kept.
    Answered(BTreeSet<&'static str>, bool),
}

impl Model {
    fn wide(&self, zone: &str) -> BTreeSet<&'static str> {
        let ready: Vec<&End> = self.ends.iter().filter(|e| e.ready).collect();
        let hinted = ready.iter().all(|e| e.zone.is_some());
        let ours = ready.iter().any(|e| e.zone == Some(zone));
        let chosen = ready
            .iter()
            .filter(|e| !(hinted && ours) || e.zone == Some(zone));
        let chosen: BTreeSet<_> = chosen.map(|e| e.ip).collect();
        if !chosen.is_empty() {
            return chosen;
        }
        let leaving = self.ends.iter().filter(|e| e.serving && e.terminating);
        leaving.map(|e| e.ip).collect()
    }

    fn near(&self) -> BTreeSet<&'static str> {
        let here = || self.ends.iter().filter(|e| e.here);
        let ready: BTreeSet<_> = here().filter(|e| e.ready).map(|e| e.ip).collect();
        if !ready.is_empty() {
            return ready;
        }
        here()
            .filter(|e| e.serving && e.terminating)
            .map(|e| e.ip)
            .collect()
    }

    fn inside(&self, who: Who, zone: &str) -> Fate {
        let (wide, near) = (self.wide(zone), self.near());
        let any = self
            .ends
            .iter()
            .any(|e| e.ready || (e.serving && e.terminating));
        let kept = matches!(who, Who::Pod(_));
        match (any, self.internal_local) {
            (false, _) => Fate::Refused,
            (true, true) if near.is_empty() => Fate::Dropped,
            (true, true) => Fate::Answered(near, kept),
            (true, false) => Fate::Answered(wide, kept),
        }
    }

    fn outside(&self, who: Who, zone: &str) -> Fate {
        let (wide, near) = (self.wide(zone), self.near());
        if wide.is_empty() {
            return Fate::Refused;
        }
        match (self.external_local, who) {
            (false, _) => Fate::Answered(wide, false),
            (true, Who::Pod(_)) => Fate::Answered(wide, true),
            (true, Who::Node) => Fate::Answered(wide, false),
            (true, Who::Client) if near.is_empty() => Fate::Dropped,
            (true, Who::Client) => Fate::Answered(near, true),
        }
    }
}

struct History {
    place: Place,
    net: Net,
    proxier: Proxier,
    models: [Model; 3],
    zone: &'static str,
    dice: Dice,
    open: Vec<TcpStream>,
}

impl History {
    fn new(family: Family, seed: u64) -> Self {
        let (place, net) = (place(family), Net::new());
        for (pod, ip) in net.pods.iter().zip(place.pods) {
            serve_tcp(pod, &address(ip, PORT));
        }
        serve_tcp(&net.client, &address(place.far, PORT));
        let mut node = Netlink::open_in(&net.node).expect("open");
        let far = IpNet::from(place.far.parse::<IpAddr>().expect("ip"));
        let gateway = place.client.parse().expect("ip");
        node.add_route(&Route::by_gateway(far, gateway))
            .expect("route");
        let mut client = Netlink::open_in(&net.client).expect("open");
        for ip in place.balancers {
            let host = IpNet::from(ip.parse::<IpAddr>().expect("ip"));
            let by_node = Route::by_gateway(host, place.node.parse().expect("ip"));
            client.add_route(&by_node).expect("route");
        }
        let kernel = Kernel::open_in(&net.node, place.layout()).expect("open");
        Self {
            proxier: Proxier::new(kernel),
            models: Default::default(),
            zone: "a",
            dice: Dice(seed),
            open: Vec::new(),
            place,
            net,
        }
    }

    fn step(&mut self) -> String {
        let which = self.dice.below(3);
        match self.dice.below(12) {
            0..=2 => self.change_service(which),
            3..=6 => self.change_endpoints(which),
            7 => self.remove_service(which),
            8 => self.move_to_zone(),
            9 => self.restart(),
            10 => self.spoil_a_message(),
            _ => self.disturb(),
        }
    }

    fn change_service(&mut self, which: usize) -> String {
        let dice = &mut self.dice;
        let kind = ["ClusterIP", "NodePort", "LoadBalancer"][dice.below(3)];
        let external = which == 0 && dice.one_in(2);
        let range = (kind == "LoadBalancer" && dice.one_in(2)).then(|| {
            let ip = [self.place.client, self.place.pods[2], self.place.node][dice.below(3)];
            IpNet::from(ip.parse::<IpAddr>().expect("ip")).to_string()
        });
        let external_local = (kind != "ClusterIP" || external) && dice.one_in(2);
        let model = Model {
            exists: true,
            labelled: dice.one_in(8),
            kind,
            internal_local: dice.one_in(4),
            external_local,
            external,
            range,
            ends: std::mem::take(&mut self.models[which].ends),
        };
        let vip = self.place.vips[which];
        let policy = |local| if local { "Local" } else { "Cluster" };
        let labels = if model.labelled {
            json!({"service.kubernetes.io/service-proxy-name": "other"})
        } else {
            json!({})
        };
        let object = json!({
            "metadata": {"name": format!("s{which}"), "namespace": "default", "labels": labels},
            "spec": {
                "type": kind, "clusterIP": vip, "clusterIPs": [vip],
                "internalTrafficPolicy": policy(model.internal_local),
                "externalTrafficPolicy": policy(external_local),
                "externalIPs": if external { vec![self.place.external] } else { vec![] },
                "loadBalancerSourceRanges": model.range.iter().collect::<Vec<_>>(),
                "ports": [{"port": 80, "nodePort": 30080 + which}],
            },
            "status": {"loadBalancer": {"ingress": [{"ip": self.place.balancers[which], "ipMode": "VIP"}]}},
        });
        let object = serde_json::from_value(object).expect("a service");
        let parsed = Service::parse(&object, self.place.family);
        self.proxier.state.set_service(name(which), parsed);
        let told = format!("service {which}: {model:?}");
        self.models[which] = model;
        told
    }

    fn remove_service(&mut self, which: usize) -> String {
        self.proxier.state.set_service(name(which), None);
        self.models[which].exists = false;
        format!("service {which} goes")
    }

    fn change_endpoints(&mut self, which: usize) -> String {
        let [a, b, c] = self.place.pods;
        let mut ends = Vec::new();
        for (ip, here) in [(a, true), (b, true), (c, true), (self.place.far, false)] {
            if self.dice.one_in(2) {
                let (ready, serving, terminating) = [
                    (true, true, false),
                    (true, true, false),
                    (false, false, false),
                    (false, true, true),
                ][self.dice.below(4)];
                let zone = [Some("a"), Some("a"), Some("b"), None][self.dice.below(4)];
                ends.push(End {
                    ip,
                    here,
                    ready,
                    serving,
                    terminating,
                    zone,
                });
            }
        }
        let endpoints: Vec<_> = ends.iter().map(|end| {
            let node = if end.here { "node1" } else { "node2" };
            let zones: Vec<_> = end.zone.iter().map(|zone| json!({"name": zone})).collect();
            json!({
                "addresses": [end.ip], "nodeName": node, "hints": {"forZones": zones},
                "conditions": {"ready": end.ready, "serving": end.serving, "terminating": end.terminating},
            })
        }).collect();
        // In one slice or in two.
        let half = self.dice.below(endpoints.len() + 1);
        for (number, part) in [&endpoints[..half], &endpoints[half..]]
            .into_iter()
            .enumerate()
        {
            let slice = json!({
                "metadata": {
                    "name": format!("s{which}-{number}"), "namespace": "default",
                    "labels": {"kubernetes.io/service-name": format!("s{which}")},
                },
                "addressType": self.place.family.name(),
                "ports": [{"name": "", "port": PORT, "protocol": "TCP"}],
                "endpoints": part,
            });
            let slice = serde_json::from_value(slice).expect("a slice");
            let parsed = Slice::parse(&slice, "node1");
            let name = ObjectName::new("default", &format!("s{which}-{number}"));
            self.proxier.state.set_slice(name, parsed);
        }
        let told = format!("endpoints {which}: {ends:?}");
        self.models[which].ends = ends;
        told
    }

    fn move_to_zone(&mut self) -> String {
        self.zone = ["a", "b", "c"][self.dice.below(3)];
        self.tell_site();
        format!("zone {}", self.zone)
    }

    fn tell_site(&mut self) {
        self.proxier.state.set_site(Site {
            node: "node1".to_owned(),
            zone: Some(self.zone.to_owned()),
            addresses: vec![self.place.node.parse().expect("ip")],
            leaving: false,
        });
    }

    /// A new process finds the table as it should be, and changes nothing.
    fn restart(&mut self) -> String {
        self.proxier.sync().expect("in step before");
        let kernel = Kernel::open_in(&self.net.node, self.place.layout()).expect("open");
        let mut restarted = Proxier::new(kernel);
        restarted.state = self.proxier.state.restarted();
        assert_eq!(
            restarted.sync().expect("sync"),
            None,
            "a restart changes nothing"
        );
        self.proxier = restarted;
        "restart".to_owned()
    }

    /// The kernel refuses the next transaction at some message.
    fn spoil_a_message(&mut self) -> String {
        let message = self.dice.below(6);
        self.proxier.kernel.spoil = Some(Spoil::Message(message));
        let which = self.dice.below(3);
        format!("message {message} spoilt; {}", self.change_endpoints(which))
    }

    /// Somebody else changes our table.
    fn disturb(&mut self) -> String {
        let family = nft_family(self.place.family);
        let mut nft = Nft::open_in(&self.net.node).expect("open");
        let mut batch = Batch::new(family);
        let told = match self.dice.below(3) {
            0 => {
                batch.delete_table(TABLE);
                // Without any table nothing translates the packets that fall into the gap.
                self.open.clear();
                "table"
            }
            1 => {
                batch.flush_chain(TABLE, "services");
                "chain"
            }
            _ => {
                let map = [Map::ServiceIps, Map::Endpoints, Map::ClusterIps][self.dice.below(3)];
                let elements = nft.elements(family, TABLE, map.name()).unwrap_or_default();
                let first = elements
                    .into_iter()
                    .next()
                    .map(|element| Element::key(element.key));
                batch.delete_elements(TABLE, map.name(), first);
                "element"
            }
        };
        // There may be no table yet.
        let _ = nft.commit(batch);
        self.proxier.doubt();
        format!("{told} removed by somebody")
    }

    fn check(&mut self) {
        // A fault that hits the making of a whole table leaves the old one to the next try.
        if self.proxier.sync().is_err() {
            self.proxier.sync().expect("in step");
        }
        for stream in &mut self.open {
            assert_eq!(
                echo(stream).expect("an established connection lives on"),
                "hello"
            );
        }
        for _ in 0..6 {
            let who = [Who::Pod(self.dice.below(3)), Who::Node, Who::Client][self.dice.below(3)];
            let which = self.dice.below(3);
            let (to, fate) = self.target(who, which);
            if let Some(to) = to {
                self.probe(who, &to, fate);
            }
        }
    }

    /// An address of a Service, and what the model says becomes of a connection to it.
    fn target(&mut self, who: Who, which: usize) -> (Option<String>, Fate) {
        let (model, place) = (&self.models[which], &self.place);
        let proxied = model.exists && !model.labelled;
        let vip = place.vips[which];
        match self.dice.below(6) {
            0 if proxied => (Some(address(vip, 80)), model.inside(who, self.zone)),
            0 => (Some(address(vip, 80)), Fate::Dropped),
            1 if proxied => (Some(address(vip, 81)), Fate::Refused),
            2 if proxied && model.kind != "ClusterIP" => {
                let port = 30080 + which as u16;
                (
                    Some(address(place.node, port)),
                    model.outside(who, self.zone),
                )
            }
            2 => (
                Some(address(place.node, 30080 + which as u16)),
                Fate::Refused,
            ),
            3 if proxied && model.kind == "LoadBalancer" => {
                let fate = if self.lets_in(model, who) {
                    model.outside(who, self.zone)
                } else {
                    Fate::Dropped
                };
                (Some(address(place.balancers[which], 80)), fate)
            }
            4 if proxied && model.external => (
                Some(address(place.external, 80)),
                model.outside(who, self.zone),
            ),
            5 => (Some(address(place.unallocated, 80)), Fate::Dropped),
            _ => (None, Fate::Refused),
        }
    }

    fn lets_in(&self, model: &Model, who: Who) -> bool {
        let ip: IpAddr = self.ip_of(who).parse().expect("ip");
        let range = model
            .range
            .as_ref()
            .map(|range| range.parse::<IpNet>().expect("net"));
        range.is_none_or(|range| range.contains(&ip))
    }

    fn ip_of(&self, who: Who) -> &'static str {
        match who {
            Who::Pod(pod) => self.place.pods[pod],
            Who::Node => self.place.node,
            Who::Client => self.place.client,
        }
    }

    fn netns(&self, who: Who) -> &NetNs {
        match who {
            Who::Pod(pod) => &self.net.pods[pod],
            Who::Node => &self.net.node,
            Who::Client => &self.net.client,
        }
    }

    fn probe(&mut self, who: Who, to: &str, fate: Fate) {
        let from = self.netns(who);
        match fate {
            Fate::Dropped => {
                let barrier = address(self.place.pods[0], PORT);
                assert!(
                    is_dropped(from, to, &barrier),
                    "{who:?} to {to}: not dropped"
                );
            }
            Fate::Refused => match connect(from, to) {
                Ok((_, server, _)) => panic!("{who:?} to {to}: {server} answers, nobody should"),
                Err(err) => {
                    assert_eq!(
                        err.kind(),
                        ErrorKind::ConnectionRefused,
                        "{who:?} to {to}: {err}"
                    );
                }
            },
            Fate::Answered(servers, kept) => {
                let (stream, server, client) = connect(from, to)
                    .unwrap_or_else(|err| panic!("{who:?} to {to}: {err}, not {servers:?}"));
                let server: SocketAddr = server.parse().expect("address");
                let server = server.ip().to_string();
                assert!(
                    servers.contains(server.as_str()),
                    "{who:?} to {to}: {server} not in {servers:?}"
                );
                let itself = self.ip_of(who) == server;
                let seen = if kept && !itself {
                    self.ip_of(who)
                } else {
                    self.place.node
                };
                assert_eq!(
                    client, seen,
                    "{who:?} to {to} at {server}: the client's address"
                );
                if self.open.len() < 8 {
                    self.open.push(stream);
                }
            }
        }
    }
}

fn name(which: usize) -> ObjectName {
    ObjectName::new("default", &format!("s{which}"))
}

fn address(ip: &str, port: u16) -> String {
    SocketAddr::new(ip.parse().expect("ip"), port).to_string()
}

#[track_caller]
fn play(family: Family, seed: u64) {
    let mut history = History::new(family, seed);
    history.tell_site();
    let mut told = Vec::new();
    for _ in 0..STEPS {
        told.push(history.step());
        // What fails says after which steps.
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| history.check()));
        if let Err(panic) = checked {
            panic!(
                "{family:?}, seed {seed}, after\n{}\n{panic:?}",
                told.join("\n")
            );
        }
    }
}

#[test]
fn what_answers_is_what_the_rules_say() {
    let seeds = std::env::var("KARVE_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(4);
    for seed in 1..=seeds {
        for family in FAMILIES {
            play(family, seed * 0x9E37_79B9);
        }
    }
}
