//! karve: Kubernetes in one binary.
//!
//! The roles, each a process of its own:
//!
//! - a command ([`cli`]) makes, shows or removes a cluster ([`cluster`]) and ends;
//! - the server ([`roles::server`]) is a cluster's control plane;
//! - the API server by itself ([`api`]) is for tests, and for control planes of other making;
//! - the Service proxy ([`roles::proxy`]) and the DNS ([`roles::dns`]) by themselves are for clusters of other making;
//! - an agent ([`roles::agent`]) is a node, one for each network namespace;
//! - a shim (`karve_runtime::shim`) is the parent of one container.
//!
//! This crate decides nothing about Kubernetes: it puts the parts together.

mod api;
mod cli;
mod cluster;
mod envtest;
mod roles;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use nix::sys::signal::SigSet;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let role = arguments.next().unwrap_or_default();
    if role == "shim" {
        // Before anything else: a shim is small and single-threaded.
        return karve_runtime::shim::main(arguments);
    }
    if let Some(name) = started_as().filter(|name| envtest::plays(name)) {
        start_log(LevelFilter::WARN);
        return envtest::main(&name);
    }
    let lives_long = role == "server" || role == "agent" || role == "proxy" || role == "dns";
    start_log(if lives_long {
        LevelFilter::INFO
    } else {
        LevelFilter::ERROR
    });
    // Whoever started us may hold signals back; who asks us to stop must be heard all the same.
    if let Err(error) = SigSet::empty().thread_set_mask() {
        eprintln!("karve: signals stay blocked: {error}");
    }
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("karve: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The name by which we were started, which may be that of a link.
fn started_as() -> Option<String> {
    let path = PathBuf::from(std::env::args_os().next()?);
    Some(path.file_name()?.to_str()?.to_owned())
}

/// Logs go to standard error; `KARVE_LOG` says how much (error, warn, info, debug, trace). Commands talk to
/// people in their own words.
fn start_log(default: LevelFilter) {
    let level = std::env::var("KARVE_LOG")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default);
    // It calls each failed request an error; those that matter are told by whoever made the request.
    let quiet = Targets::new().with_default(level).with_target(
        "kube_client::client::builder",
        if level > LevelFilter::INFO {
            level
        } else {
            LevelFilter::OFF
        },
    );
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false);
    tracing_subscriber::registry()
        .with(lines.with_filter(quiet))
        .init();
}
