//! What both roles have in common as processes: a session of their own, a log, a way to say ready and
//! a way to be stopped.

use std::io::Write;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{dup2, setsid};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cluster::launch::READY;

/// Leaves the terminal of whoever started us, and its umask. Before any thread exists.
pub fn detach() {
    // Fails only for a process that leads a group already, which then has no terminal to lose to us.
    let _ = setsid();
    umask(Mode::from_bits_truncate(0o022));
}

/// Runs a role on a runtime that fits it: two workers, as many as the parts of a role ever keep busy.
pub fn block_on(role: impl Future<Output = Result<()>>) -> Result<()> {
    const WORKERS: usize = 2;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(role)
}

/// Cancelled by SIGTERM or SIGINT.
pub fn stop_on_signal() -> Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watch for SIGINT")?;
    tokio::spawn({
        let token = token.clone();
        async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("stopping");
            token.cancel();
        }
    });
    Ok(token)
}

/// Tells whoever started us that we serve, and lets the pipe go.
pub fn say_ready() -> Result<()> {
    let mut stdout = std::io::stdout();
    // Whoever started us may be gone; we serve all the same.
    let _ = stdout
        .write_all(READY.as_bytes())
        .and_then(|()| stdout.flush());
    dup2(std::io::stderr().as_raw_fd(), stdout.as_raw_fd()).context("let the starter's pipe go")?;
    Ok(())
}
