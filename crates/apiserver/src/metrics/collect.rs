//! What is looked at when somebody asks for metrics: objects, the store, flow control, the process.

use std::fs;
use std::time::SystemTime;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, GaugeVec, Opts};

use crate::server::Server;

/// Gauges of this moment.
pub fn gather(server: &Server) -> Vec<MetricFamily> {
    let mut families = Vec::new();
    objects(server, &mut families);
    store(server, &mut families);
    flow(server, &mut families);
    process(&mut families);
    let platform = format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH);
    let build = ["1", "37", karve_api::discovery::GIT_VERSION, &platform];
    let labels = ["major", "minor", "git_version", "platform"];
    let help =
        "A metric with a constant '1' value labeled by the version of Kubernetes that is served.";
    families.extend(gauge(
        "kubernetes_build_info",
        help,
        &labels,
        [(build, 1.0)],
    ));
    families
}

/// One family of gauges.
fn gauge<const N: usize>(
    name: &str,
    help: &str,
    labels: &[&str; N],
    values: impl IntoIterator<Item = ([impl AsRef<str>; N], f64)>,
) -> Vec<MetricFamily> {
    let family = GaugeVec::new(Opts::new(name, help), labels)
        .expect("names and labels of metrics are valid");
    for (labels, value) in values {
        let labels: Vec<&str> = labels.iter().map(AsRef::as_ref).collect();
        family.with_label_values(&labels).set(value);
    }
    family.collect()
}

/// One counter without labels.
fn counter(name: &str, help: &str, value: f64) -> Vec<MetricFamily> {
    let family = CounterVec::new(Opts::new(name, help), &[]).expect("names of metrics are valid");
    family
        .with_label_values(&[] as &[&str])
        .inc_by(value.max(0.0));
    family.collect()
}

/// Objects by resource, from the store's own counts.
fn objects(server: &Server, families: &mut Vec<MetricFamily>) {
    let counts: Vec<(String, String, karve_store::Count)> = server
        .store
        .counts()
        .into_iter()
        .filter_map(|(collection, count)| {
            let (group, resource) = collection.trim_matches('/').split_once('/')?;
            let group = if group == "core" { "" } else { group };
            (group != "internal").then(|| (group.to_owned(), resource.to_owned(), count))
        })
        .collect();
    let by_resource = |(group, resource, count): &(String, String, karve_store::Count)| {
        let name = match group.is_empty() {
            true => resource.clone(),
            false => format!("{resource}.{group}"),
        };
        ([name], count.entries as f64)
    };
    families.extend(gauge(
        "apiserver_storage_objects",
        "[DEPRECATED, consider using apiserver_resource_objects instead] Number of stored objects at the time of last \
         check split by kind. In case of a fetching error, the value will be -1.",
        &["resource"],
        counts.iter().map(by_resource),
    ));
    families.extend(gauge(
        "apiserver_resource_objects",
        "Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will \
         be -1.",
        &["group", "resource"],
        counts.iter().map(|(g, r, count)| ([g, r], count.entries as f64)),
    ));
    families.extend(gauge(
        "apiserver_resource_size_estimate_bytes",
        "Estimated size of stored objects in database. Estimate is based on sum of last observed sizes of serialized \
         objects. In case of a fetching error, the value will be -1.",
        &["group", "resource"],
        counts.iter().map(|(g, r, count)| ([g, r], count.bytes as f64)),
    ));
}

/// The store's file and its syncs, under the names that dashboards for etcd ask for.
fn store(server: &Server, families: &mut Vec<MetricFamily>) {
    let statistics = server.store.statistics();
    let help = "Size of the storage database file physically allocated in bytes.";
    let size = [(["karve"], statistics.file_bytes as f64)];
    families.extend(gauge(
        "apiserver_storage_size_bytes",
        help,
        &["storage_cluster_id"],
        size,
    ));
    let help = "Total size of the underlying database physically allocated in bytes.";
    let size = [([""; 0], statistics.file_bytes as f64)];
    families.extend(gauge("etcd_mvcc_db_total_size_in_bytes", help, &[], size));
    let help = "Commits of the store that became durable.";
    families.extend(counter(
        "karve_store_commits_total",
        help,
        statistics.commits as f64,
    ));
    let help = "Syncs of the store: many commits share one.";
    families.extend(counter(
        "karve_store_syncs_total",
        help,
        statistics.syncs as f64,
    ));
    let help = "Seconds that syncs took in all.";
    let seconds = statistics.sync_time.as_secs_f64();
    families.extend(counter("karve_store_sync_seconds_total", help, seconds));
}

fn flow(server: &Server, families: &mut Vec<MetricFamily>) {
    let Some(flow) = &server.flow else {
        return;
    };
    let mut rows: Vec<(String, [f64; 6])> = Vec::new();
    flow.usage(|usage| {
        let limits = usage.limits;
        rows.push((
            usage.level.to_owned(),
            [
                limits.nominal as f64,
                limits.kept as f64,
                limits.max as f64,
                usage.seats as f64,
                usage.requests as f64,
                usage.waiting as f64,
            ],
        ));
    });
    const GAUGES: [(&str, &str); 6] = [
        (
            "nominal_limit_seats",
            "Nominal number of execution seats configured for each priority level",
        ),
        (
            "lower_limit_seats",
            "Configured lower bound on number of execution seats available to each priority level",
        ),
        (
            "upper_limit_seats",
            "Configured upper bound on number of execution seats available to each priority level",
        ),
        (
            "current_executing_seats",
            "Concurrency (number of seats) occupied by the currently executing requests",
        ),
        (
            "current_executing_requests",
            "Number of requests in initial execution stage",
        ),
        (
            "current_inqueue_requests",
            "Number of requests currently pending in queues",
        ),
    ];
    for (i, (name, help)) in GAUGES.iter().enumerate() {
        let name = format!("apiserver_flowcontrol_{name}");
        let values = rows.iter().map(|(level, values)| ([level], values[i]));
        families.extend(gauge(&name, help, &["priority_level"], values));
    }
}

/// What Prometheus' own clients say of a process, from procfs.
fn process(families: &mut Vec<MetricFamily>) {
    /// Linux counts CPU time in hundredths of a second for whoever asks (USER_HZ).
    const TICKS: f64 = 100.0;
    const PAGE: f64 = 4096.0;
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0.0))
        .collect();
    // Fields of proc(5), counted from the one behind the name.
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0.0);
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let uptime: f64 = uptime
        .split_whitespace()
        .next()
        .and_then(|t| t.parse().ok())
        .unwrap_or(0.0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let started = now.map_or(0.0, |now| now.as_secs_f64()) - uptime + field(22) / TICKS;
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let max: f64 = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .and_then(|line| line.split_whitespace().nth(3)?.parse().ok())
        .unwrap_or(0.0);
    let spent = (field(14) + field(15)) / TICKS;
    let help = "Total user and system CPU time spent in seconds.";
    families.extend(counter("process_cpu_seconds_total", help, spent));
    let values = [
        (
            "process_max_fds",
            "Maximum number of open file descriptors.",
            max,
        ),
        (
            "process_open_fds",
            "Number of open file descriptors.",
            open as f64,
        ),
        (
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            field(24) * PAGE,
        ),
        (
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            started,
        ),
        (
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            field(23),
        ),
    ];
    for (name, help, value) in values {
        families.extend(gauge(name, help, &[], [([""; 0], value)]));
    }
}
