//! A node with two pods and a client on its network, all in namespaces of their own without a way out.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use ipnet::IpNet;
use karve_sys::link::{Neighbour, Netlink, Route, Veth};
use karve_sys::netns::NetNs;
use socket2::{Domain, Socket, Type};

use crate::dataplane::Family;

pub const NODE_IP: &str = "192.168.64.2";
pub const CLIENT_IP: &str = "192.168.64.1";
pub const PODS: [&str; 3] = ["10.244.1.10", "10.244.1.11", "10.244.1.12"];
/// A pod of another node: the client's namespace plays that node, too.
pub const FAR_POD: &str = "10.244.2.10";
pub const NODE_IP6: &str = "fd00:64::2";
pub const CLIENT_IP6: &str = "fd00:64::1";
pub const PODS6: [&str; 3] = ["fd00:244:0:1::10", "fd00:244:0:1::11", "fd00:244:0:1::12"];
pub const FAR_POD6: &str = "fd00:244:0:2::10";
/// Where all pods send to; the node's end of each veth answers for it by a permanent neighbour.
const GATEWAYS: [&str; 2] = ["169.254.1.1", "fe80::1"];
const DEFAULTS: [&str; 2] = ["0.0.0.0/0", "::/0"];
/// Far longer than anything here takes; only a broken dataplane waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Net {
    pub node: NetNs,
    pub client: NetNs,
    pub pods: [NetNs; 3],
}

impl Net {
    pub fn new() -> Self {
        let [node, client, a, b, c] = [(); 5].map(|()| NetNs::anonymous().expect("namespace"));
        let net = Self {
            node,
            client,
            pods: [a, b, c],
        };
        net.connect_client();
        for (index, pod) in (0..).zip(&net.pods) {
            net.connect_pod(index, pod);
        }
        net.node
            .run_in(|| {
                Family::BOTH
                    .into_iter()
                    .try_for_each(crate::sysctl::set_forwarding)
            })
            .expect("enter")
            .expect("settings");
        net
    }

    fn connect_client(&self) {
        let mut node = Netlink::open_in(&self.node).expect("open");
        let mut client = Netlink::open_in(&self.client).expect("open");
        let netns = Some(&self.client);
        node.create_veth(&Veth {
            name: "eth0",
            mac: None,
            peer: "eth0",
            peer_mac: None,
            peer_netns: netns,
            mtu: None,
        })
        .expect("veth");
        let addresses = [[NODE_IP, NODE_IP6], [CLIENT_IP, CLIENT_IP6]];
        for (rt, ips) in [&mut node, &mut client].into_iter().zip(addresses) {
            rt.set_up("lo").expect("up");
            rt.set_up("eth0").expect("up");
            let index = rt.link_index("eth0").expect("index");
            for (ip, length) in ips.into_iter().zip([24, 64]) {
                rt.add_address(index, net(&format!("{ip}/{length}")))
                    .expect("address");
            }
        }
        let far = client.link_index("lo").expect("index");
        node.settle("eth0").expect("settle");
        client.settle("eth0").expect("settle");
        for pod in [FAR_POD, FAR_POD6] {
            client.add_address(far, host(pod)).expect("address");
        }
        let gateways = [[CLIENT_IP, CLIENT_IP6], [NODE_IP, NODE_IP6]];
        for (rt, gateways) in [&mut node, &mut client].into_iter().zip(gateways) {
            for (default, gateway) in DEFAULTS.into_iter().zip(gateways) {
                let gateway = gateway.parse().expect("ip");
                rt.add_route(&Route::by_gateway(net(default), gateway))
                    .expect("default route");
            }
        }
    }

    fn connect_pod(&self, index: u8, pod: &NetNs) {
        let name = format!("pod{index}");
        let ips = [PODS, PODS6].map(|pods| pods[usize::from(index)].parse().expect("ip"));
        let (node_mac, pod_mac) = ([2, 0, 0, 0, 1, index], [2, 0, 0, 0, 2, index]);
        let mut rt = Netlink::open_in(&self.node).expect("open");
        rt.create_veth(&Veth {
            name: &name,
            mac: Some(node_mac),
            peer: "eth0",
            peer_mac: Some(pod_mac),
            peer_netns: Some(pod),
            mtu: None,
        })
        .expect("veth");
        rt.set_up(&name).expect("up");
        let index = rt.link_index(&name).expect("index");
        for ip in ips {
            let neighbour = Neighbour {
                index,
                ip,
                mac: pod_mac,
            };
            rt.add_neighbour(&neighbour).expect("neighbour");
            rt.add_route(&Route::by_link(IpNet::from(ip), index))
                .expect("route");
        }
        let mut rt = Netlink::open_in(pod).expect("open");
        rt.set_up("lo").expect("up");
        rt.set_up("eth0").expect("up");
        let index = rt.link_index("eth0").expect("index");
        rt.settle("eth0").expect("settle");
        for (ip, (gateway, default)) in ips.into_iter().zip(GATEWAYS.into_iter().zip(DEFAULTS)) {
            rt.add_address(index, IpNet::from(ip)).expect("address");
            let gateway = gateway.parse().expect("ip");
            let neighbour = Neighbour {
                index,
                ip: gateway,
                mac: node_mac,
            };
            rt.add_neighbour(&neighbour).expect("neighbour");
            let mut route = Route::by_gateway(net(default), gateway);
            (route.oif, route.onlink) = (Some(index), true);
            rt.add_route(&route).expect("default route");
        }
        Netlink::open_in(&self.node)
            .expect("open")
            .settle(&name)
            .expect("settle");
    }
}

fn net(text: &str) -> IpNet {
    text.parse().expect("net")
}

fn host(ip: &str) -> IpNet {
    IpNet::from(ip.parse::<IpAddr>().expect("ip"))
}

/// Whether a connection is still being tried when everything that could refuse it has had its turn: a
/// later packet of the same client has gone to `barrier` and back.
pub fn is_dropped(from: &NetNs, to: &str, barrier: &str) -> bool {
    let address: SocketAddr = to.parse().expect("address");
    let socket = from
        .run_in(|| {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            match socket.connect(&address.into()) {
                Err(err) if err.raw_os_error() != Some(EINPROGRESS) => Err(err),
                _ => Ok(socket),
            }
        })
        .expect("enter");
    let Ok(socket) = socket else { return false };
    connect(from, barrier).expect("the barrier");
    let error = socket.take_error().expect("query");
    error.is_none() && socket.peer_addr().is_err()
}

/// `EINPROGRESS` of Linux.
const EINPROGRESS: i32 = 115;

/// Answers each connection with the server's address and the client's address as the server sees it,
/// then echoes lines until the client is done.
pub fn serve_tcp(netns: &NetNs, address: &str) {
    let listener = netns
        .run_in(|| TcpListener::bind(address).expect("bind"))
        .expect("enter");
    let name = address.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("accept");
            let peer = stream.peer_addr().expect("peer").ip();
            writeln!(stream, "{name} {peer}").expect("greet");
            thread::spawn(move || {
                let mut echo = stream.try_clone().expect("clone");
                let _ = io::copy(&mut stream, &mut echo);
            });
        }
    });
}

/// Answers each datagram with the server's address.
pub fn serve_udp(netns: &NetNs, address: &str) {
    let socket = netns
        .run_in(|| UdpSocket::bind(address).expect("bind"))
        .expect("enter");
    let name = address.to_owned();
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(name.as_bytes(), peer);
        }
    });
}

/// A connection and what the server said at its start: its own address and the client's.
pub fn connect(from: &NetNs, to: &str) -> io::Result<(TcpStream, String, String)> {
    let address: SocketAddr = to.parse().expect("address");
    let mut stream = from
        .run_in(|| TcpStream::connect_timeout(&address, PATIENCE))
        .expect("enter")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let greeting = read_line(&mut stream)?;
    let (server, client) = greeting.split_once(' ').expect("server and client");
    Ok((stream, server.to_owned(), client.to_owned()))
}

/// Sends a line and reads it back.
pub fn echo(stream: &mut TcpStream) -> io::Result<String> {
    stream.write_all(b"hello\n")?;
    read_line(stream)
}

fn read_line(stream: &mut TcpStream) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte)?;
        match byte {
            [b'\n'] => return Ok(String::from_utf8_lossy(&line).into_owned()),
            [other] => line.push(other),
        }
    }
}

/// A UDP socket that sends to `to`.
pub fn udp_client(from: &NetNs, to: &str) -> UdpSocket {
    let socket = from
        .run_in(|| UdpSocket::bind("0.0.0.0:0").expect("bind"))
        .expect("enter");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    socket.connect(to).expect("connect");
    socket
}

/// Sends a datagram and returns the answer.
pub fn ask(socket: &UdpSocket) -> io::Result<String> {
    socket.send(b"who")?;
    let mut buffer = [0; 64];
    let len = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..len]).into_owned())
}
