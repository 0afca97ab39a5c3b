//! A machine for one test: its own network, its own folders.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use karve_testkit::outer::OuterNet;
use tempfile::TempDir;

use crate::{Output, TestCluster};

/// The host of a test. It stays on the test's thread.
pub struct TestHost {
    folder: TempDir,
    outer: OuterNet,
}

impl Default for TestHost {
    fn default() -> Self {
        Self::new()
    }
}

impl TestHost {
    /// A host whose images are those of the tutorial, shared with other tests.
    pub fn new() -> Self {
        let host = Self::without_images();
        std::os::unix::fs::symlink(tutorial_images(), host.data_root().join("images"))
            .expect("link the images");
        host
    }

    /// A host with a content store of its own, which is empty.
    ///
    /// `cargo xtask test` cleans up in folders of this name after tests that were killed.
    pub fn without_images() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("host-")
            .tempdir()
            .expect("make a folder");
        let host = Self {
            folder,
            outer: OuterNet::enter().expect("enter a network of our own"),
        };
        std::fs::create_dir(host.data_root()).expect("make a folder");
        host
    }

    /// The host's folder for files of the test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where clusters keep their data.
    pub fn data_root(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// Where clusters keep sockets and logs.
    pub fn run_root(&self) -> PathBuf {
        self.folder().join("run")
    }

    /// The kubeconfig that clusters merge their context into.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder().join("kubeconfig")
    }

    /// The host's network, for other threads of the test.
    pub fn network(&self) -> &OuterNet {
        &self.outer
    }

    /// A program with the host's settings.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .env("KARVE_DATA_ROOT", self.data_root())
            .env("KARVE_RUN_ROOT", self.run_root())
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", self.folder())
            .current_dir(self.folder());
        command
    }

    /// `karve ARGUMENTS`.
    pub fn karve(&self, arguments: &[&str]) -> Output {
        Output::of(self.command(binary()).args(arguments))
    }

    /// A cluster that is up, with a name that nobody else uses.
    pub fn cluster(&self, arguments: &[&str]) -> TestCluster<'_> {
        static COUNTER: AtomicU32 = AtomicU32::new(1);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        TestCluster::up(self, format!("t{}-{number}", std::process::id()), arguments)
    }
}

/// The program under test: given by `cargo xtask test`, or built now.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match env::var_os("KARVE_E2E_BINARY") {
        Some(path) => PathBuf::from(path),
        None => {
            Output::of(Command::new(env!("CARGO")).args(["build", "--package", "karve"])).ok();
            target_folder().join("karve")
        }
    })
}

/// `target/debug`, from `target/debug/deps/our-own-name`.
fn target_folder() -> PathBuf {
    let exe = env::current_exe().expect("our own name");
    exe.ancestors()
        .nth(2)
        .expect("tests lie in target/PROFILE/deps")
        .to_path_buf()
}

/// The archives that `cargo xtask images` makes.
pub fn archives() -> &'static Path {
    static ARCHIVES: OnceLock<PathBuf> = OnceLock::new();
    ARCHIVES.get_or_init(|| match env::var_os("KARVE_E2E_IMAGES") {
        Some(path) => PathBuf::from(path),
        None => {
            let made = Output::of(Command::new(env!("CARGO")).args(["xtask", "images"])).ok();
            PathBuf::from(made.lines().last().expect("the last line names the folder"))
        }
    })
}

/// A content store with the tutorial's images, beside the tests' programs: what it has already is not
/// unpacked again.
fn tutorial_images() -> &'static Path {
    static IMAGES: OnceLock<PathBuf> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let store = target_folder().join("e2e-store");
        let mut load = Command::new(binary());
        load.args(["image", "load"]).env("KARVE_DATA_ROOT", &store);
        for archive in ["redis.tar", "counter.tar", "busybox.tar"] {
            load.arg(archives().join(archive));
        }
        Output::of(&mut load).ok();
        store.join("images")
    })
}
