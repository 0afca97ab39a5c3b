//! Keeping the kernel as desired: one transaction for all that has changed since the last one.

use std::error::Error as StdError;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tracing::{debug, warn};

use crate::dataplane::Family;
use crate::desired::Contest;
use crate::kernel::{Applied, Error, Kernel};
use crate::plan::UdpPort;
use crate::socket::Balancer;
use crate::state::State;

/// The state of one address family and the kernel that follows it.
#[derive(Debug)]
pub struct Proxier {
    /// The objects.
    pub state: State,
    kernel: Kernel,
    /// The short path, where there is one: it follows the rules.
    balancer: Option<Balancer>,
    /// The kernel is as was last desired; otherwise its table is read and compared as a whole.
    in_step: bool,
    /// The kernel has refused some elements, and has all others.
    partly: bool,
    /// What the next successful sync tells of.
    news: News,
}

/// What happened while syncing that others want to know.
#[derive(Debug, Default)]
pub struct News {
    /// Services that claim the same address or node port.
    pub contests: Vec<Contest>,
    /// When the changes began that are in the kernel now.
    pub triggered: Vec<Timestamp>,
    /// How many UDP flows were cut.
    pub cut: usize,
    /// How long it took to find them.
    pub cutting: Duration,
    /// The whole table was compared.
    pub full: bool,
}

impl Proxier {
    /// Starts with whatever table the kernel has.
    pub fn new(kernel: Kernel) -> Self {
        Self {
            state: State::default(),
            kernel,
            balancer: None,
            in_step: false,
            partly: false,
            news: News::default(),
        }
    }

    /// Lets sockets follow the rules.
    pub fn set_balancer(&mut self, balancer: Balancer) {
        self.balancer = Some(balancer);
    }

    /// The address family.
    pub fn family(&self) -> Family {
        self.kernel.family()
    }

    /// The number by which the kernel's notices of our transactions are known.
    pub fn port(&self) -> Result<u32, Error> {
        self.kernel.port()
    }

    /// Whether the kernel is as was last desired.
    pub fn in_step(&self) -> bool {
        self.in_step
    }

    /// Others have changed the table: the next sync reads and compares it as a whole.
    pub fn doubt(&mut self) {
        self.in_step = false;
    }

    /// Whether the kernel has refused some elements, which should be tried again before long.
    pub fn is_partly(&self) -> bool {
        self.partly
    }

    /// Lets the next sync try again what was refused.
    pub fn retry(&mut self) {
        self.in_step &= !self.partly;
    }

    /// Whether there is something to do.
    pub fn is_behind(&self) -> bool {
        !self.in_step || self.state.pending() > 0
    }

    /// What the last successful syncs have to tell.
    pub fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Plans what has changed and applies it; `None` when nothing has to be applied.
    ///
    /// After a failure, and at the start, the whole table is read and compared.
    pub fn sync(&mut self) -> Result<Option<Applied>, Error> {
        if !self.in_step {
            return self.resync();
        }
        let replanned = self.state.replan();
        self.news.contests.extend(replanned.contests);
        self.news.triggered.extend(replanned.triggered);
        let mut applied = None;
        if !replanned.changes.is_empty() {
            self.in_step = false;
            match self.kernel.apply(&replanned.changes) {
                Ok(done) => applied = Some(done),
                Err(err) => {
                    let err = &err as &dyn StdError;
                    warn!(err, "change of service rules refused, comparing them all");
                    return self.resync();
                }
            }
            self.in_step = true;
            if let Some(balancer) = &mut self.balancer {
                balancer.follow(self.kernel.layout(), &replanned.changes);
            }
        }
        self.finish(applied, &replanned.udp, &replanned.gone)
    }

    fn resync(&mut self) -> Result<Option<Applied>, Error> {
        let endpoints = self.kernel.endpoints()?;
        self.state.adopt(endpoints);
        let replanned = self.state.replan();
        self.news.contests.extend(replanned.contests);
        self.news.triggered.extend(replanned.triggered);
        self.news.full = true;
        let result = self.kernel.resync(self.state.desired());
        self.partly = matches!(result, Err(Error::Partly { .. }));
        self.in_step = self.partly;
        if let Some(balancer) = &mut self.balancer
            && (result.is_ok() || self.partly)
        {
            balancer.resync(self.kernel.layout(), self.state.desired());
        }
        let applied = result?;
        self.in_step = true;
        self.finish(Some(applied), &self.state.udp_ports(), &replanned.gone)
    }

    fn finish(
        &mut self,
        applied: Option<Applied>,
        udp: &[UdpPort],
        gone: &[UdpPort],
    ) -> Result<Option<Applied>, Error> {
        let family = self.family().name();
        if let Some(Applied { messages, elements }) = applied {
            debug!(family, messages, elements, "service rules programmed");
        }
        let begin = Instant::now();
        let cut = self.kernel.cut_stale(udp, gone)?;
        self.news.cutting += begin.elapsed();
        if cut > 0 {
            debug!(family, flows = cut, "stale udp flows cut");
        }
        self.news.cut += cut;
        Ok(applied.filter(|applied| applied.messages > 0))
    }
}

#[cfg(test)]
mod tests;
