//! Real traffic through real tables.

mod faults;
mod history;
mod net;
mod paths;
mod spread;

use std::collections::BTreeSet;
use std::io::ErrorKind;

use karve_sys::netns::NetNs;
use karve_sys::nft::{self, Batch, Nft};
use karve_watch::ObjectName;
use serde_json::json;

use self::net::{
    CLIENT_IP, NODE_IP, Net, PODS, ask, connect, echo, serve_tcp, serve_udp, udp_client,
};
use super::*;
use crate::objects::{Service, Slice};
use crate::table::{Layout, TABLE};

const VIP: &str = "10.96.0.50";
const EXTERNAL: &str = "192.168.64.200";

fn layout() -> Layout {
    Layout {
        family: Family::V4,
        cluster_cidrs: vec!["10.244.0.0/16".parse().expect("net")],
        service_cidrs: vec!["10.96.0.0/16".parse().expect("net")],
        node_port_addresses: Vec::new(),
    }
}

/// A proxy in `node` without objects.
fn proxy(node: &NetNs) -> Proxier {
    Proxier::new(Kernel::open_in(node, layout()).expect("open kernel"))
}

/// The Service `default/NAME` with one port, merged with `spec`.
fn set_service(proxier: &mut Proxier, name: &str, cluster_ip: &str, spec: serde_json::Value) {
    let mut object = json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "type": "ClusterIP", "clusterIP": cluster_ip, "clusterIPs": [cluster_ip],
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 8080}],
        },
    });
    let (spec_now, more) = (object["spec"].as_object_mut().expect("object"), spec);
    spec_now.extend(more.as_object().expect("object").clone());
    if spec_now["type"] == "LoadBalancer" {
        object["status"] =
            json!({"loadBalancer": {"ingress": [{"ip": EXTERNAL, "ipMode": "VIP"}]}});
    }
    let object = serde_json::from_value(object).expect("a service");
    let service = Service::parse(&object, proxier.family());
    let name = ObjectName::new("default", name);
    proxier.state.set_service(name, service);
}

/// The Service's only EndpointSlice: `(address, ready)` on this node.
fn set_endpoints(proxier: &mut Proxier, name: &str, protocol: &str, endpoints: &[(&str, bool)]) {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|(ip, ready)| {
            let conditions = json!({"ready": ready, "serving": ready, "terminating": false});
            json!({"addresses": [ip], "conditions": conditions, "nodeName": "node1"})
        })
        .collect();
    let slice = serde_json::from_value(json!({
        "metadata": {
            "name": format!("{name}-abc"), "namespace": "default",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080, "protocol": protocol}],
        "endpoints": endpoints,
    }))
    .expect("a slice");
    let parsed = Slice::parse(&slice, "node1");
    proxier
        .state
        .set_slice(ObjectName::new("default", &format!("{name}-abc")), parsed);
}

fn node_port(kind: &str) -> serde_json::Value {
    json!({
        "type": kind,
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 8080, "nodePort": 30080}],
    })
}

/// Servers in the first two pods, and a Service with both as endpoints.
fn two_endpoints(spec: serde_json::Value) -> (Net, Proxier) {
    let net = Net::new();
    for (pod, ip) in net.pods.iter().zip(PODS).take(2) {
        serve_tcp(pod, &format!("{ip}:8080"));
    }
    let mut proxier = proxy(&net.node);
    set_service(&mut proxier, "web", VIP, spec);
    set_endpoints(
        &mut proxier,
        "web",
        "TCP",
        &[(PODS[0], true), (PODS[1], true)],
    );
    proxier.sync().expect("sync");
    (net, proxier)
}

/// The servers that answer, and the client addresses that they see, in many connections.
fn answers(from: &NetNs, to: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let connections = (0..64).map(|_| connect(from, to).expect("connect"));
    connections
        .map(|(_, server, client)| (server, client))
        .unzip()
}

fn both() -> BTreeSet<String> {
    PODS[..2].iter().map(|ip| format!("{ip}:8080")).collect()
}

fn only<T: Ord>(one: T) -> BTreeSet<T> {
    BTreeSet::from([one])
}

#[test]
fn a_cluster_ip_spreads_over_its_endpoints() {
    let (net, _proxier) = two_endpoints(json!({}));
    let to = format!("{VIP}:80");
    assert_eq!(
        answers(&net.pods[2], &to),
        (both(), only(PODS[2].to_owned())),
        "pods keep their address"
    );
    assert_eq!(answers(&net.node, &to), (both(), only(NODE_IP.to_owned())));
    assert_eq!(
        answers(&net.client, &to),
        (both(), only(NODE_IP.to_owned())),
        "off-cluster clients are masqueraded"
    );
}

#[test]
fn a_node_port_answers_on_the_nodes_addresses() {
    let (net, _proxier) = two_endpoints(node_port("NodePort"));
    let to = format!("{NODE_IP}:30080");
    for from in [&net.client, &net.node, &net.pods[2]] {
        assert_eq!(answers(from, &to), (both(), only(NODE_IP.to_owned())));
    }
    let loopback = connect(&net.node, "127.0.0.1:30080").expect_err("not on loopback");
    assert_eq!(loopback.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_load_balancer_address_answers_everywhere() {
    let (net, _proxier) = two_endpoints(node_port("LoadBalancer"));
    let to = format!("{EXTERNAL}:80");
    // The client reaches it by its default route, as by the announcing node's ARP answer.
    let mut rt = karve_sys::link::Netlink::open_in(&net.client).expect("open");
    let host = format!("{EXTERNAL}/32").parse().expect("net");
    let by_node = karve_sys::link::Route::by_gateway(host, NODE_IP.parse().expect("ip"));
    rt.add_route(&by_node).expect("route");
    for from in [&net.client, &net.node, &net.pods[2]] {
        assert_eq!(answers(from, &to), (both(), only(NODE_IP.to_owned())));
    }
}

#[test]
fn a_nodes_own_address_may_be_a_services_too() {
    let (net, _proxier) = two_endpoints(json!({"externalIPs": [NODE_IP]}));
    serve_tcp(&net.node, &format!("{NODE_IP}:8081"));
    let to = format!("{NODE_IP}:80");
    for from in [&net.client, &net.node, &net.pods[2]] {
        assert_eq!(answers(from, &to), (both(), only(NODE_IP.to_owned())));
        let (_, server, _) = connect(from, &format!("{NODE_IP}:8081")).expect("the node itself");
        assert_eq!(server, format!("{NODE_IP}:8081"));
        let error = connect(from, &format!("{NODE_IP}:81")).expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
}

#[test]
fn an_endpoint_reaches_itself() {
    let (net, mut proxier) = two_endpoints(json!({}));
    set_endpoints(&mut proxier, "web", "TCP", &[(PODS[0], true)]);
    proxier.sync().expect("sync");
    let (_, server, client) = connect(&net.pods[0], &format!("{VIP}:80")).expect("connect");
    assert_eq!(server, format!("{}:8080", PODS[0]));
    assert_eq!(
        client, NODE_IP,
        "masqueraded, or the pod would answer itself directly"
    );
}

#[test]
fn a_service_without_endpoints_refuses() {
    let (net, mut proxier) = two_endpoints(node_port("NodePort"));
    set_endpoints(&mut proxier, "web", "TCP", &[(PODS[0], false)]);
    proxier.sync().expect("sync");
    let (vip, node_port) = (format!("{VIP}:80"), format!("{NODE_IP}:30080"));
    for from in [&net.pods[2], &net.node, &net.client] {
        for to in [&vip, &node_port] {
            let error = connect(from, to).expect_err("nobody there");
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{to}: {error}");
        }
    }
    set_endpoints(&mut proxier, "web", "TCP", &[(PODS[0], true)]);
    proxier.sync().expect("sync");
    connect(&net.pods[2], &vip).expect("serves again");
}

#[test]
fn other_ports_of_a_cluster_ip_are_refused() {
    let (net, _proxier) = two_endpoints(json!({}));
    let error = connect(&net.pods[2], &format!("{VIP}:81")).expect_err("no such port");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let socket = udp_client(&net.pods[2], &format!("{VIP}:80"));
    let error = ask(&socket).expect_err("TCP only");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_deleted_service_is_gone() {
    let (net, mut proxier) = two_endpoints(node_port("NodePort"));
    proxier
        .state
        .set_service(ObjectName::new("default", "web"), None);
    proxier.sync().expect("sync");
    let error = connect(&net.client, &format!("{NODE_IP}:30080")).expect_err("no such port");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let mut nft = Nft::open_in(&net.node).expect("open");
    let chains = nft.chains(nft::Family::Ip, TABLE).expect("chains");
    assert!(
        chains
            .iter()
            .all(|chain| crate::table::is_fixed_chain(&chain.name)),
        "{chains:?}"
    );
}

#[test]
fn an_established_connection_outlives_its_endpoint() {
    let (net, mut proxier) = two_endpoints(json!({}));
    let to = format!("{VIP}:80");
    let (mut stream, server, _) = connect(&net.pods[2], &to).expect("connect");
    let (gone, left) = if server.starts_with(PODS[0]) {
        (PODS[0], PODS[1])
    } else {
        (PODS[1], PODS[0])
    };
    set_endpoints(&mut proxier, "web", "TCP", &[(gone, false), (left, true)]);
    proxier.sync().expect("sync");
    assert_eq!(echo(&mut stream).expect("still open"), "hello");
    assert_eq!(answers(&net.pods[2], &to).0, only(format!("{left}:8080")));
}

#[test]
fn udp_flows_leave_an_endpoint_that_goes() {
    let net = Net::new();
    for (pod, ip) in net.pods.iter().zip(PODS).take(2) {
        serve_udp(pod, &format!("{ip}:8080"));
    }
    let mut proxier = proxy(&net.node);
    let ports = json!([{"port": 53, "protocol": "UDP", "targetPort": 8080, "nodePort": 30053}]);
    set_service(
        &mut proxier,
        "dns",
        VIP,
        json!({"type": "NodePort", "ports": ports}),
    );
    set_endpoints(&mut proxier, "dns", "UDP", &[(PODS[0], true)]);
    proxier.sync().expect("sync");
    let inside = udp_client(&net.pods[2], &format!("{VIP}:53"));
    let outside = udp_client(&net.client, &format!("{NODE_IP}:30053"));
    for socket in [&inside, &outside] {
        assert_eq!(ask(socket).expect("answer"), format!("{}:8080", PODS[0]));
    }
    set_endpoints(&mut proxier, "dns", "UDP", &[(PODS[1], true)]);
    proxier.sync().expect("sync");
    for socket in [&inside, &outside] {
        assert_eq!(
            ask(socket).expect("answer"),
            format!("{}:8080", PODS[1]),
            "the same socket"
        );
    }
    set_endpoints(&mut proxier, "dns", "UDP", &[]);
    proxier.sync().expect("sync");
    let refused = ask(&udp_client(&net.pods[2], &format!("{VIP}:53"))).expect_err("nobody there");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_restarted_proxy_adopts_what_it_finds() {
    let (net, mut proxier) = two_endpoints(node_port("LoadBalancer"));
    // Numbers that a first plan would not give: the endpoints are not sorted.
    set_endpoints(
        &mut proxier,
        "web",
        "TCP",
        &[(PODS[1], true), (PODS[2], true)],
    );
    proxier.sync().expect("sync");
    set_endpoints(
        &mut proxier,
        "web",
        "TCP",
        &[(PODS[0], true), (PODS[1], true), (PODS[2], true)],
    );
    assert!(proxier.sync().expect("sync").is_some());
    let state = proxier.state;
    let mut restarted = proxy(&net.node);
    restarted.state = state.restarted();
    assert_eq!(restarted.sync().expect("sync"), None, "nothing to change");
    assert_eq!(restarted.sync().expect("sync"), None);
}

#[test]
fn a_flushed_table_is_made_anew_at_the_next_change() {
    let (net, mut proxier) = two_endpoints(json!({}));
    let mut batch = Batch::new(nft::Family::Ip);
    batch.delete_table(TABLE);
    Nft::open_in(&net.node)
        .expect("open")
        .commit(batch)
        .expect("flush");
    set_endpoints(&mut proxier, "web", "TCP", &[(PODS[1], true)]);
    assert!(proxier.sync().expect("sync").is_some());
    assert_eq!(
        answers(&net.pods[2], &format!("{VIP}:80")).0,
        only(format!("{}:8080", PODS[1]))
    );
}

#[test]
fn one_changed_endpoint_among_many_services_is_a_small_transaction() {
    let net = Net::new();
    let mut proxier = proxy(&net.node);
    for n in 0..1000 {
        let name = format!("web-{n}");
        let cluster_ip = format!("10.96.{}.{}", 1 + n / 250, 1 + n % 250);
        set_service(&mut proxier, &name, &cluster_ip, json!({}));
        set_endpoints(
            &mut proxier,
            &name,
            "TCP",
            &[(PODS[0], true), (PODS[1], true)],
        );
    }
    let first = proxier.sync().expect("sync").expect("programmed");
    assert!(
        first.messages < 100,
        "{first:?}: elements share messages, services share chains"
    );

    set_endpoints(
        &mut proxier,
        "web-500",
        "TCP",
        &[(PODS[0], true), (PODS[2], true)],
    );
    let replaced = proxier.sync().expect("sync").expect("programmed");
    // One number goes to another endpoint; that endpoint's hairpin is new.
    assert_eq!(
        replaced,
        Applied {
            messages: 3,
            elements: 3
        }
    );

    set_endpoints(
        &mut proxier,
        "web-500",
        "TCP",
        &[(PODS[0], true), (PODS[2], true), (PODS[1], true)],
    );
    let added = proxier.sync().expect("sync").expect("programmed");
    // A chain for three with two rules; the service's verdict; the new endpoint.
    assert_eq!(
        added,
        Applied {
            messages: 6,
            elements: 3
        }
    );
}

#[test]
fn local_policies_keep_to_the_node() {
    let (net, mut proxier) = two_endpoints(json!({}));
    let mut spec = node_port("NodePort");
    spec["externalTrafficPolicy"] = json!("Local");
    spec["internalTrafficPolicy"] = json!("Local");
    set_service(&mut proxier, "web", VIP, spec);
    proxier.sync().expect("sync");
    let to = format!("{NODE_IP}:30080");
    assert_eq!(
        answers(&net.client, &to),
        (both(), only(CLIENT_IP.to_owned())),
        "address kept"
    );
    assert_eq!(
        answers(&net.pods[2], &to),
        (both(), only(PODS[2].to_owned())),
        "short-circuit"
    );
    assert_eq!(answers(&net.node, &to), (both(), only(NODE_IP.to_owned())));
    assert_eq!(answers(&net.pods[2], &format!("{VIP}:80")).0, both());
}

#[test]
fn a_sticky_client_stays_with_its_endpoint() {
    let mut spec = node_port("NodePort");
    spec["sessionAffinity"] = json!("ClientIP");
    spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 600}});
    let (net, mut proxier) = two_endpoints(spec);
    let to = format!("{VIP}:80");
    let (servers, _) = answers(&net.client, &to);
    assert_eq!(servers.len(), 1, "{servers:?}");
    assert_eq!(
        answers(&net.client, &format!("{NODE_IP}:30080")).0,
        servers,
        "whichever address"
    );
    let stuck = servers.first().expect("one");
    let (gone, left) = if stuck.starts_with(PODS[0]) {
        (PODS[0], PODS[1])
    } else {
        (PODS[1], PODS[0])
    };
    set_endpoints(&mut proxier, "web", "TCP", &[(left, true)]);
    proxier.sync().expect("sync");
    assert_eq!(
        answers(&net.client, &to).0,
        only(format!("{left}:8080")),
        "its endpoint has gone"
    );
    set_endpoints(&mut proxier, "web", "TCP", &[(left, true), (gone, true)]);
    proxier.sync().expect("sync");
    assert_eq!(
        answers(&net.client, &to).0,
        only(format!("{left}:8080")),
        "the new one is remembered"
    );
}

/// A socket that keeps its port, as those of resolvers do.
#[test]
fn udp_flows_are_cut_when_a_service_loses_its_last_endpoint_or_moves() {
    let net = Net::new();
    for (pod, ip) in net.pods.iter().zip(PODS).take(2) {
        serve_udp(pod, &format!("{ip}:8080"));
    }
    let mut proxier = proxy(&net.node);
    let on = |port: u16, node_port: u16| {
        let port =
            json!({"port": port, "protocol": "UDP", "targetPort": 8080, "nodePort": node_port});
        json!({"type": "NodePort", "ports": [port]})
    };
    let inside = udp_client(&net.pods[2], &format!("{VIP}:53"));
    let outside = udp_client(&net.client, &format!("{NODE_IP}:30053"));
    // Sent before there is a Service: a flow that goes nowhere.
    for socket in [&inside, &outside] {
        let _ = socket.send(b"early");
    }
    set_service(&mut proxier, "dns", VIP, on(53, 30053));
    set_endpoints(&mut proxier, "dns", "UDP", &[(PODS[0], true)]);
    proxier.sync().expect("sync");
    // What the early datagram met may still be reported.
    for socket in [&inside, &outside] {
        let _ = socket.take_error();
        assert_eq!(ask(socket).expect("answer"), format!("{}:8080", PODS[0]));
    }
    set_endpoints(&mut proxier, "dns", "UDP", &[]);
    proxier.sync().expect("sync");
    let refused = ask(&inside).expect_err("the last endpoint has gone");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    set_endpoints(&mut proxier, "dns", "UDP", &[(PODS[0], true)]);
    proxier.sync().expect("sync");
    for socket in [&inside, &outside] {
        ask(socket).expect("answer");
    }
    set_service(&mut proxier, "dns", VIP, on(54, 30054));
    proxier.sync().expect("sync");
    let refused = ask(&inside).expect_err("the port has gone");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let refused = ask(&outside).expect_err("the node port has gone");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

/// Datagrams that do not fit into one packet keep together.
#[test]
fn large_datagrams_reach_an_endpoint_whole() {
    let (net, mut proxier) = two_endpoints(json!({}));
    let ports = json!([{"port": 53, "protocol": "UDP", "targetPort": 8080}]);
    set_service(&mut proxier, "dns", "10.96.0.60", json!({"ports": ports}));
    set_endpoints(&mut proxier, "dns", "UDP", &[(PODS[0], true)]);
    proxier.sync().expect("sync");
    let bind = || std::net::UdpSocket::bind((PODS[0], 8080)).expect("bind");
    let server = net.pods[0].run_in(bind).expect("enter");
    let socket = udp_client(&net.pods[2], "10.96.0.60:53");
    let sent: Vec<u8> = (0..6000).map(|n| n as u8).collect();
    socket.send(&sent).expect("send");
    let mut received = vec![0; 8000];
    let (len, client) = server.recv_from(&mut received).expect("receive");
    assert_eq!(&received[..len], sent);
    server.send_to(&sent, client).expect("answer");
    assert_eq!(socket.recv(&mut received).expect("receive"), sent.len());
}

#[test]
fn affinity_holds_in_ipv6_too() {
    let net = Net::new();
    for (pod, ip) in net.pods.iter().zip(net::PODS6) {
        serve_tcp(pod, &format!("[{ip}]:8080"));
    }
    let layout = Layout {
        family: Family::V6,
        cluster_cidrs: vec!["fd00:244::/48".parse().expect("net")],
        service_cidrs: vec!["fd00:96::/112".parse().expect("net")],
        node_port_addresses: Vec::new(),
    };
    let mut proxier = Proxier::new(Kernel::open_in(&net.node, layout).expect("open"));
    let spec = json!({"sessionAffinity": "ClientIP"});
    set_service(&mut proxier, "web", "fd00:96::50", spec);
    let slice = json!({
        "metadata": {
            "name": "web-abc", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv6",
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": net::PODS6.map(|ip| json!({"addresses": [ip], "nodeName": "node1"})),
    });
    let slice = serde_json::from_value(slice).expect("a slice");
    let name = ObjectName::new("default", "web-abc");
    proxier.state.set_slice(name, Slice::parse(&slice, "node1"));
    proxier.sync().expect("sync");
    for from in [&net.client, &net.node, &net.pods[0]] {
        let (servers, _) = answers(from, "[fd00:96::50]:80");
        assert_eq!(servers.len(), 1, "{servers:?}");
    }
}
