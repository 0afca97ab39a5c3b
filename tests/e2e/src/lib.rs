//! What end-to-end tests stand on: a host in a network of its own, clusters on it, kubectl and HTTP.
//!
//! Each test enters a network namespace with no way out, and uses folders of its own, so that tests run
//! side by side and leave nothing; each ends with a look for what was left. Waiting is done by
//! `kubectl wait` and the like where they can see what is waited for.

mod cluster;
mod host;
mod http;
mod output;
mod registry;

pub use cluster::TestCluster;
pub use host::{TestHost, archives, binary};
pub use http::{HttpError, get};
pub use output::Output;
pub use registry::Registry;

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longest wait for something that should be a matter of moments.
pub const SOON: Duration = Duration::from_secs(60);

/// Tries until `attempt` succeeds; fails with its last error.
pub fn eventually<T, E: std::fmt::Display>(
    what: &str,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> T {
    const PAUSE: Duration = Duration::from_millis(20);
    let begun = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) if begun.elapsed() > SOON => panic!("{what}: {error}"),
            Err(_) => sleep(PAUSE),
        }
    }
}
