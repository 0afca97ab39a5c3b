//! Two nodes and a client on one bridge, in namespaces of their own without a way out.

use std::time::Duration;

use karve_sys::link::{Netlink, Veth};
use karve_sys::netns::NetNs;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::super::plan::plan;
use super::super::plan::tests::{cluster, ip, set_node, set_service};
use super::*;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);
const VIP: u8 = 200;
const CLIENT: MacAddress = [2, 0, 0, 0, 0, 0];

/// `eth0` of a station on the bridge in `host`.
fn station(host: &NetNs, number: u8) -> (ArpSocket, MacAddress) {
    let netns = NetNs::anonymous().expect("namespace");
    let mac = [2, 0, 0, 0, 0, number];
    let port = format!("port{number}");
    let mut rt = Netlink::open_in(host).expect("open");
    let veth = Veth {
        name: &port,
        mac: None,
        peer: "eth0",
        peer_mac: Some(mac),
        peer_netns: Some(&netns),
        mtu: None,
    };
    rt.create_veth(&veth).expect("veth");
    let bridge = rt.link_index("br").expect("bridge");
    rt.set_master(&port, bridge).expect("port");
    rt.set_up(&port).expect("up");
    let mut rt = Netlink::open_in(&netns).expect("open");
    rt.set_up("eth0").expect("up");
    let index = rt.link_index("eth0").expect("index");
    let socket = netns
        .run_in(|| ArpSocket::open(index))
        .expect("enter")
        .expect("socket");
    (socket, mac)
}

struct Client(AsyncFd<ArpSocket>);

impl Client {
    async fn receive(&self) -> Arp {
        let receive = async {
            loop {
                let mut ready = self.0.readable().await.expect("readable");
                match ready.try_io(|socket| socket.get_ref().receive()) {
                    Ok(Ok(Some(packet))) => return packet,
                    Ok(Ok(None)) | Err(_) => {}
                    Ok(Err(error)) => panic!("{error}"),
                }
            }
        };
        timeout(PATIENCE, receive).await.expect("a packet")
    }

    /// Who answers for an address. Each node `n` also answers for .n, and answers in order: when it
    /// has answered for that, it has had its chance with the address.
    async fn who_has(&self, last: u8) -> Vec<u8> {
        for target in [last, 1, 2] {
            let request = Arp::request(CLIENT, ip(99), ip(target));
            self.0.get_ref().send(&request, BROADCAST).expect("send");
        }
        let (mut answers, mut finished) = (Vec::new(), 0);
        while finished < 2 {
            let packet = self.receive().await;
            if packet.operation == Operation::Reply && packet.target_mac == CLIENT {
                if packet.sender_ip == ip(last) {
                    answers.push(packet.sender_mac[5])
                } else {
                    finished += 1
                }
            }
        }
        answers
    }
}

/// What a node answers for by its own plan, and the address by which the client knows its turn.
fn wanted(view: &super::super::plan::View, number: u8) -> BTreeSet<Ipv4Addr> {
    let planned = plan(view, &format!("node{number}")).into_keys();
    planned.chain([ip(number)]).collect()
}

#[tokio::test]
async fn exactly_one_node_answers_and_another_takes_over() {
    let host = NetNs::anonymous().expect("namespace");
    let mut rt = Netlink::open_in(&host).expect("open");
    rt.create_bridge("br").expect("bridge");
    rt.set_up("br").expect("up");
    let (socket, _) = station(&host, 0);
    let client = Client(socket.register().expect("register"));
    let mut view = cluster(2);
    set_service(&mut view, "web", VIP, false);

    let mut nodes = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    for number in [1, 2] {
        let (socket, mac) = station(&host, number);
        let mut responder = Responder::with_socket(socket, mac).expect("register");
        responder.set(wanted(&view, number));
        let (orders, mut ordered) = mpsc::channel::<(BTreeSet<Ipv4Addr>, oneshot::Sender<()>)>(1);
        nodes.push(orders);
        tasks.spawn(async move {
            loop {
                tokio::select! {
                    error = responder.serve() => panic!("{error}"),
                    order = ordered.recv() => {
                        let Some((ips, done)) = order else { return };
                        responder.set(ips);
                        done.send(()).expect("the test waits");
                    }
                }
            }
        });
    }
    let first = client.who_has(VIP).await;
    assert_eq!(first.len(), 1, "{first:?}");
    let second = 3 - first[0];

    set_node(&mut view, first[0], false);
    for (number, node) in (1..).zip(&nodes) {
        let (done, finished) = oneshot::channel();
        node.send((wanted(&view, number), done))
            .await
            .expect("node runs");
        finished.await.expect("node has followed");
    }
    // The new one announces itself without being asked.
    loop {
        let packet = client.receive().await;
        if packet.sender_ip == ip(VIP) && packet.sender_mac[5] == second {
            assert_eq!((packet.target_ip, packet.target_mac), (ip(VIP), BROADCAST));
            break;
        }
    }
    assert_eq!(client.who_has(VIP).await, [second]);
    assert!(client.who_has(VIP + 1).await.is_empty(), "nobody's address");
    drop(nodes);
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no responder fails");
    }
}
