//! One upstream: how it is asked, and how well it is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::exchange;
use crate::corefile::Forward as Options;
use crate::corefile::plan::HealthCheck;
use crate::metrics::Metrics;
use crate::stored::Stored;
use crate::wire::{IN, Lookup, rtype};

/// How long one upstream may take before the next is asked.
const UPSTREAM_MAX: Duration = Duration::from_secs(2);

/// How long it may take to show that it is well.
const PROBE_MAX: Duration = Duration::from_secs(1);

/// A server that is asked.
#[derive(Debug)]
pub struct Upstream {
    /// Where it is.
    pub address: SocketAddr,
    tls: Option<exchange::TlsTo>,
    fails: AtomicU32,
    max_fails: u32,
    health_check: HealthCheck,
    force_tcp: bool,
    /// Somebody looks after it.
    watched: AtomicBool,
}

impl Upstream {
    /// One that is taken to be well.
    pub fn new(address: SocketAddr, tls: bool, options: &Options) -> Upstream {
        Upstream {
            address,
            tls: tls.then(|| exchange::TlsTo::new(&options.tls)),
            fails: AtomicU32::new(0),
            max_fails: options.max_fails,
            health_check: options.health_check.clone(),
            force_tcp: options.force_tcp,
            watched: AtomicBool::new(false),
        }
    }

    /// Whether it has not failed too often in a row.
    pub fn is_well(&self) -> bool {
        self.max_fails == 0 || self.fails.load(Ordering::Relaxed) <= self.max_fails
    }

    /// Asks; a truncated datagram is asked for again over a stream. `None`: it did not answer this.
    pub async fn ask(&self, lookup: &Lookup, stream: bool, left: Duration) -> Option<Arc<Stored>> {
        let most = left.min(UPSTREAM_MAX);
        let said = tokio::time::timeout(most, self.exchange(lookup, stream, true)).await;
        match said {
            Ok(Ok(stored)) => {
                self.fails.store(0, Ordering::Relaxed);
                Some(Arc::new(stored))
            }
            Ok(Err(err)) => {
                tracing::debug!(upstream = %self.address, err = %err, "upstream failed");
                self.fails.fetch_add(1, Ordering::Relaxed);
                None
            }
            Err(_) => {
                tracing::debug!(upstream = %self.address, "upstream is silent");
                self.fails.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    async fn exchange(
        &self,
        lookup: &Lookup,
        stream: bool,
        recursion: bool,
    ) -> std::io::Result<Stored> {
        if let Some(tls) = &self.tls {
            return exchange::over_tls(lookup, self.address, tls, recursion).await;
        }
        if !stream && let Some(stored) = exchange::over_udp(lookup, self.address, recursion).await?
        {
            return Ok(stored);
        }
        exchange::over_tcp(lookup, self.address, recursion).await
    }

    /// Asks it now and then until it answers, since it has failed. One task does so at a time, and ends with the
    /// failure.
    pub fn look_after(self: &Arc<Self>, metrics: &Arc<Metrics>) {
        if self.max_fails == 0 || self.watched.swap(true, Ordering::AcqRel) {
            return;
        }
        // Weak: a plan that is replaced takes its upstreams with it.
        let (upstream, metrics) = (Arc::downgrade(self), metrics.clone());
        let interval = self.health_check.interval.max(Duration::from_millis(50));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                let Some(upstream) = upstream.upgrade() else {
                    return;
                };
                if upstream.answers_probe().await {
                    upstream.fails.store(0, Ordering::Relaxed);
                    upstream.watched.store(false, Ordering::Release);
                    return;
                }
                upstream.fails.fetch_add(1, Ordering::Relaxed);
                metrics.health_failed(&upstream.address);
            }
        });
    }

    async fn answers_probe(&self) -> bool {
        let name = match self.health_check.domain.as_str() {
            "" => vec![0],
            domain => match domain::base::Name::<Vec<u8>>::vec_from_str(&format!("{domain}.")) {
                Ok(name) => name.as_slice().to_vec(),
                Err(_) => vec![0],
            },
        };
        let probe = Lookup {
            name: name.into(),
            qtype: rtype::NS,
            qclass: IN,
            dnssec_ok: false,
            checking_disabled: false,
            authentic_data: false,
        };
        let asked = self.exchange(&probe, self.force_tcp, self.health_check.recursion);
        // Any answer will do, a refusal too.
        matches!(tokio::time::timeout(PROBE_MAX, asked).await, Ok(Ok(_)))
    }
}
