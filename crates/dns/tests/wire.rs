//! Whole messages: what a resolver sends and what it gets back.

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name, ParsedName, ToName};
use domain::rdata::{AllRecordData, Cname};
use karve_dns::message::{Step, Transport, fail, finish_alias, query_for, respond};
use karve_dns::serve::Listeners;
use karve_dns::upstream::resolvers;
use karve_dns::zone::Zone;
use proptest::prelude::*;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

fn zone(endpoints: u8) -> Zone {
    let service = |name: &str, spec: serde_json::Value| {
        serde_json::from_value(
            json!({"metadata": {"namespace": "default", "name": name}, "spec": spec}),
        )
        .unwrap()
    };
    let mut zone = Zone::new("cluster.local").unwrap();
    zone.replace_services(&[
        service(
            "redis",
            json!({"clusterIP": "10.96.7.7", "ports": [{"name": "resp", "port": 6379}]}),
        ),
        service("many", json!({"clusterIP": "None"})),
        service(
            "out",
            json!({"type": "ExternalName", "externalName": "example.org"}),
        ),
        service(
            "in",
            json!({"type": "ExternalName", "externalName": "redis.default.svc.cluster.local"}),
        ),
    ]);
    let addresses: Vec<_> = (1..=endpoints)
        .map(|n| json!({"addresses": [format!("10.244.1.{n}")]}))
        .collect();
    zone.replace_slices(&[serde_json::from_value(json!({
        "metadata": {"namespace": "default", "name": "many-a", "labels": {"kubernetes.io/service-name": "many"}},
        "addressType": "IPv4", "ports": [], "endpoints": addresses,
    }))
    .unwrap()]);
    zone
}

fn query(name: &str, qtype: Rtype, edns: Option<u16>) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(7);
    builder.header_mut().set_rd(true);
    let mut question = builder.question();
    question
        .push((Name::vec_from_str(name).unwrap(), qtype))
        .unwrap();
    let mut additional = question.additional();
    if let Some(size) = edns {
        additional
            .opt(|opt| {
                opt.set_udp_payload_size(size);
                Ok(())
            })
            .unwrap();
    }
    additional.finish()
}

fn reply(zone: &Zone, query: &[u8], transport: Transport) -> Message<Vec<u8>> {
    match respond(query, zone, transport) {
        Step::Reply(bytes) => Message::from_octets(bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_asker_s_spelling_comes_back() {
    let query = query("ReDiS.default.SVC.cluster.local", Rtype::A, None);
    let reply = reply(&zone(0), &query, Transport::Udp);
    assert!(reply.is_answer(&Message::from_octets(&query[..]).unwrap()));
    assert!(reply.header().aa() && reply.header().ra() && reply.header().rd());
    let question = reply.sole_question().unwrap();
    assert_eq!(
        question.qname().to_string(),
        "ReDiS.default.SVC.cluster.local"
    );
    assert_eq!(reply.header_counts().ancount(), 1);
    // One question, one A record whose owner is a pointer to it.
    assert_eq!(reply.as_slice().len(), query.len() + 2 + 2 + 2 + 4 + 2 + 4);
}

#[test]
fn nxdomain_and_nodata_are_told_apart_and_carry_the_soa() {
    for (name, qtype, rcode) in [
        ("none.default.svc.cluster.local", Rtype::A, Rcode::NXDOMAIN),
        (
            "redis.default.svc.cluster.local",
            Rtype::AAAA,
            Rcode::NOERROR,
        ),
        ("redis.default.svc.cluster.local", Rtype::MX, Rcode::NOERROR),
    ] {
        let reply = reply(&zone(0), &query(name, qtype, Some(1232)), Transport::Udp);
        assert_eq!(reply.header().rcode(), rcode, "{name}");
        assert_eq!(reply.header_counts().ancount(), 0);
        let authority: Vec<_> = reply.authority().unwrap().flatten().collect();
        assert_eq!(authority.len(), 1);
        assert_eq!(authority[0].rtype(), Rtype::SOA);
        assert!(reply.opt().is_some());
    }
}

#[test]
fn what_does_not_fit_a_datagram_is_truncated_and_whole_over_tcp() {
    let zone = zone(250);
    let name = "many.default.svc.cluster.local";
    let small = reply(&zone, &query(name, Rtype::A, None), Transport::Udp);
    assert!(small.header().tc());
    assert!(small.as_slice().len() <= 512);
    let capped = reply(&zone, &query(name, Rtype::A, Some(65_000)), Transport::Udp);
    assert!(capped.header().tc() && capped.opt().is_some());
    let whole = reply(&zone, &query(name, Rtype::A, None), Transport::Tcp);
    assert!(!whole.header().tc());
    assert_eq!(whole.header_counts().ancount(), 250);
}

#[test]
fn an_alias_into_the_cluster_is_followed() {
    let reply = reply(
        &zone(0),
        &query("in.default.svc.cluster.local", Rtype::A, None),
        Transport::Udp,
    );
    let types: Vec<_> = reply
        .answer()
        .unwrap()
        .flatten()
        .map(|r| r.rtype())
        .collect();
    assert_eq!(types, [Rtype::CNAME, Rtype::A]);
}

#[test]
fn an_alias_to_the_outside_carries_what_the_upstream_said() {
    let asked = query("out.default.svc.cluster.local", Rtype::A, None);
    let Step::Chase(target) = respond(&asked, &zone(0), Transport::Udp) else {
        panic!("the target lies outside")
    };
    let onward = query_for(&asked, &target, 9).unwrap();
    let onward = Message::from_octets(onward).unwrap();
    assert_eq!(
        onward.sole_question().unwrap().qname().to_string(),
        "example.org"
    );
    let mut said = MessageBuilder::new_vec()
        .start_answer(&onward, Rcode::NOERROR)
        .unwrap();
    let address = domain::rdata::A::from_octets(192, 0, 2, 1);
    said.push((&target, Class::IN, 60, address)).unwrap();
    let whole = finish_alias(&asked, &target, Some(&said.finish()), Transport::Udp).unwrap();
    let whole = Message::from_octets(whole).unwrap();
    let records: Vec<String> = whole
        .answer()
        .unwrap()
        .limit_to::<AllRecordData<_, ParsedName<_>>>()
        .flatten()
        .map(|record| format!("{} {}", record.owner(), record.data()))
        .collect();
    assert_eq!(
        records,
        [
            "out.default.svc.cluster.local example.org.",
            "example.org 192.0.2.1"
        ]
    );
    let silent = finish_alias(&asked, &target, None, Transport::Udp).unwrap();
    assert_eq!(
        Message::from_octets(silent).unwrap().header().rcode(),
        Rcode::SERVFAIL
    );
}

#[test]
fn odd_queries_get_the_code_that_names_the_oddity() {
    let zone = zone(0);
    let mut notify = query("redis.default.svc.cluster.local", Rtype::A, None);
    notify[2] |= 4 << 3;
    assert_eq!(
        reply(&zone, &notify, Transport::Udp).header().rcode(),
        Rcode::NOTIMP
    );
    let empty = MessageBuilder::new_vec().question().finish();
    assert_eq!(
        reply(&zone, &empty, Transport::Udp).header().rcode(),
        Rcode::FORMERR
    );
    let mut answer = query("redis.default.svc.cluster.local", Rtype::A, None);
    answer[2] |= 0x80;
    assert!(matches!(
        respond(&answer, &zone, Transport::Udp),
        Step::Drop
    ));
    let any = reply(
        &zone,
        &query("redis.default.svc.cluster.local", Rtype::ANY, None),
        Transport::Udp,
    );
    assert_eq!(
        any.answer().unwrap().flatten().next().unwrap().rtype(),
        Rtype::HINFO
    );
    let outside = query("example.org", Rtype::A, None);
    assert!(matches!(
        respond(&outside, &zone, Transport::Udp),
        Step::Forward
    ));
    let refused = fail(&outside, Transport::Udp, Rcode::REFUSED).unwrap();
    assert_eq!(
        Message::from_octets(refused).unwrap().header().rcode(),
        Rcode::REFUSED
    );
}

#[test]
fn resolv_conf_is_read_as_glibc_does() {
    let text = "# c\nsearch a\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 # x\nnameservers 1.1.1.1\nnameserver fe80::1%eth0\n";
    let found: Vec<String> = resolvers(text).iter().map(SocketAddr::to_string).collect();
    assert_eq!(found, ["192.0.2.1:53", "[2001:db8::1]:53"]);
}

/// Over loopback sockets: cluster names from the zone, others from a second server that only refuses.
#[tokio::test]
async fn datagrams_and_streams_are_served_and_forwarded() {
    let shutdown = CancellationToken::new();
    let free = || {
        let probe = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        probe.local_addr().unwrap()
    };
    let (upstream, address) = (free(), free());
    let far = Listeners::bind(&[upstream]).await.unwrap();
    let near = Listeners::bind(&[address]).await.unwrap();
    let none: Arc<[SocketAddr]> = Arc::new([]);
    let far = tokio::spawn(far.serve(
        Arc::new(RwLock::new(Zone::nothing())),
        none,
        shutdown.clone(),
    ));
    let upstreams: Arc<[SocketAddr]> = Arc::new([upstream]);
    let near = tokio::spawn(near.serve(
        Arc::new(RwLock::new(zone(250))),
        upstreams,
        shutdown.clone(),
    ));

    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut buffer = [0u8; 4096];
    for (name, rcode) in [
        ("redis.default.svc.cluster.local", Rcode::NOERROR),
        ("example.org", Rcode::REFUSED),
    ] {
        socket
            .send_to(&query(name, Rtype::A, None), address)
            .await
            .unwrap();
        let len = socket.recv(&mut buffer).await.unwrap();
        let reply = Message::from_octets(&buffer[..len]).unwrap();
        assert_eq!(reply.header().rcode(), rcode, "{name}");
    }

    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    for name in ["many.default.svc.cluster.local", "example.org"] {
        let query = query(name, Rtype::A, None);
        stream.write_u16(query.len() as u16).await.unwrap();
        stream.write_all(&query).await.unwrap();
        let mut reply = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut reply).await.unwrap();
        let reply = Message::from_octets(reply).unwrap();
        assert_eq!(
            reply
                .sole_question()
                .unwrap()
                .qname()
                .to_name::<Vec<u8>>()
                .to_string(),
            name
        );
    }
    drop(stream);
    shutdown.cancel();
    near.await.unwrap();
    far.await.unwrap();
}

#[test]
fn a_cname_query_gets_the_alias_alone() {
    let reply = reply(
        &zone(0),
        &query("out.default.svc.cluster.local", Rtype::CNAME, None),
        Transport::Udp,
    );
    let records: Vec<_> = reply
        .answer()
        .unwrap()
        .limit_to::<Cname<ParsedName<_>>>()
        .flatten()
        .collect();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].data().cname().to_string(), "example.org");
}

proptest! {
    #[test]
    fn no_bytes_make_the_responder_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let zone = zone(3);
        for transport in [Transport::Udp, Transport::Tcp] {
            let _ = respond(&bytes, &zone, transport);
        }
    }

    #[test]
    fn a_damaged_query_is_answered_within_bounds_or_not_at_all(at in 0usize..80, byte in any::<u8>()) {
        let mut query = query("many.default.svc.cluster.local", Rtype::A, Some(1232));
        if let Some(slot) = query.get_mut(at) {
            *slot = byte;
        }
        if let Step::Reply(reply) = respond(&query, &zone(250), Transport::Udp) {
            prop_assert!(reply.len() <= 1232);
            prop_assert!(Message::from_octets(reply).is_ok());
        }
    }
}
