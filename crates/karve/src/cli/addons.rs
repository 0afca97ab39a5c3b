//! `karve addons`: what is an add-on on minikube is built in here; the words still work.
//!
//! There is one switch, `metallb`: whether LoadBalancer Services get addresses, and which.

use std::io::{self, BufRead, Write};
use std::net::Ipv4Addr;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::ClusterArg;
use super::output::{self, Format};
use super::progress::Progress;
use crate::cluster::addresses::{self, AddressRange};
use crate::cluster::{Cluster, client};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  karve addons configure metallb        asks for the first and the last address
  karve addons configure metallb --start 192.168.64.100 --end 192.168.64.120")]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the add-ons.
    List {
        #[command(flatten)]
        cluster: ClusterArg,
        /// How to print.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Switch an add-on on.
    Enable(Switch),
    /// Switch an add-on off.
    Disable(Switch),
    /// Set an add-on up.
    Configure(Configure),
}

#[derive(Debug, Args)]
struct Switch {
    #[command(flatten)]
    cluster: ClusterArg,
    addon: Addon,
}

#[derive(Debug, Args)]
struct Configure {
    #[command(flatten)]
    cluster: ClusterArg,
    addon: Addon,
    /// The first address.
    #[arg(long, value_name = "IP", requires = "end")]
    start: Option<Ipv4Addr>,
    /// The last address.
    #[arg(long, value_name = "IP", requires = "start")]
    end: Option<Ipv4Addr>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Addon {
    /// Addresses for LoadBalancer Services.
    Metallb,
}

pub async fn run(options: Options) -> Result<ExitCode> {
    let progress = Progress::new();
    match options.command {
        Command::List { cluster, output } => list(&Cluster::load(&cluster.name)?, output).await?,
        Command::Enable(Switch {
            cluster,
            addon: Addon::Metallb,
        }) => {
            let cluster = Cluster::load(&cluster.name)?;
            let client = client::admin(&cluster)?;
            addresses::enable(&client).await?;
            progress.done("The 'metallb' addon is enabled");
            if addresses::ranges(&client).await?.is_empty() {
                progress.say(&format!(
                    "   Give it addresses: `{}`",
                    cluster.command("addons configure metallb")
                ));
            }
        }
        Command::Disable(Switch {
            cluster,
            addon: Addon::Metallb,
        }) => {
            addresses::disable(&client::admin(&Cluster::load(&cluster.name)?)?).await?;
            progress.done("The 'metallb' addon is disabled");
        }
        Command::Configure(Configure {
            cluster,
            addon: Addon::Metallb,
            start,
            end,
        }) => {
            let cluster = Cluster::load(&cluster.name)?;
            let client = client::admin(&cluster)?;
            let range = match (start, end) {
                (Some(first), Some(last)) => AddressRange::new(first, last)?,
                _ => ask_range()?,
            };
            addresses::configure(&client, range).await?;
            progress.done("metallb was successfully configured");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(cluster: &Cluster, format: Format) -> Result<()> {
    let client = client::admin(cluster)?;
    let enabled = addresses::is_enabled(&client).await?;
    let ranges = addresses::ranges(&client).await?;
    let status = if enabled { "enabled" } else { "disabled" };
    match format {
        Format::Json => {
            output::json(&json!([{ "name": "metallb", "status": status, "addresses": ranges }]))
        }
        Format::Text => {
            let row = ["metallb", cluster.name.as_str(), status, &ranges.join(", ")]
                .map(str::to_owned)
                .to_vec();
            output::table(&["ADDON NAME", "PROFILE", "STATUS", "ADDRESSES"], &[row])
        }
    }
}

/// minikube's dialogue, word for word.
fn ask_range() -> Result<AddressRange> {
    let mut input = io::stdin().lock();
    let first = ask(&mut input, "-- Enter Load Balancer Start IP:")?;
    let last = ask(&mut input, "-- Enter Load Balancer End IP:")?;
    Ok(AddressRange::new(first, last)?)
}

/// Asks until an address comes.
fn ask(input: &mut impl BufRead, question: &str) -> Result<Ipv4Addr> {
    loop {
        eprint!("{question} ");
        io::stderr().flush().context("ask")?;
        let mut answer = String::new();
        if input.read_line(&mut answer).context("read the answer")? == 0 {
            eprintln!();
            bail!("no answer: give --start and --end");
        }
        match answer.trim().parse() {
            Ok(address) => return Ok(address),
            Err(_) => eprintln!("--Enter a valid IPv4 address"),
        }
    }
}
