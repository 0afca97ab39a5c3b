//! Ctrl-C ends the command that runs, and not us: we stay to clean up after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Signals that end a task early.
pub struct Interrupt {
    seen: Arc<AtomicBool>,
}

impl Interrupt {
    /// From now on they are noted. Handlers, since blocked signals would stay blocked in the commands
    /// that we start, while these get the default action again.
    pub fn hold() -> Result<Self> {
        let seen = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, seen.clone()).context("watch for signals")?;
        }
        Ok(Self { seen })
    }

    /// Fails when one came in.
    pub fn check(&mut self) -> Result<()> {
        match self.seen.load(Ordering::Acquire) {
            true => bail!("interrupted"),
            false => Ok(()),
        }
    }
}
