//! Keeping the kernel as desired: one transaction for all that has changed since the last one.

use tracing::{debug, warn};

use crate::kernel::{Applied, Error, Kernel};
use crate::stale;
use crate::state::State;

/// The state and the kernel that follows it.
#[derive(Debug)]
pub struct Proxier {
    /// The objects.
    pub state: State,
    kernel: Kernel,
    /// The kernel is as was last desired; otherwise its table is read and compared as a whole.
    in_step: bool,
}

impl Proxier {
    /// Starts with whatever table the kernel has.
    pub fn new(kernel: Kernel) -> Self {
        Self {
            state: State::default(),
            kernel,
            in_step: false,
        }
    }

    /// Whether the kernel is as was last desired.
    pub fn in_step(&self) -> bool {
        self.in_step
    }

    /// How many transactions were committed so far.
    pub fn commits(&self) -> u64 {
        self.kernel.commits()
    }

    /// Looks whether the table is still there, after others have changed something.
    pub fn verify(&mut self) -> Result<(), Error> {
        if self.in_step && !self.kernel.has_our_table()? {
            warn!("service rules were removed by another program");
            self.in_step = false;
        }
        Ok(())
    }

    /// Plans what has changed and applies it; `None` when nothing has to be applied.
    ///
    /// After a failure, and at the start, the whole table is read and compared.
    pub fn sync(&mut self) -> Result<Option<Applied>, Error> {
        let (applied, udp) = if self.in_step {
            let replanned = self.state.replan();
            let applied = if replanned.changes.is_empty() {
                None
            } else {
                self.in_step = false;
                Some(self.kernel.apply(&replanned.changes)?)
            };
            (applied, replanned.udp)
        } else {
            let endpoints = self.kernel.endpoints()?;
            self.state.adopt(endpoints);
            self.state.replan();
            let applied = self.kernel.resync(self.state.desired())?;
            (Some(applied), self.state.udp_ports())
        };
        self.in_step = true;
        if let Some(Applied { messages, elements }) = applied {
            debug!(messages, elements, "service rules programmed");
        }
        let cut = stale::cut(&mut self.kernel, &udp)?;
        if cut > 0 {
            debug!(flows = cut, "stale udp flows cut");
        }
        Ok(applied.filter(|applied| applied.messages > 0))
    }
}

#[cfg(test)]
mod tests;
