use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use ipnet::IpNet;

use super::*;

const A: &str = "192.168.64.2/24";
const B: &str = "192.168.64.3/24";

/// A namespace that has no way out.
fn netns() -> NetNs {
    NetNs::anonymous().expect("make namespace")
}

/// Two namespaces, each with `eth0` on one bridge in a third.
fn two_nodes_on_a_bridge() -> [NetNs; 3] {
    let (host, a, b) = (netns(), netns(), netns());
    let mut rt = Netlink::open_in(&host).expect("open");
    rt.create_bridge("kv-test").expect("bridge");
    rt.set_up("kv-test").expect("bridge up");
    let bridge = rt.link_index("kv-test").expect("bridge index");
    for (port, node, address) in [("port-a", &a, A), ("port-b", &b, B)] {
        let veth = Veth {
            name: port,
            mac: None,
            peer: "eth0",
            peer_mac: None,
            peer_netns: Some(node),
            mtu: None,
        };
        rt.create_veth(&veth).expect("veth");
        rt.set_master(port, bridge).expect("port");
        rt.set_up(port).expect("port up");
        let mut rt = Netlink::open_in(node).expect("open in node");
        rt.set_up("eth0").expect("eth0 up");
        let eth0 = rt.link_index("eth0").expect("eth0 index");
        rt.add_address(eth0, address.parse().expect("address"))
            .expect("address");
    }
    for port in ["port-a", "port-b"] {
        rt.settle(port).expect("settle");
    }
    [host, a, b]
}

fn echo(from: &NetNs, to: &NetNs, address: &str) -> Vec<u8> {
    let server = to
        .run_in(|| UdpSocket::bind(address).expect("bind"))
        .expect("enter");
    let client = from
        .run_in(|| UdpSocket::bind("0.0.0.0:0").expect("bind"))
        .expect("enter");
    for socket in [&server, &client] {
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("timeout");
    }
    client.send_to(b"ping", address).expect("send");
    let mut buffer = [0; 16];
    let (len, peer) = server.recv_from(&mut buffer).expect("request");
    server.send_to(&buffer[..len], peer).expect("answer");
    let len = client.recv(&mut buffer).expect("reply");
    buffer[..len].to_vec()
}

#[test]
fn nodes_on_one_bridge_reach_each_other() {
    let [_host, a, b] = two_nodes_on_a_bridge();
    assert_eq!(echo(&a, &b, "192.168.64.3:7000"), b"ping");
}

#[test]
fn a_pod_is_reached_by_link_route_and_permanent_neighbour() {
    let (node, pod) = (netns(), netns());
    let (node_mac, pod_mac) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let (gateway, pod_ip): (IpAddr, IpAddr) = (
        Ipv4Addr::new(169, 254, 1, 1).into(),
        Ipv4Addr::new(10, 244, 1, 5).into(),
    );
    let mut rt = Netlink::open_in(&node).expect("open");
    rt.set_up("lo").expect("lo");
    let lo = rt.link_index("lo").expect("lo index");
    rt.add_address(lo, "192.168.64.2/32".parse().expect("address"))
        .expect("node address");
    rt.create_veth(&Veth {
        name: "kvpod",
        mac: Some(node_mac),
        peer: "eth0",
        peer_mac: Some(pod_mac),
        peer_netns: Some(&pod),
        mtu: Some(1450),
    })
    .expect("veth");
    rt.set_up("kvpod").expect("up");
    let kvpod = rt.link_index("kvpod").expect("index");
    let mut route = Route::by_link(IpNet::from(pod_ip), kvpod);
    route.source = Some("192.168.64.2".parse().expect("address"));
    rt.add_neighbour(&Neighbour {
        index: kvpod,
        ip: pod_ip,
        mac: pod_mac,
    })
    .expect("neighbour");
    rt.add_route(&route).expect("route");
    rt.add_route(&route).expect("the same route again");
    assert_eq!(rt.routes().expect("routes"), [route.clone()]);

    let mut pod_rt = Netlink::open_in(&pod).expect("open in pod");
    pod_rt.set_up("eth0").expect("up");
    let eth0 = pod_rt.link("eth0").expect("eth0");
    assert_eq!(
        (eth0.mac, eth0.mtu, eth0.kind.as_str()),
        (Some(pod_mac), 1450, "veth")
    );
    assert_eq!(eth0.peer, Some(kvpod));
    let address: IpNet = IpNet::from(pod_ip);
    pod_rt.add_address(eth0.index, address).expect("address");
    pod_rt
        .add_address(eth0.index, address)
        .expect("the same address again");
    pod_rt
        .add_neighbour(&Neighbour {
            index: eth0.index,
            ip: gateway,
            mac: node_mac,
        })
        .expect("neighbour");
    let mut default = Route::by_gateway("0.0.0.0/0".parse().expect("default"), gateway);
    default.oif = Some(eth0.index);
    default.onlink = true;
    pod_rt.add_route(&default).expect("default route");
    let routes = pod_rt.routes().expect("routes");
    assert!(routes.contains(&default), "{routes:?}");
    assert!(pod_rt.addresses().expect("addresses").contains(&Address {
        index: eth0.index,
        net: address
    }));

    rt.settle("kvpod").expect("settle");
    assert_eq!(echo(&node, &pod, "10.244.1.5:7000"), b"ping");

    assert!(rt.delete_route(&route).expect("delete route"));
    assert!(!rt.delete_route(&route).expect("delete route again"));
    assert!(
        rt.delete_neighbour(kvpod, pod_ip)
            .expect("delete neighbour")
    );
    assert!(
        pod_rt
            .delete_address(eth0.index, address)
            .expect("delete address")
    );
    assert!(
        !pod_rt
            .delete_address(eth0.index, address)
            .expect("delete address again")
    );
}

#[test]
fn errors_name_operation_and_object() {
    let netns = netns();
    let mut rt = Netlink::open_in(&netns).expect("open");
    rt.create_bridge("kv-twice").expect("bridge");
    let exists = rt.create_bridge("kv-twice").expect_err("name is taken");
    assert!(exists.is_exists());
    assert_eq!(exists.to_string(), "create bridge kv-twice");
    let missing = rt.link_index("none").expect_err("no such link");
    assert!(missing.is_not_found(), "{missing:?}");
    assert_eq!(missing.to_string(), "get link none");
    let long = rt
        .create_bridge("a-name-that-is-too-long")
        .expect_err("too long");
    assert_eq!(long.to_string(), "create bridge a-name-that-is-too-long");
    assert!(rt.delete_link("kv-twice").expect("delete"));
    assert!(!rt.delete_link("kv-twice").expect("delete again"));
}

#[test]
fn bridge_ports_show_their_master() {
    let [host, _a, _b] = two_nodes_on_a_bridge();
    let mut rt = Netlink::open_in(&host).expect("open");
    let links = rt.links().expect("links");
    let bridge = links
        .iter()
        .find(|link| link.name == "kv-test")
        .expect("bridge is listed");
    assert_eq!(bridge.kind, "bridge");
    let ports: Vec<_> = links
        .iter()
        .filter(|link| link.master == Some(bridge.index))
        .map(|link| link.name.as_str())
        .collect();
    assert_eq!(ports.len(), 2, "{links:?}");
    rt.set_master("port-a", 0).expect("leave bridge");
    assert_eq!(rt.link("port-a").expect("port").master, None);
    rt.set_down("port-a").expect("down");
    assert!(!rt.link("port-a").expect("port").up);
}
