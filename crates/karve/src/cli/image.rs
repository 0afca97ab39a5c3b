//! `karve image`: the machine's images, which all clusters share. No cluster has to be up.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use karve_runtime::images::{Client, Image, ImageRef, Store};

use super::ClusterArg;
use super::output::{self, Format};
use super::progress::Progress;
use crate::cluster::checks;
use crate::cluster::layout::Layout;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  docker save web:1 -o web.tar && karve image load web.tar
  karve image pull nginx
  karve image ls")]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Load images from archives (`docker save`, `podman save`, an OCI layout in a tar).
    Load {
        #[command(flatten)]
        cluster: ClusterArg,
        /// The archives.
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// Pull images from their registries.
    Pull {
        #[command(flatten)]
        cluster: ClusterArg,
        /// The images, such as `nginx` or `ghcr.io/owner/app:1.2`.
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// List the images.
    Ls {
        #[command(flatten)]
        cluster: ClusterArg,
        /// How to print.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Remove images.
    Rm {
        #[command(flatten)]
        cluster: ClusterArg,
        /// The images.
        #[arg(required = true)]
        images: Vec<String>,
    },
}

pub async fn run(options: Options) -> Result<ExitCode> {
    let cluster = match &options.command {
        Command::Load { cluster, .. }
        | Command::Pull { cluster, .. }
        | Command::Ls { cluster, .. }
        | Command::Rm { cluster, .. } => cluster,
    };
    checks::root("image", &cluster.name)?;
    let root = Layout::of(&cluster.name).images;
    let client = Client::local(Store::open(&root).context("open the machine's images")?);
    match options.command {
        Command::Load { archives, .. } => load(&client, &archives).await?,
        Command::Pull { images, .. } => pull(&client, &images).await?,
        Command::Ls { output, .. } => list(&client, output).await?,
        Command::Rm { images, .. } => remove(&client, &images).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn load(client: &Client, archives: &[PathBuf]) -> Result<()> {
    let progress = Progress::new();
    for archive in archives {
        let what = format!("Loading {}", archive.display());
        for image in progress.during(&what, client.load(archive)).await? {
            output::line(&image.reference)?;
        }
    }
    Ok(())
}

async fn pull(client: &Client, images: &[String]) -> Result<()> {
    let progress = Progress::new();
    for reference in parse(images)? {
        let what = format!("Pulling {reference}");
        let image = progress.during(&what, client.pull(&reference)).await?;
        output::line(&image.reference)?;
    }
    Ok(())
}

async fn remove(client: &Client, images: &[String]) -> Result<()> {
    for reference in parse(images)? {
        if !client.remove(&reference).await? {
            bail!("there is no image {reference}: `karve image ls`");
        }
        output::line(&reference.to_string())?;
    }
    Ok(())
}

/// All references, or none: the first that is malformed is told before anything is done.
fn parse(images: &[String]) -> Result<Vec<ImageRef>> {
    images
        .iter()
        .map(|text| {
            text.parse()
                .with_context(|| format!("read image name {text:?}"))
        })
        .collect()
}

async fn list(client: &Client, format: Format) -> Result<()> {
    let images = client.list().await?;
    match format {
        Format::Json => output::json(&images),
        Format::Text => {
            let rows: Vec<Vec<String>> = images.iter().map(row).collect();
            output::columns(&["IMAGE", "ID", "SIZE"], &rows)
        }
    }
}

fn row(image: &Image) -> Vec<String> {
    /// As many digits of a digest as docker shows.
    const DIGITS: usize = 12;
    let hex = image.id.hex();
    let id = hex.get(..DIGITS).unwrap_or(hex);
    vec![image.reference.clone(), id.to_owned(), size(image.size)]
}

/// Bytes as docker shows them: powers of ten, three digits.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "kB", "MB", "GB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 {
        format!("{value:.0}{}", UNITS[unit])
    } else {
        format!("{value:.1}{}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.0kB"),
            (8_400_000, "8.4MB"),
            (123_456_789, "123MB"),
        ] {
            assert_eq!(super::size(bytes), text);
        }
    }
}
