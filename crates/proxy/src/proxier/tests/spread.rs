//! How evenly connections spread.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;

const ENDPOINTS: u16 = 10;
const ROUNDS: usize = 5;
/// A fifth of all: what connection tracking has room for in one namespace.
const FLOWS: usize = 20_000;
/// The value of chi-square that nine degrees of freedom exceed once in a million times.
const CHI_SQUARE_MAX: f64 = 45.1;

/// A hundred thousand flows.
#[test]
fn flows_spread_evenly() {
    let mut counts = vec![0_usize; usize::from(ENDPOINTS)];
    for _ in 0..ROUNDS {
        for (count, more) in counts.iter_mut().zip(round()) {
            *count += more;
        }
    }
    let total: usize = counts.iter().sum();
    assert_eq!(total, ROUNDS * FLOWS, "none is lost");
    let expected = total as f64 / f64::from(ENDPOINTS);
    let chi_square: f64 = counts
        .iter()
        .map(|count| (*count as f64 - expected).powi(2) / expected)
        .sum();
    assert!(chi_square < CHI_SQUARE_MAX, "{chi_square}: {counts:?}");
}

/// How many flows each endpoint gets. Endpoints are replaced meanwhile, at each tenth.
fn round() -> Vec<usize> {
    let net = Net::new();
    let mut proxier = proxy(&net.node);
    let ports: Vec<_> = (0..ENDPOINTS)
        .map(|n| json!({"name": format!("p{n}"), "port": 53, "protocol": "UDP"}))
        .take(1)
        .collect();
    set_service(&mut proxier, "dns", VIP, json!({"ports": ports}));
    let sockets: Vec<_> = (0..ENDPOINTS)
        .map(|n| {
            let bind = || UdpSocket::bind((PODS[0], 9000 + n)).expect("bind");
            let socket = net.pods[0].run_in(bind).expect("enter");
            let timeout = Some(Duration::from_millis(20));
            socket.set_read_timeout(timeout).expect("timeout");
            socket
        })
        .collect();
    for n in 0..ENDPOINTS {
        let slice = json!({
            "metadata": {
                "name": format!("dns-{n}"), "namespace": "default",
                "labels": {"kubernetes.io/service-name": "dns"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "p0", "port": 9000 + n, "protocol": "UDP"}],
            "endpoints": [{"addresses": [PODS[0]], "nodeName": "node1"}],
        });
        let slice = serde_json::from_value(slice).expect("a slice");
        let name = ObjectName::new("default", &format!("dns-{n}"));
        proxier.state.set_slice(name, Slice::parse(&slice, "node1"));
    }
    proxier.sync().expect("sync");
    let sent = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let receivers: Vec<_> = sockets
            .iter()
            .map(|socket| scope.spawn(|| receive(socket, &sent)))
            .collect();
        let send = || {
            for _ in 0..FLOWS {
                // A new port is a new flow.
                let client = UdpSocket::bind("0.0.0.0:0").expect("bind");
                client.send_to(b"x", (VIP, 53)).expect("send");
            }
        };
        net.pods[2].run_in(send).expect("enter");
        sent.store(true, Ordering::Release);
        let join =
            |receiver: std::thread::ScopedJoinHandle<'_, usize>| receiver.join().expect("joins");
        receivers.into_iter().map(join).collect()
    })
}

/// Counts datagrams until all were sent and none is left.
fn receive(socket: &UdpSocket, sent: &AtomicBool) -> usize {
    let mut count = 0;
    loop {
        let all_sent = sent.load(Ordering::Acquire);
        match socket.recv_from(&mut [0; 8]) {
            Ok(_) => count += 1,
            Err(_) if all_sent => return count,
            Err(_) => {}
        }
    }
}
