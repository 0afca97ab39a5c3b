//! The announcer of one node, from an API server to the wire, in network namespaces of its own.

use std::net::Ipv4Addr;
use std::time::Duration;

use karve_edge::announce::{Options, run};
use karve_sys::link::{MacAddress, Netlink, Veth};
use karve_sys::netns::NetNs;
use karve_sys::packet::{Arp, ArpSocket, BROADCAST, Operation};
use karve_testkit::stub_api::StubApi;
use serde_json::{Value, json};
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);
const NODE: MacAddress = [2, 0, 0, 0, 0, 1];
const CLIENT: MacAddress = [2, 0, 0, 0, 0, 2];
const CLIENT_IP: Ipv4Addr = Ipv4Addr::new(192, 168, 64, 1);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 64, 200);

fn objects() -> [(&'static str, Value); 3] {
    let config =
        "address-pools: [{name: a, protocol: layer2, addresses: [192.168.64.200-192.168.64.250]}]";
    [
        (
            "/api/v1/nodes",
            json!({
                "apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"},
                "status": {
                    "addresses": [{"type": "InternalIP", "address": "192.168.64.2"}],
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            }),
        ),
        (
            "/api/v1/services",
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "web", "namespace": "default", "uid": "5e1f"},
                "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
                "status": {"loadBalancer": {"ingress": [{"ip": "192.168.64.200", "ipMode": "VIP"}]}},
            }),
        ),
        (
            "/api/v1/namespaces/metallb-system/configmaps",
            json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "config", "namespace": "metallb-system"},
                "data": {"config": config},
            }),
        ),
    ]
}

async fn receive(socket: &AsyncFd<ArpSocket>, wanted: impl Fn(&Arp) -> bool) -> Arp {
    let receive = async {
        loop {
            let mut ready = socket.readable().await.expect("readable");
            match ready.try_io(|socket| socket.get_ref().receive()) {
                Ok(Ok(Some(packet))) if wanted(&packet) => return packet,
                Ok(Ok(_)) | Err(_) => {}
                Ok(Err(error)) => panic!("{error}"),
            }
        }
    };
    timeout(PATIENCE, receive).await.expect("a packet")
}

async fn announce(client: NetNs) {
    let mut rt = Netlink::open().expect("open");
    let (mac, peer_mac) = (Some(NODE), Some(CLIENT));
    let peer_netns = Some(&client);
    rt.create_veth(&Veth {
        name: "eth0",
        mac,
        peer: "eth0",
        peer_mac,
        peer_netns,
        mtu: None,
    })
    .expect("veth");
    rt.set_up("eth0").expect("up");
    let mut rt = Netlink::open_in(&client).expect("open");
    rt.set_up("eth0").expect("up");
    let index = rt.link_index("eth0").expect("index");
    let socket = client
        .run_in(|| ArpSocket::open(index))
        .expect("enter")
        .expect("open");
    let socket = socket.register().expect("register");

    let (api, mut writes) = StubApi::new();
    objects()
        .into_iter()
        .for_each(|(path, object)| api.set(path, object));
    let shutdown = CancellationToken::new();
    let options = Options {
        node_name: "node1".to_owned(),
        interface: "eth0".to_owned(),
    };
    let announcer = tokio::spawn(run(api.client(), options, shutdown.clone()));

    let told = receive(&socket, |packet| packet.sender_ip == VIP).await;
    assert_eq!(
        (told.sender_mac, told.target_mac),
        (NODE, BROADCAST),
        "gratuitous"
    );
    let event = timeout(PATIENCE, writes.recv())
        .await
        .expect("an event")
        .expect("the server runs");
    assert_eq!(event.path, "/api/v1/namespaces/default/events");
    assert_eq!(event.body["reason"], "nodeAssigned");
    assert_eq!(
        event.body["message"],
        r#"announcing from node "node1" with protocol "layer2""#
    );
    assert_eq!(
        event.body["source"],
        json!({"component": "metallb-speaker", "host": "node1"})
    );

    let request = Arp::request(CLIENT, CLIENT_IP, VIP);
    socket.get_ref().send(&request, BROADCAST).expect("send");
    let reply = receive(&socket, |p| {
        p.operation == Operation::Reply && p.target_mac == CLIENT
    })
    .await;
    assert_eq!(reply, request.reply(NODE));

    shutdown.cancel();
    timeout(PATIENCE, announcer)
        .await
        .expect("ends")
        .expect("no panic")
        .expect("no failure");
}

#[test]
fn a_node_announces_and_answers_for_its_addresses() {
    let [node, client] = [(); 2].map(|()| NetNs::anonymous().expect("namespace"));
    node.run_in(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("runtime").block_on(announce(client));
    })
    .expect("enter namespace");
}
