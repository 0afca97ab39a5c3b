use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use super::*;

const TABLE: &str = "karve-test";
const DADDR: Expr = Expr::Payload {
    base: PayloadBase::Network,
    offset: 16,
    len: 4,
    dreg: Register::new(0),
};
const SADDR: Expr = Expr::Payload {
    base: PayloadBase::Network,
    offset: 12,
    len: 4,
    dreg: Register::new(0),
};
const L4PROTO: Expr = Expr::Meta {
    key: MetaKey::L4proto,
    dreg: Register::new(1),
};
const DPORT: Expr = Expr::Payload {
    base: PayloadBase::Transport,
    offset: 2,
    len: 2,
    dreg: Register::new(2),
};
const SERVICE_KEY: &[(u32, usize)] = &[types::IPV4_ADDR, types::INET_PROTO, types::INET_SERVICE];

fn service_key(last: u8) -> Value {
    Value::EMPTY
        .ip(Ipv4Addr::new(10, 96, 0, last))
        .protocol(6)
        .port(80)
}

fn set<'a>(name: &'a str, key: &'a [(u32, usize)], data: &'a [(u32, usize)]) -> Set<'a> {
    Set {
        name,
        flags: SetFlags::default(),
        key,
        data,
        verdicts: false,
        timeout: None,
    }
}

/// Commits `batch` in `netns` and returns the tables as `nft` prints them.
fn listed(netns: &NetNs, batch: Batch) -> String {
    Nft::open_in(netns)
        .expect("open")
        .commit(batch)
        .expect("commit");
    let output = netns
        .run_in(|| {
            Command::new("nft")
                .args(["list", "ruleset"])
                .output()
                .expect("run nft")
        })
        .expect("enter namespace");
    String::from_utf8(output.stdout).expect("nft prints text")
}

fn with_table() -> Batch {
    let mut batch = Batch::new(Family::Ip);
    batch.add_table(&Table {
        name: TABLE,
        userdata: b"layout 1",
    });
    batch
}

#[test]
fn a_transaction_is_these_bytes() {
    let mut batch = Batch::new(Family::Ip);
    batch.add_table(&Table {
        name: "t",
        userdata: &[],
    });
    let finished = batch.finish().expect("one change");
    let header = |len: u8, kind: u16, flags: u16, seq: u8| {
        let mut bytes = vec![len, 0, 0, 0];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([seq, 0, 0, 0, 0, 0, 0, 0]);
        bytes
    };
    let expected = [
        header(20, 0x10, 1, 1),
        vec![0, 0, 0, 10],
        header(28, 0x0a00, 0x405, 2), // NLM_F_CREATE, and NLM_F_ACK as it is the last change
        vec![2, 0, 0, 0],
        vec![6, 0, 1, 0, b't', 0, 0, 0],
        header(20, 0x11, 1, 3),
        vec![0, 0, 0, 10],
    ];
    assert_eq!(finished.datagram, expected.concat());
    assert_eq!(finished.last_seq, 2);
}

/// Each expression against what `nft` reads in it.
#[test]
fn expressions_mean_what_nft_prints() {
    let r = Register::new;
    let mark = |mask: u32, xor: u32| Expr::Bitwise {
        sreg: r(0),
        dreg: r(0),
        mask: mask.to_ne_bytes().into(),
        xor: xor.to_ne_bytes().into(),
    };
    let mark_load = Expr::Meta {
        key: MetaKey::Mark,
        dreg: r(0),
    };
    let mark_set = Expr::MetaSet {
        key: MetaKey::Mark,
        sreg: r(0),
    };
    let cmp = |op, value: &[u8]| Expr::Cmp {
        sreg: r(0),
        op,
        value: value.into(),
    };
    let rows: &[(&str, &str, Vec<Expr>)] = &[
        ("chain", "counter packets 0 bytes 0", vec![Expr::Counter]),
        (
            "chain",
            "ip saddr != 10.244.0.0/16 drop",
            vec![
                SADDR,
                Expr::Bitwise {
                    sreg: r(0),
                    dreg: r(0),
                    mask: vec![255, 255, 0, 0],
                    xor: vec![0; 4],
                },
                cmp(Cmp::Neq, &[10, 244, 0, 0]),
                Expr::Verdict(Verdict::Drop),
            ],
        ),
        (
            "chain",
            "meta mark set meta mark | 0x00004000",
            vec![mark_load.clone(), mark(!0x4000, 0x4000), mark_set.clone()],
        ),
        (
            "chain",
            "ct state new accept",
            vec![
                Expr::Ct {
                    key: CtKey::State,
                    dreg: r(0),
                },
                mark(8, 0),
                cmp(Cmp::Neq, &[0; 4]),
                Expr::Verdict(Verdict::Accept),
            ],
        ),
        (
            "chain",
            "ct status dnat return",
            vec![
                Expr::Ct {
                    key: CtKey::Status,
                    dreg: r(0),
                },
                mark(0x20, 0),
                cmp(Cmp::Neq, &[0; 4]),
                Expr::Verdict(Verdict::Return),
            ],
        ),
        (
            "chain",
            "fib daddr type local jump other",
            vec![
                Expr::Fib {
                    dreg: r(0),
                    result: FibResult::AddrType,
                    flags: FibFlags::Daddr,
                },
                cmp(Cmp::Eq, &2u32.to_ne_bytes()),
                Expr::Verdict(Verdict::Jump("other".into())),
            ],
        ),
        (
            "chain",
            "iifname \"eth0\" goto other",
            vec![
                Expr::Meta {
                    key: MetaKey::Iifname,
                    dreg: r(0),
                },
                cmp(Cmp::Eq, b"eth0\0\0\0\0\0\0\0\0\0\0\0\0"),
                Expr::Verdict(Verdict::Goto("other".into())),
            ],
        ),
        (
            "chain",
            "ip daddr @addresses drop",
            vec![
                DADDR,
                Expr::Lookup {
                    set: "addresses".into(),
                    sreg: r(0),
                    invert: false,
                },
                Expr::Verdict(Verdict::Drop),
            ],
        ),
        (
            "chain",
            "ip daddr != @addresses drop",
            vec![
                DADDR,
                Expr::Lookup {
                    set: "addresses".into(),
                    sreg: r(0),
                    invert: true,
                },
                Expr::Verdict(Verdict::Drop),
            ],
        ),
        (
            "chain",
            "ip daddr . meta l4proto . th dport vmap @services",
            vec![
                DADDR,
                L4PROTO,
                DPORT,
                Expr::VerdictLookup {
                    set: "services".into(),
                    sreg: r(0),
                },
            ],
        ),
        (
            "nat-prerouting",
            "dnat ip to ip daddr . meta l4proto . th dport map @endpoints",
            vec![
                DADDR,
                L4PROTO,
                DPORT,
                Expr::MapLookup {
                    set: "endpoints".into(),
                    sreg: r(0),
                    dreg: r(0),
                },
                Expr::Nat {
                    kind: Nat::Destination,
                    family: Family::Ip,
                    addr: r(0),
                    port: Some(r(1)),
                },
            ],
        ),
        (
            "nat-prerouting",
            "dnat to numgen random mod 3 offset 1 map @by-number",
            vec![
                Expr::NumgenRandom {
                    dreg: r(0),
                    modulus: 3,
                    offset: 1,
                },
                Expr::MapLookup {
                    set: "by-number".into(),
                    sreg: r(0),
                    dreg: r(0),
                },
                Expr::Nat {
                    kind: Nat::Destination,
                    family: Family::Ip,
                    addr: r(0),
                    port: None,
                },
            ],
        ),
        (
            "nat-prerouting",
            "dnat to jhash ip saddr mod 2 seed 0x7 map @by-number",
            vec![
                SADDR,
                Expr::Jhash {
                    sreg: r(0),
                    dreg: r(0),
                    len: 4,
                    modulus: 2,
                    seed: Some(7),
                    offset: 0,
                },
                Expr::MapLookup {
                    set: "by-number".into(),
                    sreg: r(0),
                    dreg: r(0),
                },
                Expr::Nat {
                    kind: Nat::Destination,
                    family: Family::Ip,
                    addr: r(0),
                    port: None,
                },
            ],
        ),
        (
            "nat-prerouting",
            "update @affinity { ip saddr timeout 3h : 10.0.0.1 }",
            vec![
                Expr::Immediate {
                    dreg: r(4),
                    value: vec![10, 0, 0, 1],
                },
                SADDR,
                Expr::Dynset {
                    set: "affinity".into(),
                    op: DynsetOp::Update,
                    key: r(0),
                    data: Some(r(4)),
                    timeout: Some(Duration::from_secs(10_800)),
                },
            ],
        ),
        (
            "nat-prerouting",
            "delete @affinity { ip saddr : ip saddr }",
            vec![
                SADDR,
                Expr::Dynset {
                    set: "affinity".into(),
                    op: DynsetOp::Delete,
                    key: r(0),
                    data: Some(r(0)),
                    timeout: None,
                },
            ],
        ),
        (
            "nat-prerouting",
            "reject",
            vec![Expr::Reject(Reject::PortUnreachable(Family::Ip))],
        ),
        (
            "nat-prerouting",
            "reject with tcp reset",
            vec![
                Expr::Meta {
                    key: MetaKey::L4proto,
                    dreg: r(0),
                },
                cmp(Cmp::Eq, &[6]),
                Expr::Reject(Reject::TcpReset),
            ],
        ),
        (
            "nat-postrouting",
            "masquerade fully-random",
            vec![Expr::Masquerade { fully_random: true }],
        ),
        (
            "nat-postrouting",
            "masquerade",
            vec![Expr::Masquerade {
                fully_random: false,
            }],
        ),
        (
            "nat-postrouting",
            "snat to 10.0.0.1",
            vec![
                Expr::Immediate {
                    dreg: r(0),
                    value: vec![10, 0, 0, 1],
                },
                Expr::Nat {
                    kind: Nat::Source,
                    family: Family::Ip,
                    addr: r(0),
                    port: None,
                },
            ],
        ),
        ("raw-prerouting", "notrack", vec![Expr::Notrack]),
    ];
    for (chain, printed, exprs) in rows {
        let netns = NetNs::anonymous().expect("namespace");
        let mut batch = with_table();
        let dynamic = SetFlags {
            timeout: true,
            dynamic: true,
            interval: false,
        };
        batch.add_set(TABLE, &set("addresses", &[types::IPV4_ADDR], &[]));
        batch.add_set(
            TABLE,
            &set(
                "endpoints",
                SERVICE_KEY,
                &[types::IPV4_ADDR, types::INET_SERVICE],
            ),
        );
        batch.add_set(
            TABLE,
            &set("by-number", &[types::MARK], &[types::IPV4_ADDR]),
        );
        let affinity = set("affinity", &[types::IPV4_ADDR], &[types::IPV4_ADDR]);
        batch.add_set(
            TABLE,
            &Set {
                flags: dynamic,
                ..affinity
            },
        );
        batch.add_set(
            TABLE,
            &Set {
                verdicts: true,
                ..set("services", SERVICE_KEY, &[])
            },
        );
        let hooks = [
            ("nat-prerouting", "nat", 0, -100),
            ("nat-postrouting", "nat", 4, 100),
            ("raw-prerouting", "filter", 0, -300),
        ];
        for (name, kind, number, priority) in hooks {
            batch.add_chain(
                TABLE,
                &Chain {
                    name,
                    hook: Some(Hook {
                        kind,
                        number,
                        priority,
                    }),
                },
            );
        }
        batch.add_chain(
            TABLE,
            &Chain {
                name: "chain",
                hook: None,
            },
        );
        batch.add_chain(
            TABLE,
            &Chain {
                name: "other",
                hook: None,
            },
        );
        batch.add_rule(TABLE, chain, "why", exprs);
        let listing = listed(&netns, batch);
        let rule = listing
            .lines()
            .find_map(|line| line.trim().strip_suffix(" comment \"why\""));
        assert_eq!(rule, Some(*printed), "{listing}");
    }
}

#[test]
fn sets_mean_what_nft_prints() {
    let netns = NetNs::anonymous().expect("namespace");
    let mut batch = with_table();
    batch.add_chain(
        TABLE,
        &Chain {
            name: "refuse",
            hook: None,
        },
    );
    batch.add_set(
        TABLE,
        &Set {
            verdicts: true,
            ..set("services", SERVICE_KEY, &[])
        },
    );
    let refuse = Verdict::Goto("refuse".into());
    batch.add_elements(
        TABLE,
        "services",
        [Element::verdict(service_key(1), refuse)],
    );
    batch.add_set(
        TABLE,
        &Set {
            flags: SetFlags {
                interval: true,
                ..SetFlags::default()
            },
            ..set("ranges", &[types::INET_SERVICE, types::IPV4_ADDR], &[])
        },
    );
    let start = Value::EMPTY.port(80).ip(Ipv4Addr::new(10, 0, 0, 0));
    let end = Value::EMPTY.port(80).ip(Ipv4Addr::new(10, 0, 0, 255));
    let range = Element {
        key_end: Some(end),
        ..Element::key(start)
    };
    batch.add_elements(TABLE, "ranges", [range.clone()]);
    let listing = listed(&netns, batch);
    for expected in [
        "type ipv4_addr . inet_proto . inet_service : verdict",
        "elements = { 10.96.0.1 . tcp . 80 : goto refuse }",
        "type inet_service . ipv4_addr",
        "flags interval",
        "elements = { 80 . 10.0.0.0/24 }",
    ] {
        assert!(listing.contains(expected), "{expected} in {listing}");
    }
    let mut nft = Nft::open_in(&netns).expect("open");
    assert_eq!(
        nft.elements(Family::Ip, TABLE, "ranges").expect("elements"),
        [range]
    );
}

#[test]
fn what_is_written_reads_back() {
    let netns = NetNs::anonymous().expect("namespace");
    let mut nft = Nft::open_in(&netns).expect("open");
    assert_eq!(nft.table(Family::Ip, TABLE).expect("query"), None);
    let mut batch = with_table();
    batch.add_chain(
        TABLE,
        &Chain {
            name: "pick",
            hook: None,
        },
    );
    let hook = Hook {
        kind: "filter",
        number: 0,
        priority: 0,
    };
    batch.add_chain(
        TABLE,
        &Chain {
            name: "prerouting",
            hook: Some(hook),
        },
    );
    batch.add_rule(TABLE, "prerouting", "", &[Expr::Counter]);
    batch.add_set(
        TABLE,
        &Set {
            verdicts: true,
            ..set("services", SERVICE_KEY, &[])
        },
    );
    batch.add_set(
        TABLE,
        &set(
            "endpoints",
            SERVICE_KEY,
            &[types::IPV4_ADDR, types::INET_SERVICE],
        ),
    );
    let verdicts = [
        Element::verdict(service_key(1), Verdict::Goto(Cow::Borrowed("pick"))),
        Element::verdict(service_key(2), Verdict::Drop),
    ];
    let endpoint = Value::EMPTY.ip(Ipv4Addr::new(10, 244, 1, 5)).port(8080);
    let endpoints = [Element::value(service_key(1), endpoint)];
    batch.add_elements(TABLE, "services", verdicts.clone());
    batch.add_elements(TABLE, "endpoints", endpoints.clone());
    nft.commit(batch).expect("commit");

    let found = nft
        .table(Family::Ip, TABLE)
        .expect("query")
        .expect("table exists");
    assert_eq!(
        found,
        TableInfo {
            name: TABLE.to_owned(),
            userdata: b"layout 1".to_vec()
        }
    );
    let chains = nft.chains(Family::Ip, TABLE).expect("chains");
    assert_eq!(
        chains
            .iter()
            .map(|c| (c.name.as_str(), c.base))
            .collect::<Vec<_>>(),
        [("pick", false), ("prerouting", true)]
    );
    let rules = nft.rules(Family::Ip, TABLE).expect("rules");
    assert_eq!(
        rules.iter().map(|r| r.chain.as_str()).collect::<Vec<_>>(),
        ["prerouting"]
    );
    let read = nft
        .elements(Family::Ip, TABLE, "services")
        .expect("elements");
    assert_eq!(read.len(), 2);
    assert!(
        verdicts.iter().all(|element| read.contains(element)),
        "{read:?}"
    );
    assert_eq!(
        nft.elements(Family::Ip, TABLE, "endpoints")
            .expect("elements"),
        endpoints
    );

    let mut batch = Batch::new(Family::Ip);
    batch.delete_elements(
        TABLE,
        "services",
        verdicts.map(|element| Element::key(element.key)),
    );
    batch.delete_chain(TABLE, "pick");
    nft.commit(batch)
        .expect("elements let go of the chain in the same transaction");
    let mut batch = Batch::new(Family::Ip);
    batch.delete_table(TABLE);
    nft.commit(batch).expect("delete table");
    assert_eq!(nft.table(Family::Ip, TABLE).expect("query"), None);
}

#[test]
fn a_refused_transaction_names_its_object_and_changes_nothing() {
    let netns = NetNs::anonymous().expect("namespace");
    let mut nft = Nft::open_in(&netns).expect("open");
    let mut batch = with_table();
    batch.add_set(TABLE, &set("addresses", &[types::IPV4_ADDR], &[]));
    let missing = Value::EMPTY.ip(Ipv4Addr::new(10, 0, 0, 1));
    batch.delete_elements(TABLE, "addresses", [Element::key(missing)]);
    batch.add_chain(
        TABLE,
        &Chain {
            name: "later",
            hook: None,
        },
    );
    let error = nft.commit(batch).expect_err("no such element");
    assert_eq!(error.to_string(), "delete elements of karve-test addresses");
    assert!(error.is_not_found());
    assert_eq!(
        nft.table(Family::Ip, TABLE).expect("query"),
        None,
        "all or nothing"
    );
    nft.commit(with_table())
        .expect("the socket goes on working");
    nft.commit(Batch::new(Family::Ip)).expect("nothing to do");
}

#[test]
fn a_large_transaction_is_split_over_messages() {
    const SERVICES: u32 = 30_000;
    let netns = NetNs::anonymous().expect("namespace");
    let mut nft = Nft::open_in(&netns).expect("open");
    let mut batch = with_table();
    batch.add_set(
        TABLE,
        &set(
            "endpoints",
            SERVICE_KEY,
            &[types::IPV4_ADDR, types::INET_SERVICE],
        ),
    );
    let endpoint = Value::EMPTY.ip(Ipv4Addr::new(10, 244, 1, 5)).port(8080);
    let key = |n: u32| {
        Value::EMPTY
            .ip(Ipv4Addr::from_bits(0x0a60_0000 + n))
            .protocol(6)
            .port(80)
    };
    batch.add_elements(
        TABLE,
        "endpoints",
        (0..SERVICES).map(|n| Element::value(key(n), endpoint)),
    );
    assert!(batch.messages() > 10, "{} messages", batch.messages());
    assert_eq!(batch.elements(), SERVICES as usize);
    nft.commit(batch).expect("commit");
    let read = nft
        .elements(Family::Ip, TABLE, "endpoints")
        .expect("elements");
    assert_eq!(read.len(), SERVICES as usize);
}
