//! `cargo xtask bench NAME`: the figures of docs/performance.md.

use anyhow::{Result, bail};
use clap::Args;

#[derive(Debug, Args)]
pub struct Options {
    /// Which figure.
    name: String,
}

/// Runs one.
pub fn run(options: &Options) -> Result<()> {
    bail!("there is no bench \"{}\" yet", options.name)
}
