use super::*;

fn name(name: &str) -> ObjectName {
    ObjectName::new("default", name)
}

fn pools(text: &str) -> Pools {
    Pools::parse(text).expect("pools")
}

/// Pools `NAME=RANGE`, separated by spaces; `!` before the name: by name only.
fn allocator(text: &str) -> Allocator {
    let pools_text: String = text
        .split_whitespace()
        .map(|pool| {
            let (name, range) = pool.split_once('=').expect("name and range");
            let auto = !name.starts_with('!');
            let name = name.trim_start_matches('!');
            format!(
                "- {{name: {name}, protocol: layer2, auto-assign: {auto}, addresses: [{range}]}}\n"
            )
        })
        .collect();
    Allocator {
        pools: pools(&format!("address-pools:\n{pools_text}")),
        ..Allocator::default()
    }
}

fn request(wish: Wish, ports: &[i32], key: &str) -> Request {
    let object = serde_json::json!({
        "metadata": {"name": "x", "annotations": {"metallb.universe.tf/allow-shared-ip": key}},
        "spec": {
            "type": "LoadBalancer",
            "ports": ports.iter().map(|p| serde_json::json!({"port": p})).collect::<Vec<_>>(),
        },
    });
    let parsed = Request::parse(&serde_json::from_value(object).expect("a service"));
    Request {
        wish,
        ..parsed.expect("asks")
    }
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

struct Step {
    service: &'static str,
    wish: Wish,
    ports: &'static [i32],
    key: &'static str,
    expected: Result<u8, &'static str>,
}

fn step(service: &'static str, expected: Result<u8, &'static str>) -> Step {
    Step {
        service,
        wish: Wish::Any,
        ports: &[80],
        key: "",
        expected,
    }
}

#[track_caller]
fn play(pools: &str, steps: Vec<Step>) -> Allocator {
    let mut allocator = allocator(pools);
    for Step {
        service,
        wish,
        ports,
        key,
        expected,
    } in steps
    {
        let result = allocator.assign(&name(service), &request(wish.clone(), ports, key));
        let result = result
            .map(|ip| ip.octets()[3])
            .map_err(|refusal| refusal.to_string());
        assert_eq!(
            result,
            expected.map_err(str::to_owned),
            "{service} wishes {wish:?} {ports:?} {key}"
        );
    }
    allocator
}

#[test]
fn addresses_are_given_out_in_order_until_there_are_none() {
    let mut allocator = play(
        "a=10.0.0.1-10.0.0.2 b=10.0.0.9-10.0.0.9 !c=10.0.0.20-10.0.0.29",
        vec![
            step("one", Ok(1)),
            step("two", Ok(2)),
            step("one", Ok(1)),
            step("three", Ok(9)),
            step("four", Err("no available IPs")),
        ],
    );
    assert!(allocator.release(&name("two")));
    assert!(!allocator.release(&name("two")));
    assert_eq!(
        allocator.assign(&name("four"), &request(Wish::Any, &[80], "")),
        Ok(ip(2))
    );
}

#[test]
fn wishes_are_granted_or_refused() {
    play(
        "a=10.0.0.1-10.0.0.3 !b=10.0.0.9-10.0.0.9",
        vec![
            Step {
                wish: Wish::Ip(ip(2)),
                ..step("two", Ok(2))
            },
            step("one", Ok(1)),
            step("three", Ok(3)),
            Step {
                wish: Wish::Ip(ip(77)),
                ..step("far", Err("\"10.0.0.77\" is not allowed in config"))
            },
            Step {
                wish: Wish::Pool("b".into()),
                ..step("b", Ok(9))
            },
            Step {
                wish: Wish::Pool("b".into()),
                ..step("late", Err("no available IPs in pool \"b\""))
            },
            Step {
                wish: Wish::Pool("x".into()),
                ..step("x", Err("unknown pool \"x\""))
            },
            Step {
                wish: Wish::Invalid("nonsense".into()),
                ..step("n", Err("nonsense"))
            },
            Step {
                wish: Wish::Ip(ip(2)),
                ..step(
                    "thief",
                    Err(
                        "can't change sharing key for \"default/thief\", address also in use by default/two",
                    ),
                )
            },
            Step {
                wish: Wish::Ip(ip(9)),
                ..step("b", Ok(9))
            },
            Step {
                wish: Wish::Ip(ip(77)),
                ..step("two", Err("\"10.0.0.77\" is not allowed in config"))
            },
            Step {
                wish: Wish::Ip(ip(2)),
                ..step("thief", Ok(2))
            },
        ],
    );
}

#[test]
fn an_address_is_shared_by_those_who_agree() {
    play(
        "a=10.0.0.1-10.0.0.1",
        vec![
            Step {
                key: "k",
                ..step("web", Ok(1))
            },
            step("loner", Err("no available IPs")),
            Step {
                key: "other",
                ..step("other", Err("no available IPs"))
            },
            Step {
                key: "k",
                ..step("same-port", Err("no available IPs"))
            },
            Step {
                key: "k",
                ports: &[443],
                ..step("tls", Ok(1))
            },
            Step {
                key: "k",
                wish: Wish::Ip(ip(1)),
                ..step(
                    "same-port",
                    Err("port tcp/80 is already in use on \"10.0.0.1\""),
                )
            },
            // The port becomes free when its Service gives it up.
            Step {
                key: "k",
                ports: &[8080],
                ..step("web", Ok(1))
            },
            Step {
                key: "k",
                ..step("same-port", Ok(1))
            },
            // Who no longer agrees has to go.
            Step {
                key: "",
                ports: &[443],
                ..step("tls", Err("no available IPs"))
            },
        ],
    );
}

#[test]
fn the_status_is_kept_while_it_is_right() {
    let mut allocator = allocator("a=10.0.0.1-10.0.0.9");
    let with = |last| Request {
        current: Some(ip(last)),
        ..request(Wish::Any, &[80], "")
    };
    assert_eq!(allocator.assign(&name("old"), &with(5)), Ok(ip(5)));
    assert_eq!(
        allocator.assign(&name("foreign"), &with(99)),
        Ok(ip(1)),
        "in no pool"
    );
    assert_eq!(
        allocator.assign(&name("twin"), &with(5)),
        Ok(ip(2)),
        "someone else has it"
    );
    allocator.set_pools(pools(
        "address-pools: [{name: b, protocol: layer2, addresses: [10.0.0.8/30]}]",
    ));
    assert_eq!(
        allocator.assign(&name("old"), &with(5)),
        Ok(ip(8)),
        "the pool has changed"
    );
    assert_eq!(allocator.assigned(&name("old")), Some(ip(8)));
}
