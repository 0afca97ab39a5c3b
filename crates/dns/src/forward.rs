//! Names from elsewhere: asked of upstreams, by the rules of a `forward` plugin.
//!
//! [`upstream`] asks one server and knows how well it is; this module chooses among several, keeps what they say, and
//! asks each question once however many wait for it.
//!
//! Invariant: a name of the cluster is never asked of anybody ([`crate::engine`] sees to it).

pub mod exchange;
mod flight;
pub mod upstream;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use self::flight::Flights;
use self::upstream::Upstream;
use crate::corefile::plan::To;
use crate::corefile::{Forward as Options, Policy};
use crate::metrics::Metrics;
use crate::stored::Stored;
use crate::wire::{Lookup, rcode};

/// Questions that wait for upstreams at once, unless the Corefile says less.
const CONCURRENT_MAX: usize = 4096;
/// How long all upstreams together may take; a stub resolver itself waits 5 s.
const ASK_MAX: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Too many questions wait already.
    #[error("too many questions wait for upstreams")]
    Busy,
    /// No upstream answered in time.
    #[error("no upstream answered")]
    Silent,
    /// There is none.
    #[error("there is no upstream")]
    Nobody,
}

/// Upstreams for names of one zone.
#[derive(Debug)]
pub struct Forwarder {
    /// The plugin's options.
    pub options: Options,
    upstreams: Vec<Arc<Upstream>>,
    turn: AtomicUsize,
    permits: Semaphore,
    flights: Flights,
    metrics: Arc<Metrics>,
}

impl Forwarder {
    /// Upstreams by `options`; `resolvers` tells those of a `resolv.conf(5)`. `own` addresses are left out: a server
    /// does not ask itself.
    pub fn new(
        options: Options,
        resolvers: &dyn Fn(&Path) -> Vec<SocketAddr>,
        own: &[SocketAddr],
        metrics: Arc<Metrics>,
    ) -> Forwarder {
        let mut upstreams: Vec<Arc<Upstream>> = Vec::new();
        for to in &options.to {
            let addresses = match to {
                To::Address(address, tls) => vec![(*address, *tls)],
                To::File(path) => resolvers(path).into_iter().map(|a| (a, false)).collect(),
            };
            for (address, tls) in addresses {
                let known = upstreams.iter().any(|upstream| upstream.address == address);
                if !own.contains(&address) && !known {
                    upstreams.push(Arc::new(Upstream::new(address, tls, &options)));
                }
            }
        }
        let permits = match options.max_concurrent {
            0 => CONCURRENT_MAX,
            most => most.min(CONCURRENT_MAX),
        };
        Forwarder {
            options,
            upstreams,
            turn: AtomicUsize::new(0),
            permits: Semaphore::new(permits),
            flights: Flights::default(),
            metrics,
        }
    }

    /// Whether the lowered `name` is asked here.
    pub fn takes(&self, name: &str) -> bool {
        self.options.from.covers(name) && !self.options.except.iter().any(|zone| zone.covers(name))
    }

    /// The upstreams' addresses, and whether each is well.
    pub fn upstreams(&self) -> impl Iterator<Item = (SocketAddr, bool)> {
        self.upstreams
            .iter()
            .map(|upstream| (upstream.address, upstream.is_well()))
    }

    /// Asks, once for all who ask the same at the time. `datagram`: the asker itself came with one.
    ///
    /// # Errors
    /// [`Unanswered`] says why nobody answered.
    pub async fn ask(
        self: &Arc<Self>,
        lookup: &Lookup,
        datagram: bool,
    ) -> Result<Arc<Stored>, Unanswered> {
        let this = self.clone();
        let own = lookup.clone();
        self.flights
            .join(
                lookup,
                move || async move { this.ask_now(&own, datagram).await },
            )
            .await
            .unwrap_or(Err(Unanswered::Silent))
    }

    async fn ask_now(&self, lookup: &Lookup, datagram: bool) -> Result<Arc<Stored>, Unanswered> {
        let Ok(_permit) = self.permits.try_acquire() else {
            self.metrics.forward_rejected.inc();
            return Err(Unanswered::Busy);
        };
        let deadline = Instant::now() + ASK_MAX;
        let mut last = None;
        let mut outcome = Unanswered::Nobody;
        for upstream in self.order() {
            outcome = Unanswered::Silent;
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                break;
            };
            let streams = self.options.force_tcp || !(datagram || self.options.prefer_udp);
            let asked = Instant::now();
            let said = upstream.ask(lookup, streams, left).await;
            self.metrics
                .forwarded(&upstream.address, said.as_deref(), asked.elapsed());
            let Some(said) = said else {
                upstream.look_after(&self.metrics);
                continue;
            };
            // A server that can't is not the last word while another may.
            let refused = matches!(said.rcode(), rcode::SERVFAIL | rcode::REFUSED);
            if !refused && !self.options.failover.contains(&said.rcode()) {
                return Ok(said);
            }
            last = Some(said);
        }
        last.ok_or(outcome)
    }

    /// The upstreams in the order in which they are asked: by policy, those that are unwell last (they may have come
    /// back, and nobody better is left), or not at all.
    fn order(&self) -> Vec<Arc<Upstream>> {
        let count = self.upstreams.len();
        let first = match self.options.policy {
            _ if count == 0 => 0,
            Policy::Sequential => 0,
            Policy::Random => rand::random_range(0..count),
            Policy::RoundRobin => self.turn.fetch_add(1, Ordering::Relaxed) % count,
        };
        let turned = (0..count).map(|at| &self.upstreams[(first + at) % count]);
        let (mut well, unwell): (Vec<_>, Vec<_>) =
            turned.cloned().partition(|upstream| upstream.is_well());
        if well.is_empty() && !self.options.failfast {
            self.metrics.forward_all_unwell.inc();
        }
        if !self.options.failfast {
            well.extend(unwell);
        }
        well
    }
}
