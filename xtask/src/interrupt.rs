//! Ctrl-C reaches the command that runs, and not us: we stay to clean up after it.

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Signals that end a task early.
pub struct Interrupt {
    signals: SignalFd,
}

impl Interrupt {
    /// From now on they wait. Commands that we start get them as usual: `std` unblocks them.
    pub fn hold() -> Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block().context("hold signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self {
            signals: SignalFd::with_flags(&set, flags).context("watch for signals")?,
        })
    }

    /// Fails when one came in.
    pub fn check(&mut self) -> Result<()> {
        match self.signals.read_signal().context("look for signals")? {
            Some(_) => bail!("interrupted"),
            None => Ok(()),
        }
    }
}
