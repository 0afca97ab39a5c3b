//! `karve envtest DIR`: the folder that tests of operators look for.
//!
//! controller-runtime's envtest starts programs called `etcd` and `kube-apiserver` from a folder (`KUBEBUILDER_ASSETS`),
//! tells them where to listen, and waits for their health. Here both are this program under another name: [`main`]
//! looks at the name it was started by. Deliberately absent: copies; the links break when karve moves.

mod etcd;
mod home;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser};

use crate::api;
pub use home::Home;

/// The folder to make.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The folder. Made when missing; programs of these names in it are left alone unless they are karve's.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  karve envtest bin/k8s                          links kube-apiserver, etcd and kubectl
  KUBEBUILDER_ASSETS=$PWD/bin/k8s go test ./...  controller-runtime's envtest uses them

The API server that tests get is `karve api`; what plays etcd only says where the objects are.";

/// The names under which this program is another one.
const PROGRAMS: [&str; 2] = ["kube-apiserver", "etcd"];

/// Makes the folder.
pub fn run(options: &Options) -> Result<()> {
    let dir = &options.dir;
    fs::create_dir_all(dir).with_context(|| format!("make directory {}", dir.display()))?;
    let own = std::env::current_exe().context("find this program")?;
    for name in PROGRAMS {
        link(&own, &dir.join(name))?;
    }
    if let Some(kubectl) = on_path("kubectl") {
        let place = dir.join("kubectl");
        if fs::symlink_metadata(&place).is_err() {
            link(&kubectl, &place)?;
        }
    }
    let dir = dir
        .canonicalize()
        .with_context(|| format!("find {}", dir.display()))?;
    println!("export KUBEBUILDER_ASSETS={}", dir.display());
    Ok(())
}

/// Links `place` to `program`, over an older link.
fn link(program: &Path, place: &Path) -> Result<()> {
    match fs::symlink_metadata(place) {
        Ok(there) if there.is_symlink() => {
            fs::remove_file(place).with_context(|| format!("remove {}", place.display()))?;
        }
        Ok(_) => bail!("{} is there and is not a link", place.display()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => {}
        Err(err) => return Err(err).with_context(|| format!("look at {}", place.display())),
    }
    std::os::unix::fs::symlink(program, place)
        .with_context(|| format!("link {} to {}", place.display(), program.display()))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let places = std::env::split_paths(&path).map(|dir| dir.join(name));
    places
        .filter_map(|p| p.canonicalize().ok())
        .find(|p| p.is_file())
}

/// What kube-apiserver takes.
#[derive(Debug, Parser)]
#[command(
    name = "kube-apiserver",
    version = "v1.37.2",
    about = "The API server of karve, under the name of Kubernetes' own."
)]
struct KubeApiserver {
    #[command(flatten)]
    flags: api::Flags,
}

/// Whether `name`, by which the program was started, is that of another one.
pub fn plays(name: &str) -> bool {
    PROGRAMS.contains(&name)
}

/// Runs as another program, until SIGTERM.
pub fn main(name: &str) -> ExitCode {
    let result = match name {
        "etcd" => etcd::run(&etcd::Flags::parse()),
        _ => api::run(&KubeApiserver::parse().flags),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_made_again_and_other_files_kept() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let options = Options {
            dir: dir.path().join("bin"),
        };
        run(&options).expect("folder is made");
        run(&options).expect("folder is made again");
        let own = std::env::current_exe().expect("this program");
        let etcd = options.dir.join("etcd");
        assert_eq!(fs::read_link(&etcd).expect("a link"), own);
        fs::remove_file(&etcd).expect("removed");
        fs::write(&etcd, "somebody's").expect("written");
        let error = run(&options).expect_err("not ours");
        assert!(
            error.to_string().ends_with("is there and is not a link"),
            "{error}"
        );
    }

    #[test]
    fn help_shows_the_flags_that_envtest_looks_for() {
        use clap::CommandFactory as _;
        let help = etcd::Flags::command().render_help().to_string();
        let shown = |flag: &str| help.lines().any(|line| line.trim_start().starts_with(flag));
        assert!(shown("--unsafe-no-fsync"));
        let help = KubeApiserver::command().render_help().to_string();
        assert!(!help.contains("--insecure-port"));
    }

    #[test]
    fn flags_that_envtest_gives_are_understood() {
        let given = "kube-apiserver --advertise-address=127.0.0.1 --allow-privileged=true --authorization-mode=RBAC \
            --bind-address=127.0.0.1 --cert-dir=/t --client-ca-file=/t/ca.crt --disable-admission-plugins=ServiceAccount \
            --etcd-servers=http://127.0.0.1:1 --secure-port=1 --service-account-issuer=https://127.0.0.1:1/ \
            --service-account-key-file=/t/sa.crt --service-account-signing-key-file=/t/sa.key \
            --service-cluster-ip-range=10.0.0.0/24";
        KubeApiserver::try_parse_from(given.split_whitespace()).expect("understood");
        let given = "etcd --advertise-client-urls=http://127.0.0.1:1 --data-dir=/t --listen-client-urls=http://127.0.0.1:1 \
            --listen-peer-urls=http://127.0.0.1:2 --unsafe-no-fsync=true";
        etcd::Flags::try_parse_from(given.split_whitespace()).expect("understood");
        let wrong = ["kube-apiserver", "--no-such-flag=1"];
        KubeApiserver::try_parse_from(wrong).expect_err("unknown");
    }
}
