//! Real traffic in namespaces without a way out: a node with one pod, and a client.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use ipnet::IpNet;
use karve_sys::link::{Route, Veth};
use karve_sys::netns::NetNs;

use super::*;

const NODE: &str = "192.168.64.2";
const CLIENT: &str = "192.168.64.1";
const POD: &str = "10.244.1.10";
const PATIENCE: Duration = Duration::from_secs(10);

/// Joins two namespaces: each gets an address on the link, and the second a default route by the first.
fn join(node: &NetNs, name: &str, node_ip: &str, peer: &NetNs, peer_ip: &str) {
    let mut rt = Netlink::open_in(node).expect("open");
    let veth = Veth {
        name,
        mac: None,
        peer: "eth0",
        peer_mac: None,
        peer_netns: Some(peer),
        mtu: None,
    };
    rt.create_veth(&veth).expect("veth");
    let mut other = Netlink::open_in(peer).expect("open");
    for (rt, link, ip) in [(&mut rt, name, node_ip), (&mut other, "eth0", peer_ip)] {
        rt.set_up("lo").expect("up");
        rt.set_up(link).expect("up");
        let index = rt.link_index(link).expect("index");
        let net: IpNet = format!("{ip}/24").parse().expect("net");
        rt.add_address(index, net).expect("address");
    }
    let default = "0.0.0.0/0".parse().expect("net");
    other
        .add_route(&Route::by_gateway(default, node_ip.parse().expect("ip")))
        .expect("route");
}

struct Net {
    node: NetNs,
    client: NetNs,
    pod: NetNs,
}

fn net() -> Net {
    let [node, client, pod] = [(); 3].map(|()| NetNs::anonymous().expect("namespace"));
    join(&node, "eth0", NODE, &client, CLIENT);
    join(&node, "pod", "10.244.1.1", &pod, POD);
    let forward = || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("setting");
    node.run_in(forward).expect("enter");
    Net { node, client, pod }
}

/// Answers each connection with the client's address, for ever.
fn serve(netns: &NetNs, address: &'static str) {
    let listener = netns
        .run_in(|| TcpListener::bind(address).expect("bind"))
        .expect("enter");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("accept");
            let peer = stream.peer_addr().expect("peer").ip();
            write!(stream, "{address} {peer}").expect("greet");
        }
    });
}

fn ask(netns: &NetNs, to: &str) -> io::Result<String> {
    let to: SocketAddr = to.parse().expect("address");
    let connect = || TcpStream::connect_timeout(&to, PATIENCE);
    let mut stream = netns.run_in(connect).expect("enter")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn port(ip: Option<&str>, protocol: u8, port: u16) -> HostPort {
    HostPort {
        ip: ip.map(|ip| ip.parse().expect("ip")),
        protocol,
        port,
    }
}

/// Runs `test` with a kernel opened in the node.
fn in_node(net: &Net, test: impl FnOnce(&mut Kernel) + Send) {
    let inside = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("runtime");
        let _entered = runtime.enter();
        test(&mut Kernel::open().expect("open"));
    };
    net.node.run_in(inside).expect("enter");
}

#[test]
fn ports_of_the_node_lead_to_the_pod() {
    let net = net();
    serve(&net.pod, "10.244.1.10:80");
    serve(&net.pod, "10.244.1.10:81");
    serve(&net.node, "127.0.0.1:9000");
    let target = |port| format!("{POD}:{port}").parse().expect("address");
    let wanted = HostPorts::from([
        (port(None, 6, 8080), target(80)),
        (port(Some("127.0.0.1"), 6, 54323), target(81)),
        (port(Some(NODE), 6, 54323), target(80)),
    ]);
    in_node(&net, |kernel| kernel.apply(&wanted).expect("apply"));
    let at = |ip: &str, port: u16| format!("{ip}:{port}");
    let seen = |text: &str| Some(text.to_owned());
    assert_eq!(
        ask(&net.client, &at(NODE, 8080)).ok(),
        seen("10.244.1.10:80 192.168.64.1"),
        "address kept"
    );
    assert_eq!(
        ask(&net.client, &at(NODE, 54323)).ok(),
        seen("10.244.1.10:80 192.168.64.1")
    );
    assert_eq!(
        ask(&net.node, &at("127.0.0.1", 54323)).ok(),
        seen("10.244.1.10:81 10.244.1.1")
    );
    assert_eq!(
        ask(&net.node, &at("127.0.0.1", 8080)).ok(),
        seen("10.244.1.10:80 10.244.1.1")
    );
    assert_eq!(
        ask(&net.node, &at(NODE, 54323)).ok(),
        seen("10.244.1.10:80 192.168.64.2")
    );
    assert_eq!(
        ask(&net.pod, &at(NODE, 8080)).ok(),
        seen("10.244.1.10:80 10.244.1.1"),
        "the pod itself"
    );
    assert!(
        ask(&net.client, &at(NODE, 9000)).is_err(),
        "other ports are the node's"
    );

    in_node(&net, |kernel| {
        kernel.apply(&HostPorts::new()).expect("apply")
    });
    assert!(
        ask(&net.client, &at(NODE, 8080)).is_err(),
        "gone with the pod"
    );
}

#[test]
fn loopback_is_not_for_neighbours() {
    let net = net();
    serve(&net.node, "127.0.0.1:9000");
    let wanted = HostPorts::from([(
        port(None, 6, 8080),
        format!("{POD}:80").parse().expect("address"),
    )]);
    in_node(&net, |kernel| kernel.apply(&wanted).expect("apply"));
    let mut rt = Netlink::open_in(&net.client).expect("open");
    // A neighbour that sends to 127.0.0.1 by its link.
    let route = Route::by_gateway(
        "127.0.0.0/8".parse().expect("net"),
        NODE.parse().expect("ip"),
    );
    if rt.add_route(&route).is_err() {
        return; // this kernel does not even let it try
    }
    let connect = || {
        std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").expect("setting");
        let to = "127.0.0.1:9000".parse().expect("address");
        TcpStream::connect_timeout(&to, Duration::from_millis(50))
    };
    assert!(net.client.run_in(connect).expect("enter").is_err());
}

#[test]
fn a_table_that_is_right_stays_and_one_that_is_not_is_made_anew() {
    let net = net();
    serve(&net.pod, "10.244.1.10:80");
    let wanted = HostPorts::from([(
        port(None, 6, 8080),
        format!("{POD}:80").parse().expect("address"),
    )]);
    let monitor = net
        .node
        .run_in(Monitor::open)
        .expect("enter")
        .expect("open");
    in_node(&net, |kernel| kernel.apply(&wanted).expect("apply"));
    monitor.receive().expect("one transaction");
    in_node(&net, |kernel| kernel.apply(&wanted).expect("apply"));
    monitor
        .receive()
        .expect_err("another agent changes nothing");
    let mut nft = Nft::open_in(&net.node).expect("open");
    for chain in ["prerouting", "guard"] {
        let mut batch = Batch::new(Family::Ip);
        batch.flush_chain(TABLE, chain);
        nft.commit(batch).expect("flush");
        in_node(&net, |kernel| kernel.apply(&wanted).expect("apply"));
        ask(&net.client, &format!("{NODE}:8080")).expect("answers again");
    }
}

#[test]
fn udp_flows_follow_the_port() {
    let net = net();
    let bind = |port: u16| {
        let bind = || UdpSocket::bind((POD, port)).expect("bind");
        let socket = net.pod.run_in(bind).expect("enter");
        socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
        socket
    };
    let [first, second] = [5301, 5302].map(bind);
    let client = net
        .client
        .run_in(|| UdpSocket::bind("0.0.0.0:0").expect("bind"))
        .expect("enter");
    client.connect((NODE, 5353)).expect("connect");
    // A flow from before the port is there.
    client.send(b"early").expect("send");
    let to = |port: u16| {
        HostPorts::from([(
            self::port(None, UDP, 5353),
            SocketAddrV4::new(POD.parse().expect("ip"), port),
        )])
    };
    in_node(&net, |kernel| {
        for (port, server) in [(5301, &first), (5302, &second), (5301, &first)] {
            kernel.apply(&to(port)).expect("apply");
            let _ = client.take_error();
            client.send(b"x").expect("send");
            server.recv_from(&mut [0; 8]).expect("it comes here");
        }
    });
}
