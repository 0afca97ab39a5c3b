//! The families of metrics that are counted as things happen: upstream's names, help texts, labels and buckets.

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

const DURATIONS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
    10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
];
const SIZES: [f64; 7] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
const EVENT_SIZES: [f64; 8] = [
    1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 65536.0, 131072.0,
];
const WAITS: [f64; 14] = [
    0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0,
];

const REQUEST: [&str; 7] = [
    "verb",
    "group",
    "version",
    "resource",
    "subresource",
    "scope",
    "component",
];
const WITH_CODE: [&str; 9] = [
    "verb",
    "dry_run",
    "group",
    "version",
    "resource",
    "subresource",
    "scope",
    "component",
    "code",
];

/// All of them, and the registry that gathers them.
pub struct Families {
    pub registry: Registry,
    pub requests: IntCounterVec,
    pub durations: HistogramVec,
    pub sli_durations: HistogramVec,
    pub response_sizes: HistogramVec,
    pub long_running: IntGaugeVec,
    pub reading: IntGauge,
    pub writing: IntGauge,
    pub terminations: IntCounterVec,
    pub watch_events: IntCounterVec,
    pub watch_event_sizes: HistogramVec,
    pub handshake_errors: IntCounter,
    pub dispatched: IntCounterVec,
    pub rejected: IntCounterVec,
    pub waits: HistogramVec,
}

/// Makes families and registers them. Names and labels are constants, so making can't fail.
struct Maker(Registry);

const CONSTANT: &str = "names and labels of metrics are valid and different";

impl Maker {
    fn counter(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        let made = IntCounterVec::new(Opts::new(name, help), labels).expect(CONSTANT);
        self.0.register(Box::new(made.clone())).expect(CONSTANT);
        made
    }

    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        let made = IntGaugeVec::new(Opts::new(name, help), labels).expect(CONSTANT);
        self.0.register(Box::new(made.clone())).expect(CONSTANT);
        made
    }

    fn histogram(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let made = HistogramVec::new(options, labels).expect(CONSTANT);
        self.0.register(Box::new(made.clone())).expect(CONSTANT);
        made
    }
}

impl Families {
    /// All at zero.
    pub fn new() -> Families {
        let make = Maker(Registry::new());
        let in_flight = make.gauge(
            "apiserver_current_inflight_requests",
            "Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
            &["request_kind"],
        );
        let handshakes = make.counter(
            "apiserver_tls_handshake_errors_total",
            "Number of requests dropped with 'TLS handshake error from' error",
            &[],
        );
        let with_dry_run = &WITH_CODE[..8];
        let terminated = [&REQUEST[..], &["code"]].concat();
        Families {
            requests: make.counter(
                "apiserver_request_total",
                "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, \
                 component, and HTTP response code.",
                &WITH_CODE,
            ),
            durations: make.histogram(
                "apiserver_request_duration_seconds",
                "Response latency distribution in seconds for each verb, dry run value, group, version, resource, \
                 subresource, scope and component.",
                with_dry_run,
                &DURATIONS,
            ),
            sli_durations: make.histogram(
                "apiserver_request_sli_duration_seconds",
                "Response latency distribution (not counting webhook duration and priority & fairness queue wait times) \
                 in seconds for each verb, group, version, resource, subresource, scope and component.",
                &REQUEST,
                &DURATIONS[2..],
            ),
            response_sizes: make.histogram(
                "apiserver_response_sizes",
                "Response size distribution in bytes for each group, version, verb, resource, subresource, scope and \
                 component.",
                &REQUEST,
                &SIZES,
            ),
            long_running: make.gauge(
                "apiserver_longrunning_requests",
                "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope \
                 and component. Not all requests are tracked this way.",
                &REQUEST,
            ),
            reading: in_flight.with_label_values(&["readOnly"]),
            writing: in_flight.with_label_values(&["mutating"]),
            terminations: make.counter(
                "apiserver_request_terminations_total",
                "Number of requests which apiserver terminated in self-defense.",
                &terminated,
            ),
            watch_events: make.counter(
                "apiserver_watch_events_total",
                "Number of events sent in watch clients",
                &["group", "version", "resource"],
            ),
            watch_event_sizes: make.histogram(
                "apiserver_watch_events_sizes",
                "Watch event size distribution in bytes",
                &["group", "version", "resource"],
                &EVENT_SIZES,
            ),
            handshake_errors: handshakes.with_label_values(&[] as &[&str]),
            dispatched: make.counter(
                "apiserver_flowcontrol_dispatched_requests_total",
                "Number of requests executed by API Priority and Fairness subsystem",
                &["priority_level", "flow_schema"],
            ),
            rejected: make.counter(
                "apiserver_flowcontrol_rejected_requests_total",
                "Number of requests rejected by API Priority and Fairness subsystem",
                &["priority_level", "flow_schema", "reason"],
            ),
            waits: make.histogram(
                "apiserver_flowcontrol_request_wait_duration_seconds",
                "Length of time a request spent waiting in its queue",
                &["priority_level", "flow_schema", "execute"],
                &WAITS,
            ),
            registry: make.0,
        }
    }
}
