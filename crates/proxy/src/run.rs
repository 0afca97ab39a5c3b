//! The loop: take in what has changed, bring the kernel in step, and tell of it.

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::StatusCode;
use futures::{FutureExt, Stream, StreamExt};
use ipnet::IpNet;
use jiff::Timestamp;
use karve_watch::{ObjectName, Retry, ServiceEvent, record_service_event};
use kube::Client;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::checks::Checks;
use crate::dataplane::Family;
use crate::health::Health;
use crate::http::{self as server, Respond};
use crate::kernel::{self, Applied, Kernel};
use crate::metrics::{self, Metrics};
use crate::monitor::Monitor;
use crate::proxier::Proxier;
use crate::table::Layout;
use crate::watch::{self, Change, Intake};
use crate::{Error, Options, socket, sysctl};

/// Most changes that one transaction takes together, so that a flood cannot delay the first of them
/// for ever.
const CHANGES_MAX: usize = 4096;
/// Pause between attempts to get a server's address.
const LISTEN_PAUSE: Duration = Duration::from_secs(5);

/// Runs the proxy in the network namespace of this process until `shutdown`.
///
/// # Errors
/// When the kernel does not offer what is needed. Failures later on are logged and retried.
pub async fn run(
    client: Client,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    // Servers and health checks end with this function, whichever way it ends.
    let ended = shutdown.child_token();
    let _end = ended.clone().drop_guard();
    let mut proxiers = Vec::new();
    for family in &options.families {
        sysctl::set_forwarding(*family)?;
        proxiers.push(Proxier::new(
            Kernel::open(layout(&options, *family)).map_err(Error::Kernel)?,
        ));
    }
    if let Some(sockets) = &options.sockets {
        let balancers = socket::open(sockets, &options.families);
        for (proxier, balancer) in proxiers.iter_mut().zip(balancers) {
            proxier.set_balancer(balancer);
        }
    }
    let ports: Result<Vec<u32>, _> = proxiers.iter().map(Proxier::port).collect();
    let mut monitor = Monitor::open(&ports.map_err(Error::Kernel)?).map_err(Error::Monitor)?;
    let mut teller = Teller::new(client.clone(), &options);
    teller.start_servers(&options, &ended);
    let mut intake = Intake::default();
    intake.tells = options.programmed.is_some();
    let mut changes = pin!(watch::changes(&client, options.node_name.clone()));
    let (mut retry, mut wait) = (Retry::default(), None);
    loop {
        let next = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            next = changes.next() => next,
            () = monitor.changed() => None,
            () = after(wait) => {
                wait = None;
                proxiers.iter_mut().for_each(Proxier::retry);
                None
            }
        };
        take_changes(&mut intake, &mut proxiers, changes.as_mut(), next);

        teller.taken(&intake, &proxiers);
        if !intake.complete() {
            continue;
        }
        for proxier in &mut proxiers {
            if monitor.take_disturbed(proxier.family()) && proxier.in_step() {
                warn!(
                    family = proxier.family().name(),
                    "service rules were changed by another program"
                );
                proxier.doubt();
            }
        }
        let synced;
        (proxiers, synced) = tokio::task::spawn_blocking(move || sync_all(proxiers)).await?;
        let ok = teller.synced(&mut proxiers, synced);
        if let Some(programmed) = &options.programmed
            && proxiers.iter().all(Proxier::in_step)
        {
            for told in intake.changed_services.drain(..) {
                // Whoever wanted to know may be gone.
                let _ = programmed.send(told);
            }
        }
        if ok && !proxiers.iter().any(Proxier::is_partly) {
            (wait, retry) = (None, Retry::default());
        } else if wait.is_none() {
            wait = Some(tokio::time::Instant::now() + retry.pause());
        }
    }
}

fn layout(options: &Options, family: Family) -> Layout {
    let of_family = |nets: &[IpNet]| {
        let nets = nets.iter().filter(|net| Family::of_net(net) == family);
        nets.copied().collect()
    };
    Layout {
        family,
        cluster_cidrs: of_family(&options.cluster_cidrs),
        service_cidrs: of_family(&options.service_cidrs),
        node_port_addresses: of_family(&options.node_port_addresses),
    }
}

/// Waits; for ever when there is nothing to wait for.
async fn after(wait: Option<tokio::time::Instant>) {
    match wait {
        Some(wait) => tokio::time::sleep_until(wait).await,
        None => std::future::pending().await,
    }
}

/// Takes in `next` and whatever else has come by now: it belongs to the same transaction.
fn take_changes(
    intake: &mut Intake,
    proxiers: &mut [Proxier],
    mut changes: Pin<&mut impl Stream<Item = Change>>,
    mut next: Option<Change>,
) {
    let mut taken = 0;
    while let Some(change) = next {
        intake.take(proxiers, change);
        taken += 1;
        next = if taken < CHANGES_MAX {
            changes.next().now_or_never().flatten()
        } else {
            None
        };
    }
}

/// How one family's sync went.
struct Synced {
    family: Family,
    took: Duration,
    result: Result<Option<Applied>, kernel::Error>,
}

/// Brings the kernel in step where it isn't.
fn sync_all(mut proxiers: Vec<Proxier>) -> (Vec<Proxier>, Vec<Synced>) {
    let mut synced = Vec::new();
    for proxier in proxiers.iter_mut().filter(|proxier| proxier.is_behind()) {
        let (family, begin) = (proxier.family(), Instant::now());
        let result = proxier.sync();
        synced.push(Synced {
            family,
            took: begin.elapsed(),
            result,
        });
    }
    (proxiers, synced)
}

/// Tells of what happens: health, metrics, events, and load balancers' health checks.
struct Teller {
    client: Client,
    node: String,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    checks: Vec<Checks>,
    was_in_step: [bool; 2],
    begun: Timestamp,
    told: (u64, u64),
}

impl Teller {
    fn new(client: Client, options: &Options) -> Self {
        let health = Arc::new(Health::default());
        let checks = options.families.iter().map(|family| {
            let addresses = layout(options, *family).node_port_addresses;
            Checks::new(*family, addresses, health.clone())
        });
        Self {
            client,
            node: options.node_name.clone(),
            checks: checks.collect(),
            health,
            metrics: Arc::default(),
            was_in_step: [false; 2],
            begun: Timestamp::now(),
            told: (0, 0),
        }
    }

    fn start_servers(&self, options: &Options, ended: &CancellationToken) {
        if let Some(address) = options.healthz {
            let respond = respond_health(self.health.clone(), self.metrics.clone());
            tokio::spawn(keep_serving(address, respond, ended.clone()));
        }
        if let Some(address) = options.metrics {
            let respond = metrics::respond(self.metrics.clone());
            tokio::spawn(keep_serving(address, respond, ended.clone()));
        }
    }

    /// Changes were taken in.
    fn taken(&mut self, intake: &Intake, proxiers: &[Proxier]) {
        let now = Timestamp::now();
        self.health
            .set_node_eligible(intake.site.as_ref().is_some_and(|site| !site.leaving));
        for proxier in proxiers.iter().filter(|proxier| proxier.is_behind()) {
            self.health.queued(proxier.family(), now);
            self.metrics.queued(proxier.family(), now);
        }
        let (services, slices) = (intake.services - self.told.0, intake.slices - self.told.1);
        self.told = (intake.services, intake.slices);
        self.metrics.service_changes.inc_by(services);
        self.metrics.endpoint_changes.inc_by(slices);
        let pending: usize = proxiers.iter().map(|proxier| proxier.state.pending()).sum();
        self.metrics.service_changes_pending.set(pending as i64);
        self.metrics.endpoint_changes_pending.set(pending as i64);
    }

    /// The kernel was brought in step, or not; returns whether it is.
    fn synced(&mut self, proxiers: &mut [Proxier], synced: Vec<Synced>) -> bool {
        let mut ok = true;
        for Synced {
            family,
            took,
            result,
        } in synced
        {
            let proxier = proxiers.iter_mut().find(|p| p.family() == family);
            let Some(proxier) = proxier else { continue };
            match result {
                Ok(applied) => self.in_step(proxier, took, applied),
                Err(err) => {
                    ok = false;
                    self.metrics
                        .failures
                        .with_label_values(&[family.name()])
                        .inc();
                    let err = &err as &dyn StdError;
                    warn!(
                        family = family.name(),
                        err, "programming service rules failed"
                    );
                }
            }
        }
        self.metrics.service_changes_pending.set(0);
        self.metrics.endpoint_changes_pending.set(0);
        ok
    }

    fn in_step(&mut self, proxier: &mut Proxier, took: Duration, applied: Option<Applied>) {
        let (family, now) = (proxier.family(), Timestamp::now());
        let label = &[family.name()];
        if !std::mem::replace(&mut self.was_in_step[family as usize], true) {
            tell_in_step(family, applied.map_or(0, |applied| applied.elements));
        }
        self.health.updated(family, now);
        let news = proxier.take_news();
        let metrics = &self.metrics;
        metrics.synced(family, now);
        let kind = if news.full {
            &metrics.sync_full
        } else {
            &metrics.sync_partial
        };
        for histogram in [&metrics.sync, kind] {
            histogram
                .with_label_values(label)
                .observe(took.as_secs_f64());
        }
        metrics
            .conntrack
            .with_label_values(label)
            .observe(news.cutting.as_secs_f64());
        metrics.cut.with_label_values(label).inc_by(news.cut as u64);
        // What happened before this process began would measure its absence.
        for triggered in news
            .triggered
            .iter()
            .filter(|triggered| **triggered >= self.begun)
        {
            let seconds = now.duration_since(*triggered).as_secs_f64();
            metrics
                .programming
                .with_label_values(label)
                .observe(seconds);
        }
        let without = proxier.state.without_local();
        for (policy, count) in [
            ("internal", without.internal),
            ("external", without.external),
        ] {
            let gauge = metrics
                .without_local
                .with_label_values(&[family.name(), policy]);
            gauge.set(count as f64);
        }
        for contest in news.contests {
            let (address, winner, loser) =
                (contest.key.to_string(), &contest.winner, &contest.loser);
            warn!(%address, %winner, %loser, "two services claim one address");
            let message =
                format!("{address} belongs to Service {winner}, which comes first by name");
            self.warn(loser, "AddressConflict", message);
        }
        self.update_checks(proxier);
    }

    fn update_checks(&mut self, proxier: &Proxier) {
        let family = proxier.family();
        let checks = self.checks.iter_mut().find(|checks| checks.is_of(family));
        let failures = checks.map(|checks| checks.update(proxier.state.health()));
        for failure in failures.into_iter().flatten() {
            let (node, service, port) = (&self.node, &failure.service, failure.port);
            let message = format!(
                "node {node} failed to start healthcheck {:?} on port {port}: {}",
                service.to_string(),
                failure.reason
            );
            warn!(%service, port, reason = failure.reason, "health check port is not available");
            self.warn(service, "FailedToStartServiceHealthcheck", message);
        }
    }

    /// Tells of something about a Service, in the background.
    fn warn(&self, service: &ObjectName, reason: &'static str, message: String) {
        let (client, node) = (self.client.clone(), self.node.clone());
        let event = ServiceEvent {
            service: service.clone(),
            uid: String::new(),
            warning: true,
            reason,
            message,
        };
        tokio::spawn(async move {
            record_service_event(&client, "kube-proxy", Some(&node), event).await;
        });
    }
}

/// The table is there, so connection tracking is in use and its settings exist.
fn tell_in_step(family: Family, elements: usize) {
    info!(
        family = family.name(),
        elements, "service rules are in step"
    );
    if let Err(err) = sysctl::set_conntrack() {
        let err = &err as &dyn StdError;
        warn!(err, "connection tracking left as it is");
    }
}

/// Answers on kube-proxy's health address.
fn respond_health(health: Arc<Health>, metrics: Arc<Metrics>) -> Respond {
    Arc::new(move |request, _| {
        let now = Timestamp::now();
        let (report, counter) = match request.uri().path() {
            "/healthz" => (health.healthz(now), &metrics.healthz),
            "/livez" => (health.livez(now), &metrics.livez),
            _ => {
                return server::answer(
                    StatusCode::NOT_FOUND,
                    "text/plain; charset=utf-8",
                    "404 page not found\n",
                );
            }
        };
        let status = if report.healthy {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        counter.with_label_values(&[status.as_str()]).inc();
        server::answer(status, "application/json", report.body.to_string())
    })
}

/// Serves as soon as the address is to be had.
async fn keep_serving(address: SocketAddr, respond: Respond, ended: CancellationToken) {
    let mut told = false;
    let listener = loop {
        match server::listen(address) {
            Ok(listener) => break listener,
            Err(err) if !std::mem::replace(&mut told, true) => {
                warn!(%address, err = &err as &dyn StdError, "address is not available");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = ended.cancelled() => return,
            () = tokio::time::sleep(LISTEN_PAUSE) => {}
        }
    };
    server::serve(listener, respond, ended).await;
}
