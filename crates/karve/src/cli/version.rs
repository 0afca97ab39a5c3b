//! `karve version`.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::output::{self, Format};
use crate::cluster::config::KUBERNETES_VERSION;

#[derive(Debug, Args)]
pub struct Options {
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub fn run(options: &Options) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    match options.output {
        Format::Text => output::line(&format!(
            "karve v{version}\nKubernetes {KUBERNETES_VERSION}"
        )),
        Format::Json => output::json(
            &json!({ "karve": format!("v{version}"), "kubernetes": KUBERNETES_VERSION }),
        ),
    }
}
