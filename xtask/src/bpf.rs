//! `cargo xtask bpf`: the socket balancer's object file from its source.
//!
//! The object file is kept in the tree, because few machines have a compiler for it. A record beside it
//! says what it was made from, of what and by which compiler, so that a test can tell whether it is still
//! what its source says: everywhere by digests, and byte for byte where that compiler is at hand.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use ring::digest::{SHA256, digest};

use crate::workspace;

const FOLDER: &str = "crates/proxy/bpf";
/// Version 2 of the instructions is known to every kernel with the hooks that are needed.
const FLAGS: [&str; 7] = [
    "-target", "bpf", "-mcpu=v2", "-O2", "-Wall", "-Wextra", "-Werror",
];

#[derive(Debug, Args)]
pub struct Options {
    /// The compiler.
    #[arg(long, default_value = "clang")]
    clang: String,
}

/// Compiles, and writes the object file with its record.
pub fn run(options: &Options) -> Result<()> {
    let version = version(&options.clang).context(
        "the balancer is compiled by clang: `apt-get install -y --no-install-recommends clang`",
    )?;
    let folder = workspace::root().join(FOLDER);
    let object = compile(&options.clang, &folder)?;
    let source = fs::read(folder.join("balancer.c")).context("read balancer.c")?;
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))
    };
    write(
        "balancer.record",
        record(&source, &object, &version).as_bytes(),
    )?;
    write("balancer.o", &object)?;
    println!("{FOLDER}/balancer.o: {} bytes by {version}", object.len());
    Ok(())
}

/// What the object file was made from.
fn record(source: &[u8], object: &[u8], version: &str) -> String {
    format!(
        "source sha256:{}\nobject sha256:{}\nflags {}\ncompiler {version}\n",
        hex(source),
        hex(object),
        FLAGS.join(" ")
    )
}

fn hex(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The compiler's first line about itself.
fn version(clang: &str) -> Result<String> {
    let output = Command::new(clang)
        .arg("--version")
        .output()
        .with_context(|| format!("run {clang}"))?;
    ensure!(
        output.status.success(),
        "{clang} --version: {}",
        output.status
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().context("a version")?;
    Ok(line.to_owned())
}

/// Compiles `balancer.c` in its folder, so that no path of this machine gets into the object file.
fn compile(clang: &str, folder: &Path) -> Result<Vec<u8>> {
    let made = tempfile::tempdir().context("make a folder")?;
    let object = made.path().join("balancer.o");
    let mut command = Command::new(clang);
    command
        .current_dir(folder)
        .args(FLAGS)
        .args(["-c", "balancer.c", "-o"])
        .arg(&object);
    workspace::run(&mut command)?;
    fs::read(&object).with_context(|| format!("read {}", object.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_balancers_object_file_comes_from_its_source() {
        let folder = workspace::root().join(FOLDER);
        let read = |name| fs::read(folder.join(name)).expect("read");
        let (source, object) = (read("balancer.c"), read("balancer.o"));
        let recorded = String::from_utf8(read("balancer.record")).expect("text");
        let compiler = recorded
            .lines()
            .find_map(|line| line.strip_prefix("compiler "));
        let compiler = compiler.expect("the compiler's version");
        assert_eq!(
            recorded,
            record(&source, &object, compiler),
            "after a change of balancer.c: `cargo xtask bpf`"
        );
        if version("clang").is_ok_and(|version| version == compiler) {
            assert!(
                compile("clang", &folder).expect("compile") == object,
                "compiled anew it differs"
            );
        }
    }
}
