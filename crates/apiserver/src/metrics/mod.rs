//! `/metrics`: what dashboards for Kubernetes ask for, under upstream's names and labels.
//!
//! A request costs a few lookups by its labels. What can be counted when somebody asks is counted then ([`collect`]).
//! Labels come from the resource table, never from what clients make up, so that their number is bounded.

mod collect;
mod families;
mod labels;

use std::time::Duration;

use http::header;
use prometheus::core::{AtomicI64, AtomicU64, GenericCounter, GenericGauge};
use prometheus::{Encoder as _, Histogram, TextEncoder};

use crate::answer::{self, HttpResponse};
use crate::body::Body;
use crate::flow::{Class, Seat, TooMany};
use crate::seen::Seen;
use crate::server::Server;
use families::Families;
use labels::Labels;

/// Prometheus' text form, as upstream calls it.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// What the server counts.
pub struct Metrics {
    families: Families,
}

/// A request that is being answered.
pub struct Running {
    gauges: Vec<GenericGauge<AtomicI64>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.gauges.iter().for_each(GenericGauge::dec);
    }
}

impl Running {
    /// Lets a stream count as running until it ends.
    pub fn until_sent(self, response: HttpResponse) -> HttpResponse {
        response.map(|body| match body {
            Body::Stream(stream) => Body::Stream(Box::pin(futures::stream::unfold(
                (stream, self),
                |(mut stream, running)| async move {
                    let item = futures::StreamExt::next(&mut stream).await?;
                    Some((item, (stream, running)))
                },
            ))),
            other => other,
        })
    }
}

/// Counts the events of one watch.
#[derive(Clone)]
pub struct WatchCounters {
    events: GenericCounter<AtomicU64>,
    sizes: Histogram,
}

impl WatchCounters {
    /// An event of so many bytes is sent.
    pub fn sent(&self, bytes: usize) {
        self.events.inc();
        self.sizes.observe(bytes as f64);
    }
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Metrics {
        Metrics {
            families: Families::new(),
        }
    }

    /// A request comes.
    pub fn begin(&self, seen: &Seen) -> Running {
        let families = &self.families;
        let gauge = match seen.runs_long() {
            true => {
                let labels = Labels::of(seen, true);
                families
                    .long_running
                    .with_label_values(&labels.without_code())
            }
            false if seen.reads() => families.reading.clone(),
            false => families.writing.clone(),
        };
        gauge.inc();
        Running {
            gauges: vec![gauge],
        }
    }

    /// A request has its answer. `known`: whether the table has its resource.
    pub fn answered(
        &self,
        seen: &Seen,
        known: bool,
        response: &HttpResponse,
        took: Duration,
        waited: Duration,
    ) {
        let Some(labels) = labels::reported(seen, known) else {
            return;
        };
        let families = &self.families;
        let dry_run = labels::dry_run(seen);
        let code = response.status();
        families
            .requests
            .with_label_values(&labels.with_code(dry_run, code.as_str()))
            .inc();
        if seen.runs_long() && code.is_success() {
            // Upstream observes these when they end, which says nothing of the server's speed.
            return;
        }
        families
            .durations
            .with_label_values(&labels.with_dry_run(dry_run))
            .observe(took.as_secs_f64());
        let own = took.saturating_sub(waited).as_secs_f64();
        families
            .sli_durations
            .with_label_values(&labels.without_code())
            .observe(own);
        if let (true, Body::Whole(Some(bytes))) = (seen.reads(), response.body()) {
            families
                .response_sizes
                .with_label_values(&labels.without_code())
                .observe(bytes.len() as f64);
        }
    }

    /// A request was cut short to save the server.
    pub fn terminated(&self, seen: &Seen, code: u16) {
        if let Some(labels) = labels::reported(seen, true) {
            let code = code.to_string();
            self.families
                .terminations
                .with_label_values(&labels.terminated(&code))
                .inc();
        }
    }

    /// Flow control has decided.
    pub fn entered(&self, class: &Class, entered: &Result<Seat, TooMany>) {
        let families = &self.families;
        let labels = [&*class.schema, &*class.level];
        match entered {
            Ok(seat) => {
                families
                    .dispatched
                    .with_label_values(&[labels[1], labels[0]])
                    .inc();
                let labels = [labels[1], labels[0], "true"];
                families
                    .waits
                    .with_label_values(&labels)
                    .observe(seat.waited.as_secs_f64());
            }
            Err(too_many) => {
                let labels = [labels[1], labels[0], too_many.reason.as_str()];
                families.rejected.with_label_values(&labels).inc();
            }
        }
    }

    /// A client's handshake failed.
    pub fn handshake_failed(&self) {
        self.families.handshake_errors.inc();
    }

    /// The counters of a watch of a resource.
    pub fn watch(&self, group: &str, version: &str, resource: &str) -> WatchCounters {
        let labels = [group, version, resource];
        WatchCounters {
            events: self.families.watch_events.with_label_values(&labels),
            sizes: self.families.watch_event_sizes.with_label_values(&labels),
        }
    }

    /// Everything, as text.
    pub fn render(&self, server: &Server) -> HttpResponse {
        let mut gathered = self.families.registry.gather();
        gathered.extend(collect::gather(server));
        gathered.sort_by(|a, b| a.name().cmp(b.name()));
        let mut text = Vec::new();
        match TextEncoder::new().encode(&gathered, &mut text) {
            Ok(()) => answer::with_type(200, TEXT, text),
            Err(err) => answer::error(
                500,
                &format!("An error has occurred while serving metrics:\n\n{err}"),
            ),
        }
    }

    /// The results of health checks (KEP-3466).
    pub fn render_checks(
        checks: impl Iterator<Item = (&'static str, &'static str, bool)>,
    ) -> HttpResponse {
        let mut text = String::from(
            "# HELP kubernetes_healthcheck This metric records the result of a single healthcheck.\n\
             # TYPE kubernetes_healthcheck gauge\n",
        );
        for (name, root, well) in checks {
            let value = u8::from(well);
            text += &format!("kubernetes_healthcheck{{name=\"{name}\",type=\"{root}\"}} {value}\n");
        }
        let mut response = answer::with_type(200, TEXT, text.into_bytes());
        response.headers_mut().remove(header::CACHE_CONTROL);
        response
    }
}
