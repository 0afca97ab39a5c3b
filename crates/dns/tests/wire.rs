//! Whole messages over real sockets: what a resolver sends and what it gets back, with upstreams that answer, lie, or
//! say nothing.

mod bed;

use std::net::Ipv4Addr;

use bed::{Bed, Behaviour, Upstream, query, query_with};
use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, ParsedName};
use domain::rdata::AllRecordData;
use proptest::prelude::*;

fn records(reply: &Message<Vec<u8>>) -> Vec<String> {
    let answer = reply.answer().unwrap();
    answer
        .limit_to::<AllRecordData<_, ParsedName<_>>>()
        .flatten()
        .map(|record| format!("{} {} {}", record.owner(), record.rtype(), record.data()))
        .collect()
}

#[tokio::test]
async fn the_asker_s_spelling_comes_back() {
    let bed = Bed::new("cluster.local {\n kubernetes\n}", &[]).await;
    let asked = query("ReDiS.default.SVC.cluster.local", Rtype::A);
    let reply = bed.udp(&asked).await;
    assert!(reply.is_answer(&Message::from_octets(&asked[..]).unwrap()));
    assert!(reply.header().aa() && reply.header().ra() && reply.header().rd());
    let question = reply.sole_question().unwrap();
    assert_eq!(
        question.qname().to_string(),
        "ReDiS.default.SVC.cluster.local"
    );
    // One question, one A record whose owner is a pointer to it.
    assert_eq!(reply.as_slice().len(), asked.len() + 2 + 2 + 2 + 4 + 2 + 4);
    bed.end().await;
}

#[tokio::test]
async fn each_question_gets_the_code_that_fits_it() {
    let bed = Bed::new("cluster.local in-addr.arpa {\n kubernetes\n}", &[]).await;
    let rows = [
        (
            "none.default.svc.cluster.local",
            Rtype::A,
            Rcode::NXDOMAIN,
            1,
        ),
        (
            "redis.default.svc.cluster.local",
            Rtype::AAAA,
            Rcode::NOERROR,
            1,
        ),
        (
            "redis.default.svc.cluster.local",
            Rtype::MX,
            Rcode::NOERROR,
            1,
        ),
        (
            "redis.default.svc.cluster.local",
            Rtype::HTTPS,
            Rcode::NOERROR,
            1,
        ),
        (
            "redis.default.svc.cluster.local",
            Rtype::AXFR,
            Rcode::REFUSED,
            0,
        ),
        ("9.9.9.9.in-addr.arpa", Rtype::PTR, Rcode::NXDOMAIN, 1),
        ("example.org", Rtype::A, Rcode::REFUSED, 0),
    ];
    for (name, qtype, rcode, authority) in rows {
        let reply = bed.udp(&query_with(name, qtype, 1232)).await;
        assert_eq!(reply.header().rcode(), rcode, "{name} {qtype}");
        assert_eq!(reply.header_counts().ancount(), 0);
        let soa: Vec<_> = reply.authority().unwrap().flatten().collect();
        assert_eq!(soa.len(), authority, "{name} {qtype}");
        assert!(soa.iter().all(|record| record.rtype() == Rtype::SOA));
        assert!(reply.opt().is_some());
    }
    let any = bed
        .udp(&query("redis.default.svc.cluster.local", Rtype::ANY))
        .await;
    assert_eq!(
        any.answer().unwrap().flatten().next().unwrap().rtype(),
        Rtype::HINFO
    );
    bed.end().await;
}

#[tokio::test]
async fn odd_messages_get_the_code_that_names_the_oddity() {
    let bed = Bed::new("cluster.local {\n kubernetes\n}", &[]).await;
    let good = query("redis.default.svc.cluster.local", Rtype::A);
    let mut notify = good.clone();
    notify[2] |= 4 << 3;
    assert_eq!(bed.udp(&notify).await.header().rcode(), Rcode::NOTIMP);
    let mut none = good[..12].to_vec();
    none[5] = 0;
    assert_eq!(bed.udp(&none).await.header().rcode(), Rcode::FORMERR);
    let mut cut = good.clone();
    cut.truncate(20);
    assert_eq!(bed.udp(&cut).await.header().rcode(), Rcode::FORMERR);
    // A name that points at itself.
    let mut ring = good[..12].to_vec();
    ring.extend_from_slice(&[0xC0, 12, 0, 1, 0, 1]);
    assert_eq!(bed.udp(&ring).await.header().rcode(), Rcode::FORMERR);
    let mut chaos = good.clone();
    let end = chaos.len();
    chaos[end - 1] = 3;
    assert_eq!(bed.udp(&chaos).await.header().rcode(), Rcode::REFUSED);
    // EDNS of version 1 (RFC 6891): BADVERS in the OPT record.
    let mut later = query_with("redis.default.svc.cluster.local", Rtype::A, 1232);
    let end = later.len();
    later[end - 5] = 1;
    let reply = bed.udp(&later).await;
    let opt = reply.opt().unwrap();
    assert_eq!(opt.rcode(reply.header()).to_int(), 16);
    // A reply is no query: nothing comes back, and the next query is answered.
    let mut answer = good.clone();
    answer[2] |= 0x80;
    bed.send(&answer).await;
    assert_eq!(bed.udp(&good).await.header().rcode(), Rcode::NOERROR);
    bed.end().await;
}

#[tokio::test]
async fn what_does_not_fit_a_datagram_is_truncated_and_whole_over_a_stream() {
    let bed = Bed::new("cluster.local {\n kubernetes\n loadbalance\n}", &[]).await;
    let name = "many.default.svc.cluster.local";
    let small = bed.udp(&query(name, Rtype::A)).await;
    assert!(small.header().tc() && small.as_slice().len() <= 512);
    // Resolvers without TCP live by what fits.
    assert!(small.header_counts().ancount() > 20);
    let capped = bed.udp(&query_with(name, Rtype::A, 65_000)).await;
    assert!(capped.header().tc() && capped.opt().is_some() && capped.as_slice().len() <= 1232);
    let asked = query(name, Rtype::A);
    let [whole, again] = bed.tcp(&[asked.clone(), asked]).await.try_into().unwrap();
    assert!(!whole.header().tc());
    assert_eq!(whole.header_counts().ancount(), 250);
    // Another order each time, the same records.
    let (mut one, mut two) = (records(&whole), records(&again));
    assert_ne!(one, two);
    one.sort();
    two.sort();
    assert_eq!(one, two);
    bed.end().await;
}

#[tokio::test]
async fn an_alias_is_followed_into_the_cluster_and_out_of_it() {
    let up = Upstream::start(Behaviour::Honest).await;
    let bed = Bed::new(". {\n kubernetes cluster.local\n forward . UP\n}", &[&up]).await;
    let inside = bed
        .udp(&query("in.default.svc.cluster.local", Rtype::A))
        .await;
    assert_eq!(
        records(&inside),
        [
            "in.default.svc.cluster.local CNAME redis.default.svc.cluster.local.",
            "redis.default.svc.cluster.local A 10.96.7.7"
        ]
    );
    let outside = bed
        .udp(&query("out.default.svc.cluster.local", Rtype::A))
        .await;
    assert_eq!(
        records(&outside),
        [
            "out.default.svc.cluster.local CNAME example.org.",
            "example.org A 192.0.2.1"
        ]
    );
    let alone = bed
        .udp(&query("out.default.svc.cluster.local", Rtype::CNAME))
        .await;
    assert_eq!(records(&alone).len(), 1);
    // Without recursion, nobody is asked.
    let mut still = query("out.default.svc.cluster.local", Rtype::A);
    still[2] &= !1;
    assert_eq!(records(&bed.udp(&still).await).len(), 1);
    // A ring ends.
    let ring = bed
        .udp(&query("ring.default.svc.cluster.local", Rtype::A))
        .await;
    assert_eq!(ring.header().rcode(), Rcode::SERVFAIL);
    assert_eq!(up.asked(), ["example.org A"]);
    bed.end().await;
}

#[tokio::test]
async fn kept_answers_cost_no_second_question_and_equal_ones_are_asked_once() {
    let up = Upstream::start(Behaviour::Slow).await;
    let bed = Bed::new(". {\n forward . UP\n cache 30\n}", &[&up]).await;
    let name = "www.example.org";
    let asked = query(name, Rtype::A);
    let replies = futures::future::join_all((0..20).map(|_| bed.udp(&asked))).await;
    assert!(
        replies
            .iter()
            .all(|reply| records(reply) == ["www.example.org A 192.0.2.1"])
    );
    let mixed = bed.udp(&query("WWW.example.ORG", Rtype::A)).await;
    assert_eq!(
        mixed.sole_question().unwrap().qname().to_string(),
        "WWW.example.ORG"
    );
    let nothing = query("nx.example.org", Rtype::A);
    for _ in 0..3 {
        assert_eq!(bed.udp(&nothing).await.header().rcode(), Rcode::NXDOMAIN);
    }
    assert_eq!(up.asked(), ["www.example.org A", "nx.example.org A"]);
    bed.end().await;
}

#[tokio::test]
async fn who_lies_or_says_nothing_is_passed_over() {
    for behaviour in [
        Behaviour::Silent,
        Behaviour::WrongId,
        Behaviour::WrongQuestion,
        Behaviour::Garbage,
        Behaviour::Servfail,
    ] {
        let (bad, good) = (
            Upstream::start(behaviour).await,
            Upstream::start(Behaviour::Honest).await,
        );
        let text = ". {\n forward . UP UP {\n policy sequential\n }\n}";
        let bed = Bed::new(text, &[&bad, &good]).await;
        let reply = bed.udp(&query("www.example.org", Rtype::A)).await;
        assert_eq!(
            records(&reply),
            ["www.example.org A 192.0.2.1"],
            "{behaviour:?}"
        );
        assert_eq!(bad.asked(), ["www.example.org A"]);
        bed.end().await;
    }
}

#[tokio::test]
async fn records_that_nobody_asked_for_are_left_out() {
    let up = Upstream::start(Behaviour::Poison).await;
    let bed = Bed::new(". {\n forward . UP\n cache\n}", &[&up]).await;
    for _ in 0..2 {
        let reply = bed.udp(&query("www.example.org", Rtype::A)).await;
        assert_eq!(records(&reply), ["www.example.org A 192.0.2.1"]);
    }
    bed.end().await;
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_again_over_a_stream() {
    let up = Upstream::start(Behaviour::Truncated).await;
    let bed = Bed::new(". {\n forward . UP\n}", &[&up]).await;
    let reply = bed.udp(&query("www.example.org", Rtype::A)).await;
    assert_eq!(records(&reply), ["www.example.org A 192.0.2.1"]);
    assert_eq!(up.asked(), ["www.example.org A", "www.example.org A tcp"]);
    bed.end().await;
}

#[tokio::test]
async fn names_of_the_cluster_are_never_asked_of_others() {
    let up = Upstream::start(Behaviour::Honest).await;
    let text = ". {\n kubernetes cluster.local in-addr.arpa {\n fallthrough\n }\n forward . UP\n}";
    let bed = Bed::new(text, &[&up]).await;
    for (name, qtype) in [
        ("none.default.svc.cluster.local", Rtype::A),
        ("cluster.local", Rtype::MX),
        ("99.99.96.10.in-addr.arpa", Rtype::PTR),
        ("99.99.244.10.in-addr.arpa", Rtype::PTR),
    ] {
        let reply = bed.udp(&query(name, qtype)).await;
        assert_eq!(reply.header_counts().ancount(), 0, "{name}");
    }
    assert!(up.asked().is_empty());
    // Other addresses may be named by the network around.
    bed.udp(&query("1.2.0.192.in-addr.arpa", Rtype::PTR)).await;
    assert_eq!(up.asked(), ["1.2.0.192.in-addr.arpa PTR"]);
    bed.end().await;
}

#[tokio::test]
async fn a_search_walk_ends_at_its_first_step() {
    let up = Upstream::start(Behaviour::Honest).await;
    let text = ". {\n kubernetes cluster.local\n autopath @kubernetes\n forward . UP\n cache\n}";
    let bed = Bed::new(text, &[&up]).await;
    bed.client_of(Ipv4Addr::LOCALHOST.into(), "shop", &[]);
    let first = |name: &str| format!("{name}.shop.svc.cluster.local");
    let outside = bed.udp(&query(&first("www.example.org"), Rtype::A)).await;
    assert_eq!(
        records(&outside),
        [
            "www.example.org.shop.svc.cluster.local CNAME www.example.org.",
            "www.example.org A 192.0.2.1"
        ]
    );
    // A name of the cluster is found on the way.
    let inside = bed.udp(&query(&first("redis.default"), Rtype::A)).await;
    assert_eq!(
        records(&inside),
        [
            "redis.default.shop.svc.cluster.local CNAME redis.default.svc.cluster.local.",
            "redis.default.svc.cluster.local A 10.96.7.7"
        ]
    );
    // It exists without IPv6: no error, no record.
    let v6 = bed
        .udp(&query(&first("www.example.org"), Rtype::AAAA))
        .await;
    assert_eq!(
        (v6.header().rcode(), records(&v6).len()),
        (Rcode::NOERROR, 1)
    );
    // What is nowhere does not exist, and further steps are asked by the client.
    let nowhere = bed.udp(&query(&first("nx.example.org"), Rtype::A)).await;
    assert_eq!(nowhere.header().rcode(), Rcode::NXDOMAIN);
    assert_eq!(
        up.asked(),
        [
            "www.example.org A",
            "www.example.org AAAA",
            "nx.example.org A"
        ]
    );
    bed.end().await;
}

#[tokio::test]
async fn a_search_walk_heeds_the_node_s_own_domains() {
    let up = Upstream::start(Behaviour::Honest).await;
    let text = ". {\n kubernetes cluster.local\n autopath @kubernetes\n forward . UP\n cache\n}";
    let bed = Bed::new(text, &[&up]).await;
    bed.client_of(Ipv4Addr::LOCALHOST.into(), "shop", &["nx.corp"]);
    let name = "www.example.org.shop.svc.cluster.local";
    let reply = bed.udp(&query(name, Rtype::A)).await;
    assert_eq!(records(&reply).len(), 2);
    assert_eq!(
        up.asked(),
        ["www.example.org.nx.corp A", "www.example.org A"]
    );
    // A cluster's name with the node's domain behind it is nobody's business.
    let leftover = "redis.default.svc.cluster.local.nx.corp";
    let reply = bed.udp(&query(leftover, Rtype::A)).await;
    assert_eq!(reply.header().rcode(), Rcode::NXDOMAIN);
    assert_eq!(up.asked().len(), 2);
    bed.end().await;
}

#[tokio::test]
async fn rewritten_names_are_turned_back() {
    let up = Upstream::start(Behaviour::Honest).await;
    let text = ". {\n rewrite name shop.example redis.default.svc.cluster.local\n \
                rewrite name suffix .inner. .default.svc.cluster.local. answer auto\n \
                hosts /nonexistent {\n 192.0.2.7 host.example\n fallthrough\n }\n \
                template IN A made.example {\n match \"^n(?P<n>[0-9]+)[.]\"\n answer \"{{ .Name }} 60 IN A 192.0.2.{{ .Group.n }}\"\n fallthrough\n }\n \
                kubernetes cluster.local\n forward . UP\n}";
    let bed = Bed::new(text, &[&up]).await;
    for (name, want) in [
        ("shop.example", "shop.example A 10.96.7.7"),
        ("redis.inner", "redis.inner A 10.96.7.7"),
        ("host.example", "host.example A 192.0.2.7"),
        ("n5.made.example", "n5.made.example A 192.0.2.5"),
        ("www.example.org", "www.example.org A 192.0.2.1"),
    ] {
        let reply = bed.udp(&query(name, Rtype::A)).await;
        assert_eq!(records(&reply), [want]);
    }
    bed.end().await;
}

#[tokio::test]
async fn forwarding_that_comes_back_is_noticed() {
    let bed = Bed::new(". {\n forward . SELF\n loop\n}", &[]).await;
    bed.wait_for(|text| text.contains("coredns_forward_responses_total"))
        .await;
    let reply = bed.udp(&query("www.example.org", Rtype::A)).await;
    assert_eq!(reply.header().rcode(), Rcode::SERVFAIL);
    bed.end().await;
}

proptest! {
    #[test]
    fn no_bytes_make_the_responder_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let bed = bed::quiet();
        let _ = bed.quick(&bytes);
    }

    #[test]
    fn a_damaged_query_is_answered_within_bounds_or_not_at_all(at in 0usize..80, byte in any::<u8>()) {
        let bed = bed::quiet();
        let mut query = query_with("many.default.svc.cluster.local", Rtype::A, 1232);
        if let Some(slot) = query.get_mut(at) {
            *slot = byte;
        }
        if let Some(reply) = bed.quick(&query) {
            prop_assert!(reply.len() <= 1232);
            prop_assert!(Message::from_octets(reply).is_ok());
        }
    }
}
