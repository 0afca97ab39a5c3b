//! Figures under CoreDNS's names, for the dashboards that people have.
//!
//! What is counted for every answer is looked up by label once and then held ([`ServerMetrics`]): an answer costs a
//! few additions, no hashing.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::stored::Stored;
use crate::wire::{Transport, number, rtype};

/// The record types that have names of their own in figures, as CoreDNS's.
const TYPES: [(u16, &str); 13] = [
    (rtype::A, "A"),
    (rtype::AAAA, "AAAA"),
    (rtype::MX, "MX"),
    (rtype::SRV, "SRV"),
    (rtype::TXT, "TXT"),
    (rtype::CNAME, "CNAME"),
    (rtype::PTR, "PTR"),
    (rtype::NS, "NS"),
    (rtype::SOA, "SOA"),
    (43, "DS"),
    (48, "DNSKEY"),
    (65, "HTTPS"),
    (rtype::ANY, "ANY"),
];
const RCODES: [&str; 11] = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET",
    "NXRRSET", "NOTAUTH", "NOTZONE",
];

/// The name of a response code.
pub fn rcode_name(rcode: u8) -> &'static str {
    RCODES.get(usize::from(rcode)).copied().unwrap_or("BADVERS")
}

/// The name of a record type; CoreDNS says "other" for those that are rare.
pub fn type_name(qtype: u16) -> &'static str {
    TYPES
        .iter()
        .find(|(number, _)| *number == qtype)
        .map_or("other", |(_, name)| name)
}

/// All figures of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    request_sizes: HistogramVec,
    response_sizes: HistogramVec,
    responses: IntCounterVec,
    /// Plugins by server.
    pub plugins: IntGaugeVec,
    cache_entries: IntGaugeVec,
    cache_hits: IntCounterVec,
    cache_misses: IntCounterVec,
    cache_requests: IntCounterVec,
    cache_prefetches: IntCounterVec,
    cache_stale: IntCounterVec,
    forward_requests: IntCounterVec,
    forward_responses: IntCounterVec,
    forward_durations: HistogramVec,
    health_failures: IntCounterVec,
    /// All upstreams unwell.
    pub forward_all_unwell: IntCounter,
    /// Too many questions at once.
    pub forward_rejected: IntCounter,
    /// Refused for one client's flood.
    pub limited: IntCounter,
    /// Search walks answered at their first step.
    pub walks: IntCounter,
    programming: HistogramVec,
    /// Corefiles refused.
    pub reload_failed: IntCounter,
    /// Records from hosts files.
    pub hosts_entries: IntGaugeVec,
}

/// Doubling from 0.25 ms, as CoreDNS.
fn times() -> Vec<f64> {
    (0..16).map(|step| 0.00025 * f64::from(1 << step)).collect()
}

fn sizes() -> Vec<f64> {
    [
        0.0, 100.0, 200.0, 300.0, 400.0, 511.0, 1023.0, 2047.0, 4095.0, 8291.0, 16e3, 32e3, 48e3,
        64e3,
    ]
    .to_vec()
}

struct Making {
    registry: Registry,
}

impl Making {
    fn add<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.expect("names and labels are constants and well formed");
        self.registry
            .register(Box::new(collector.clone()))
            .expect("each name stands once");
        collector
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: Vec<f64>,
        labels: &[&str],
    ) -> HistogramVec {
        let opts = HistogramOpts::new(name, help).buckets(buckets);
        self.add(HistogramVec::new(opts, labels))
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        let make = Making {
            registry: Registry::new(),
        };
        let server = ["server", "zone", "view"];
        let by = |more: &[&'static str]| [&server[..], more].concat();
        let cache = ["server", "zones", "view"];
        Metrics {
            requests: make.counters(
                "coredns_dns_requests_total",
                "Counter of DNS requests made per zone, protocol and family.",
                &by(&["proto", "family", "type"]),
            ),
            durations: make.histograms(
                "coredns_dns_request_duration_seconds",
                "Histogram of the time (in seconds) each request took per zone.",
                times(),
                &server,
            ),
            request_sizes: make.histograms(
                "coredns_dns_request_size_bytes",
                "Size of the EDNS0 UDP buffer in bytes (64K for TCP) per zone and protocol.",
                sizes(),
                &by(&["proto"]),
            ),
            response_sizes: make.histograms(
                "coredns_dns_response_size_bytes",
                "Size of the returned response in bytes.",
                sizes(),
                &by(&["proto"]),
            ),
            responses: make.counters(
                "coredns_dns_responses_total",
                "Counter of response status codes.",
                &by(&["rcode", "plugin"]),
            ),
            plugins: make.gauges(
                "coredns_plugin_enabled",
                "A metric that indicates whether a plugin is enabled on per server and zone basis.",
                &by(&["name"]),
            ),
            cache_entries: make.gauges(
                "coredns_cache_entries",
                "The number of elements in the cache.",
                &["server", "type", "zones", "view"],
            ),
            cache_hits: make.counters(
                "coredns_cache_hits_total",
                "The count of cache hits.",
                &["server", "type", "zones", "view"],
            ),
            cache_misses: make.counters(
                "coredns_cache_misses_total",
                "The count of cache misses.",
                &cache,
            ),
            cache_requests: make.counters(
                "coredns_cache_requests_total",
                "The count of cache requests.",
                &cache,
            ),
            cache_prefetches: make.counters(
                "coredns_cache_prefetch_total",
                "The number of times the cache has prefetched a cached item.",
                &cache,
            ),
            cache_stale: make.counters(
                "coredns_cache_served_stale_total",
                "The number of requests served from stale cache entries.",
                &cache,
            ),
            forward_requests: make.counters(
                "coredns_forward_requests_total",
                "Counter of requests made per upstream.",
                &["to"],
            ),
            forward_responses: make.counters(
                "coredns_forward_responses_total",
                "Counter of responses received per upstream.",
                &["rcode", "to"],
            ),
            forward_durations: make.histograms(
                "coredns_proxy_request_duration_seconds",
                "Histogram of the time each request took.",
                times(),
                &["proxy_name", "to", "rcode"],
            ),
            health_failures: make.counters(
                "coredns_proxy_healthcheck_failures_total",
                "Counter of the number of failed healthchecks.",
                &["proxy_name", "to"],
            ),
            forward_all_unwell: make.counter(
                "coredns_forward_healthcheck_broken_total",
                "Counter of the number of complete failures of the healthchecks.",
            ),
            forward_rejected: make.counter(
                "coredns_forward_max_concurrent_rejects_total",
                "Counter of the number of queries rejected because the concurrent queries were at maximum.",
            ),
            limited: make.counter(
                "karve_dns_client_limited_total",
                "Counter of outside names refused since one client asked for too many.",
            ),
            walks: make.counter(
                "coredns_autopath_success_total",
                "Counter of requests that did autopath.",
            ),
            programming: make.histograms(
                "coredns_kubernetes_dns_programming_duration_seconds",
                "Histogram of the time (in seconds) it took to program a dns instance.",
                (0..20).map(|step| 0.001 * f64::from(1 << step)).collect(),
                &["service_kind"],
            ),
            reload_failed: make.counter(
                "coredns_reload_failed_total",
                "Counter of the number of failed reload attempts.",
            ),
            hosts_entries: make.gauges(
                "coredns_hosts_entries",
                "The combined number of entries in hosts and Corefile.",
                &[],
            ),
            registry: make.registry,
        }
    }
}

impl Metrics {
    /// The text of `/metrics`.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Only a broken collector fails, and there is none.
        let _ = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text);
        text
    }

    /// An upstream was asked.
    pub fn forwarded(&self, to: &SocketAddr, said: Option<&Stored>, took: Duration) {
        let to = to.to_string();
        self.forward_requests.with_label_values(&[&to]).inc();
        let Some(said) = said else { return };
        let rcode = rcode_name(said.rcode());
        self.forward_responses
            .with_label_values(&[rcode, &to])
            .inc();
        self.forward_durations
            .with_label_values(&["forward", &to, rcode])
            .observe(took.as_secs_f64());
    }

    /// An upstream that failed is still unwell.
    pub fn health_failed(&self, to: &SocketAddr) {
        self.health_failures
            .with_label_values(&["forward", &to.to_string()])
            .inc();
    }

    /// A headless Service's endpoints answer, so long after they changed.
    pub fn programmed(&self, kind: &str, after: Duration) {
        self.programming
            .with_label_values(&[kind])
            .observe(after.as_secs_f64());
    }

    /// The figures of a server block.
    pub fn server(self: &Arc<Self>, server: String, zone: String) -> ServerMetrics {
        let labels = [server.as_str(), zone.as_str(), ""];
        let of = |proto| [server.as_str(), zone.as_str(), "", proto];
        let cache = [server.as_str(), zone.as_str(), ""];
        ServerMetrics {
            requests: std::array::from_fn(|_| OnceLock::new()),
            responses: std::array::from_fn(|_| OnceLock::new()),
            durations: self.durations.with_label_values(&labels),
            request_sizes: ["udp", "tcp"].map(|p| self.request_sizes.with_label_values(&of(p))),
            response_sizes: ["udp", "tcp"].map(|p| self.response_sizes.with_label_values(&of(p))),
            cache_hits: ["success", "denial"].map(|kind| {
                self.cache_hits
                    .with_label_values(&[&server, kind, &zone, ""])
            }),
            cache_misses: self.cache_misses.with_label_values(&cache),
            cache_requests: self.cache_requests.with_label_values(&cache),
            cache_prefetches: self.cache_prefetches.with_label_values(&cache),
            cache_stale: self.cache_stale.with_label_values(&cache),
            all: self.clone(),
            server,
            zone,
        }
    }
}

const PROTOCOLS: [&str; 2] = ["udp", "tcp"];
const FAMILIES: [&str; 2] = ["1", "2"];
/// One for each type, and one for the others.
const KINDS: usize = TYPES.len() + 1;

/// Which plugin answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// None: the server itself.
    None,
    /// Names of the cluster.
    Kubernetes,
    /// A kept answer.
    Cache,
    /// An upstream.
    Forward,
    /// A hosts file.
    Hosts,
    /// A template.
    Template,
}

const PLUGINS: [&str; 6] = ["", "kubernetes", "cache", "forward", "hosts", "template"];

/// The figures of one server.
#[derive(Debug)]
pub struct ServerMetrics {
    all: Arc<Metrics>,
    server: String,
    zone: String,
    requests: [OnceLock<IntCounter>; 4 * KINDS],
    responses: [OnceLock<IntCounter>; 12 * PLUGINS.len()],
    durations: Histogram,
    request_sizes: [Histogram; 2],
    response_sizes: [Histogram; 2],
    cache_hits: [IntCounter; 2],
    /// Not kept.
    pub cache_misses: IntCounter,
    /// Looked for.
    pub cache_requests: IntCounter,
    /// Fetched early.
    pub cache_prefetches: IntCounter,
    /// Answered late.
    pub cache_stale: IntCounter,
}

impl ServerMetrics {
    /// Counts a request.
    pub fn asked(&self, transport: Transport, v6: bool, qtype: u16, size: usize) {
        let proto = usize::from(transport == Transport::Tcp);
        let known = TYPES.iter().position(|(number, _)| *number == qtype);
        let kind = known.unwrap_or(TYPES.len());
        let at = (proto * 2 + usize::from(v6)) * KINDS + kind;
        let counter = self.requests[at].get_or_init(|| {
            self.all.requests.with_label_values(&[
                &self.server,
                &self.zone,
                "",
                PROTOCOLS[proto],
                FAMILIES[usize::from(v6)],
                type_name(qtype),
            ])
        });
        counter.inc();
        self.request_sizes[proto].observe(size as f64);
    }

    /// Counts a reply.
    pub fn answered(&self, transport: Transport, reply: &[u8], plugin: Plugin, took: Duration) {
        let rcode = reply.get(3).map_or(2, |flags| flags & 0xf).min(11);
        let at = usize::from(rcode) * PLUGINS.len() + plugin as usize;
        let counter = self.responses[at].get_or_init(|| {
            self.all.responses.with_label_values(&[
                &self.server,
                &self.zone,
                "",
                rcode_name(rcode),
                PLUGINS[plugin as usize],
            ])
        });
        counter.inc();
        let proto = usize::from(transport == Transport::Tcp);
        self.response_sizes[proto].observe(reply.len() as f64);
        self.durations.observe(took.as_secs_f64());
    }

    /// Counts a kept answer.
    pub fn cache_hit(&self, reply: &[u8]) {
        let denial = number(reply, 6) == Some(0);
        self.cache_hits[usize::from(denial)].inc();
    }

    /// How many answers are kept.
    pub fn cache_len(&self, (success, denial): (usize, usize)) {
        for (kind, len) in [("success", success), ("denial", denial)] {
            self.all
                .cache_entries
                .with_label_values(&[&self.server, kind, &self.zone, ""])
                .set(len as i64);
        }
    }
}
