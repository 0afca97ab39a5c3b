use std::time::Duration;

use proptest::prelude::*;

use super::plan::{Matcher, Subject, To};
use super::*;

fn plan(text: &str) -> Result<Plan, Error> {
    read(text, &|name| (name == "UP").then(|| "192.0.2.9".to_owned()))
}

fn one(text: &str) -> Server {
    let mut plan = plan(text).unwrap_or_else(|err| panic!("{err}: {text}"));
    assert_eq!(plan.servers.len(), 1);
    plan.servers.remove(0)
}

#[test]
fn the_default_is_understood() {
    let server = one(DEFAULT);
    assert!(server.errors && server.detect_loop && server.loadbalance && server.autopath);
    let kubernetes = server.kubernetes.unwrap();
    assert_eq!(kubernetes.pods, Pods::Insecure);
    assert_eq!(kubernetes.ttl, 5);
    assert_eq!(kubernetes.primary.unwrap().as_str(), "cluster.local");
    assert!(kubernetes.fallthrough.holds("1.0.0.10.in-addr.arpa"));
    assert!(!kubernetes.fallthrough.holds("x.cluster.local"));
    assert_eq!(server.prometheus.unwrap().port(), 9153);
    assert_eq!(server.forward[0].to, [To::File("/etc/resolv.conf".into())]);
    assert_eq!(
        server.cache.unwrap().success.ttl_max,
        Duration::from_secs(30)
    );
}

/// What people write, from kubeadm, k3s, and the documentation of stub domains.
#[test]
fn what_clusters_use_is_understood() {
    let server = one("
        example.org:1053, cluster.local {   # two zones, two ports
            forward . tls://9.9.9.9 {
                tls_servername dns.quad9.net
                health_check 5s no_rec domain example.org
                policy sequential
                max_fails 3
                except a.example b.example.
            }
            cache {
                success 100 60 1
                denial 5
                prefetch 10 1m 20%
                serve_stale 2h verify
                disable denial example.org
            }
            hosts /etc/coredns/NodeHosts {
                10.0.0.1 node1 node1.example
                ttl 60
                reload 15s
                fallthrough
            }
            rewrite name exact foo.example. foo.default.svc.cluster.local.
            rewrite stop {
                name regex (.*)\\.my\\.example \"{1}.default.svc.cluster.local\"
                answer auto
            }
            template IN A zone.example {
                match \"^ip-(?P<a>[0-9]*)[.]zone[.]example[.]$\"
                answer \"{{ .Name }} 60 IN A 10.0.0.{{ .Group.a }}\"
                fallthrough
            }
            log . {
                class denial error
            }
        }");
    let zones: Vec<String> = server
        .zones
        .iter()
        .map(|(zone, port)| format!("{zone}:{port}"))
        .collect();
    assert_eq!(zones, ["example.org.:1053", "cluster.local.:53"]);
    let forward = &server.forward[0];
    assert_eq!(
        forward.to,
        [To::Address("9.9.9.9:853".parse().unwrap(), true)]
    );
    assert_eq!((forward.policy, forward.max_fails), (Policy::Sequential, 3));
    assert!(!forward.health_check.recursion);
    let cache = server.cache.unwrap();
    assert_eq!(cache.success.capacity, 100);
    assert!(cache.serve_stale.unwrap().verify);
    let hosts = server.hosts.unwrap();
    assert_eq!(hosts.inline, ["10.0.0.1 node1 node1.example"]);
    assert!(matches!(
        &server.rewrite[0].subject,
        Subject::Name { matcher: Matcher::Exact(name), auto: true, .. } if name == "foo.example."
    ));
    assert!(
        server
            .log
            .is_some_and(|log| log.denial && log.error && !log.success)
    );
}

#[test]
fn zones_may_be_ranges_of_addresses_and_variables() {
    let zones = |text: &str| -> Vec<String> {
        let server = one(text);
        server
            .zones
            .iter()
            .map(|(zone, _)| zone.to_string())
            .collect()
    };
    assert_eq!(zones("10.0.0.0/24 {\n}"), ["0.0.10.in-addr.arpa."]);
    assert_eq!(
        zones("10.96.0.0/15 {\n}"),
        ["96.10.in-addr.arpa.", "97.10.in-addr.arpa."]
    );
    assert_eq!(
        zones("fd00:10:96::/48 {\n}"),
        ["6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa."]
    );
    let server = one(". {\n forward . {$UP}\n}");
    assert_eq!(
        server.forward[0].to,
        [To::Address("192.0.2.9:53".parse().unwrap(), false)]
    );
    // A single server may do without braces.
    assert!(one(".:53\nerrors\nloop").detect_loop);
    let continued = one(". {\n forward . \\\n 192.0.2.1 \\\n 192.0.2.2\n}");
    assert_eq!(continued.forward[0].to.len(), 2);
}

#[test]
fn what_is_not_understood_is_refused_with_its_line() {
    let rows = [
        ("", 1, "has no server"),
        (". {\n errors\n", 1, "does not end"),
        (". {\n}\n}", 3, "unexpected }"),
        (". {\n\n  dnssec\n}", 3, "plugin dnssec is not supported"),
        (". {\n import x\n}", 2, "import is not supported"),
        ("import x", 1, "import is not supported"),
        ("(snip) {\n}", 1, "snippets are not supported"),
        ("tls://. {\n}", 1, "transport tls is not supported"),
        (".:dns {\n}", 1, "is no port"),
        ("a..b {\n}", 1, "is no domain name"),
        (". {\n}\n. {\n}", 3, "is served by another block"),
        (". {\n cache\n cache\n}", 3, "stands twice"),
        (". {\n cache 0\n}", 2, "can not be zero"),
        (". {\n cache {\n  servfail 10m\n }\n}", 3, "5 minutes"),
        (". {\n kubernetes {\n }\n}", 2, ""),
        (
            "cluster.local {\n kubernetes {\n  pods maybe\n }\n}",
            3,
            "must be one of: disabled, verified, insecure",
        ),
        (
            "cluster.local {\n kubernetes {\n  ttl 4000\n }\n}",
            3,
            "[0, 3600]",
        ),
        (
            "cluster.local {\n kubernetes {\n  endpoint https://x\n }\n}",
            3,
            "chosen by flags",
        ),
        (
            "in-addr.arpa {\n kubernetes\n}",
            2,
            "non-reverse zone name must be used",
        ),
        (". {\n forward .\n}", 2, "an upstream is missing"),
        (
            ". {\n forward . nowhere\n}",
            2,
            "neither an address nor a file",
        ),
        (
            ". {\n forward . 1.1.1.1 {\n  policy best\n }\n}",
            3,
            "unknown policy",
        ),
        (
            ". {\n forward . 1.1.1.1 {\n  what\n }\n}",
            3,
            "unknown property",
        ),
        (". {\n forward . tls://1.1.1.1\n}", 2, "tls_servername"),
        (
            ". {\n rewrite edns0 local set 1 2\n}",
            2,
            "edns0 rules are not supported",
        ),
        (
            ". {\n rewrite name regex ( x\n}",
            2,
            "could not parse regex",
        ),
        (
            ". {\n template IN A {\n  answer \"{{ printf }}\"\n }\n}",
            3,
            "is not supported",
        ),
        (". {\n \"quote\n}", 2, "a quote does not end"),
        (
            ". {\n health {\n  lameduck long\n }\n}",
            3,
            "is no duration",
        ),
        (". {\n reload 1s\n}", 2, "at least 2s"),
    ];
    for (text, line, message) in rows {
        if message.is_empty() {
            // The root zone is no reverse zone: it may be the cluster's.
            assert!(plan(text).is_ok(), "{text}");
            continue;
        }
        let err = plan(text).expect_err(text);
        assert_eq!(err.line, line, "{text}: {err}");
        assert!(err.message.contains(message), "{text}: {err}");
    }
}

#[test]
fn durations_are_read_as_go_writes_them() {
    for (text, millis) in [
        ("5s", Some(5_000)),
        ("1h30m", Some(5_400_000)),
        ("1.5s", Some(1_500)),
        ("500ms", Some(500)),
        ("0", Some(0)),
        ("", None),
        ("5", None),
        ("-5s", None),
        ("5x", None),
        ("1e300h", None),
    ] {
        let got = plan::duration(text).map(|duration| duration.as_millis());
        assert_eq!(got, millis, "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _ = plan(&text);
    }

    #[test]
    fn no_mix_of_words_makes_the_reader_panic(
        words in prop::collection::vec(
            prop::sample::select(vec![
                ".", "{", "}", "\n", "cache", "forward", "kubernetes", "hosts", "rewrite", "template", "log", "\"", "\\",
                "name", "regex", "1.1.1.1", "10.0.0.0/9", "fd00::/1", "::/0", "0.0.0.0/0", "tls://", "5s", "IN", "A", "{{",
                "ttl", "0", "{$X}", "{%", "prefetch", "10%", "answer", "auto", "#",
            ]),
            0..60,
        )
    ) {
        let _ = plan(&words.join(" "));
    }
}
