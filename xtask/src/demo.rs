//! `cargo xtask demo`: the tutorial as a person would type it, on a cluster in a network of its own.

mod steps;

use anyhow::Result;
use clap::Args;

use crate::interrupt::Interrupt;
use crate::stage::Stage;
use crate::workspace::{self, Profile};
use crate::{images, machine};

/// The cluster.
const CLUSTER: &str = "demo";

#[derive(Debug, Args)]
pub struct Options {
    /// Leave the cluster up and say how to go on by hand.
    #[arg(long, conflicts_with = "down")]
    keep: bool,
    /// Only remove what an earlier `--keep` left.
    #[arg(long)]
    down: bool,
}

/// Plays the tutorial; whatever happens, only `--keep` leaves something behind.
pub fn run(options: &Options) -> Result<()> {
    machine::prepare_for_demo()?;
    let mut interrupt = Interrupt::hold()?;
    let karve = workspace::build("karve", Profile::Release)?;
    let stage = Stage::new(&karve, CLUSTER)?;
    stage.clear()?;
    if options.down {
        return Ok(());
    }
    let archives = images::make(Profile::Release)?;
    let played = stage
        .set()
        .and_then(|()| steps::play(&stage, &archives, options.keep, &mut interrupt));
    match played {
        Ok(()) if options.keep => stage.hand_over(),
        played => {
            let cleared = stage.clear();
            played.and(cleared)
        }
    }
}
