//! Metrics, with kube-proxy's names, and the server that shows them.

use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;
use prometheus::{
    Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    Opts, Registry, TextEncoder, exponential_buckets, linear_buckets,
};

use crate::dataplane::Family;
use crate::http::{Answer, Respond, answer};

/// What is counted and measured.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub sync: HistogramVec,
    pub sync_full: HistogramVec,
    pub sync_partial: HistogramVec,
    pub last_sync: GaugeVec,
    pub last_queued: GaugeVec,
    pub programming: HistogramVec,
    pub endpoint_changes: IntCounter,
    pub endpoint_changes_pending: IntGauge,
    pub service_changes: IntCounter,
    pub service_changes_pending: IntGauge,
    pub failures: IntCounterVec,
    pub without_local: GaugeVec,
    pub conntrack: HistogramVec,
    pub cut: IntCounterVec,
    pub healthz: IntCounterVec,
    pub livez: IntCounterVec,
}

/// Registers what cannot be wrong: names are constants, and each is registered once.
fn add<M: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<M>,
) -> M {
    let metric = metric.expect("constant names are valid");
    registry
        .register(Box::new(metric.clone()))
        .expect("each name is registered once");
    metric
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        let by_family: &[&str] = &["ip_family"];
        let opts = |name: &str, help: &str| Opts::new(format!("kubeproxy_{name}"), help);
        let seconds = |name: &str, help: &str, buckets: Vec<f64>| {
            let opts = HistogramOpts::from(opts(name, help)).buckets(buckets);
            add(&registry, HistogramVec::new(opts, by_family))
        };
        let short = || exponential_buckets(0.001, 2.0, 15).expect("constant buckets");
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            add(&registry, GaugeVec::new(opts(name, help), labels))
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            add(&registry, IntCounterVec::new(opts(name, help), labels))
        };
        let counter =
            |name: &str, help: &str| add(&registry, IntCounter::with_opts(opts(name, help)));
        let pending =
            |name: &str, help: &str| add(&registry, IntGauge::with_opts(opts(name, help)));
        Self {
            sync: seconds(
                "sync_proxy_rules_duration_seconds",
                "SyncProxyRules latency in seconds",
                short(),
            ),
            sync_full: seconds(
                "sync_full_proxy_rules_duration_seconds",
                "SyncProxyRules latency in seconds for full resyncs",
                short(),
            ),
            sync_partial: seconds(
                "sync_partial_proxy_rules_duration_seconds",
                "SyncProxyRules latency in seconds for partial resyncs",
                short(),
            ),
            last_sync: gauge(
                "sync_proxy_rules_last_timestamp_seconds",
                "The last time proxy rules were successfully synced",
                by_family,
            ),
            last_queued: gauge(
                "sync_proxy_rules_last_queued_timestamp_seconds",
                "The last time a sync of proxy rules was queued",
                by_family,
            ),
            programming: seconds(
                "network_programming_duration_seconds",
                "In Cluster Network Programming Latency in seconds",
                programming_buckets(),
            ),
            endpoint_changes: counter(
                "sync_proxy_rules_endpoint_changes_total",
                "Cumulative proxy rules Endpoint changes",
            ),
            endpoint_changes_pending: pending(
                "sync_proxy_rules_endpoint_changes_pending",
                "Pending proxy rules Endpoint changes",
            ),
            service_changes: counter(
                "sync_proxy_rules_service_changes_total",
                "Cumulative proxy rules Service changes",
            ),
            service_changes_pending: pending(
                "sync_proxy_rules_service_changes_pending",
                "Pending proxy rules Service changes",
            ),
            failures: counters(
                "sync_proxy_rules_nftables_sync_failures_total",
                "Cumulative proxy nftables sync failures",
                by_family,
            ),
            without_local: gauge(
                "sync_proxy_rules_no_local_endpoints_total",
                "Number of services with a Local traffic policy and no endpoints",
                &["ip_family", "traffic_policy"],
            ),
            conntrack: seconds(
                "conntrack_reconciler_sync_duration_seconds",
                "ReconcileConntrackFlowsLatency latency in seconds",
                short(),
            ),
            cut: counters(
                "conntrack_reconciler_deleted_entries_total",
                "Cumulative conntrack flows deleted by conntrack reconciler",
                by_family,
            ),
            healthz: counters(
                "proxy_healthz_total",
                "Cumulative proxy healthz HTTP status",
                &["code"],
            ),
            livez: counters(
                "proxy_livez_total",
                "Cumulative proxy livez HTTP status",
                &["code"],
            ),
            registry,
        }
    }
}

/// 0.25 s, 0.5 s, each second to a minute, each five seconds to two, and each thirty to five.
fn programming_buckets() -> Vec<f64> {
    let linear =
        |start, width, count| linear_buckets(start, width, count).expect("constant buckets");
    [
        linear(0.25, 0.25, 2),
        linear(1.0, 1.0, 59),
        linear(60.0, 5.0, 12),
        linear(120.0, 30.0, 7),
    ]
    .concat()
}

impl Metrics {
    /// All of them as text.
    pub(crate) fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        // Memory takes all that is written to it, and the families are the registry's own.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        text
    }

    /// Notes that a sync is wanted.
    pub(crate) fn queued(&self, family: Family, now: Timestamp) {
        gauge_now(&self.last_queued.with_label_values(&[family.name()]), now);
    }

    /// Notes that the kernel is as desired.
    pub(crate) fn synced(&self, family: Family, now: Timestamp) {
        gauge_now(&self.last_sync.with_label_values(&[family.name()]), now);
    }
}

fn gauge_now(gauge: &Gauge, now: Timestamp) {
    gauge.set(now.as_duration().as_secs_f64());
}

/// Answers on kube-proxy's metrics address.
pub(crate) fn respond(metrics: Arc<Metrics>) -> Respond {
    Arc::new(move |request, _: SocketAddr| -> Answer {
        match request.uri().path() {
            "/metrics" => answer(StatusCode::OK, "text/plain; version=0.0.4", metrics.text()),
            "/proxyMode" => answer(StatusCode::OK, "text/plain; charset=utf-8", "nftables"),
            "/healthz" => answer(StatusCode::OK, "text/plain; charset=utf-8", "ok"),
            _ => answer(
                StatusCode::NOT_FOUND,
                "text/plain; charset=utf-8",
                "404 page not found\n",
            ),
        }
    })
}
