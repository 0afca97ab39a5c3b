//! Network namespaces: named ones under `/run/netns` (as `ip netns` makes them), ones pinned at any
//! path, and the set of namespaces of a pod sandbox.
//!
//! A namespace belongs to a thread, so every change of namespace happens on a thread that was made
//! for it and ends with it: no caller's thread ever changes its namespace, except by [`NetNs::enter`].
//! Absent on purpose: user and PID namespaces (the container runtime makes them).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::link;

/// Where `ip netns` looks for named namespaces.
pub const NAMED_DIR: &str = "/run/netns";

/// A failed namespace operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A step on a namespace file failed.
    #[error("{action} namespace {}", path.display())]
    Step {
        /// What was tried.
        action: &'static str,
        /// The namespace's file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The thread that was to run inside the namespace could not be started.
    #[error("start a thread for a namespace")]
    Thread(#[source] io::Error),
    /// The namespace's loopback interface could not be set up.
    #[error("bring up loopback")]
    Loopback(#[from] link::Error),
}

impl Error {
    fn step(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Error::Step {
            action,
            path,
            source,
        }
    }
}

/// An open network namespace. It lives at least as long as this handle; a pinned one until [`remove`].
#[derive(Debug)]
pub struct NetNs {
    file: File,
    path: PathBuf,
}

impl NetNs {
    /// Makes a namespace named `name` under `/run/netns`, with loopback down, as `ip netns add` does.
    pub fn create(name: &str) -> Result<Self, Error> {
        let dir = Path::new(NAMED_DIR);
        share_named_dir(dir).map_err(Error::step("prepare directory for", dir))?;
        Self::create_at(&dir.join(name))
    }

    /// Makes a namespace pinned at `path`, which must not exist; its directory must.
    pub fn create_at(path: &Path) -> Result<Self, Error> {
        let target = PinTarget::create(path)?;
        on_fresh_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from)?;
            pin("net", path)
        })?
        .map_err(Error::step("create network", path))?;
        let netns = Self::open_path(path)?;
        target.keep();
        Ok(netns)
    }

    /// Makes a namespace that nothing pins: it ends with this handle and the sockets and links in it.
    pub fn anonymous() -> Result<Self, Error> {
        let path = Path::new("/proc/thread-self/ns/net");
        let file = on_fresh_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(io::Error::from)?;
            File::open(path)
        })?
        .map_err(Error::step("create network", path))?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
        })
    }

    /// Opens the namespace named `name` under `/run/netns`.
    pub fn open(name: &str) -> Result<Self, Error> {
        Self::open_path(&Path::new(NAMED_DIR).join(name))
    }

    /// Opens the namespace pinned at `path` (or `/proc/PID/ns/net`).
    pub fn open_path(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::step("open network", path))?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
        })
    }

    /// The calling thread's own namespace.
    pub fn current() -> Result<Self, Error> {
        Self::open_path(Path::new("/proc/thread-self/ns/net"))
    }

    /// Where the namespace was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` on a fresh thread inside the namespace and waits for it.
    ///
    /// Sockets opened by `work` stay in the namespace and may be returned. A panic of `work` goes on
    /// in the caller.
    pub fn run_in<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        on_fresh_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET)
                .map_err(|errno| Error::step("enter network", &self.path)(errno.into()))?;
            Ok(work())
        })?
    }

    /// Moves the calling thread, and all threads that it starts from now on, into the namespace for
    /// good. Meant for the start of a process, before its runtime exists.
    pub fn enter(&self) -> Result<(), Error> {
        setns(&self.file, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Error::step("enter network", &self.path)(errno.into()))
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Unpins the namespace named `name` under `/run/netns`; false when there is none.
///
/// With the last name goes the mount that the first one brought (see [`NetNs::create`]).
pub fn remove(name: &str) -> Result<bool, Error> {
    let dir = Path::new(NAMED_DIR);
    let removed = remove_at(&dir.join(name))?;
    let is_empty = fs::read_dir(dir).is_ok_and(|mut names| names.next().is_none());
    if removed && is_empty {
        // Refused when somebody else has just made a name, or had the directory mounted otherwise: it stays, then.
        let _ = umount2(dir, MntFlags::UMOUNT_NOFOLLOW);
    }
    Ok(removed)
}

/// Unpins the namespace at `path`; false when there is nothing at `path`.
///
/// The kernel ends the namespace once no process, socket or open file holds it.
pub fn remove_at(path: &Path) -> Result<bool, Error> {
    match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        // EINVAL: a file without a mount, left over by a creation that was cut short or by a reboot.
        Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
        Err(errno) => return Err(Error::step("unmount", path)(errno.into())),
    }
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::step("remove", path)(error)),
    }
}

/// The namespaces that the containers of one pod share, pinned as files.
#[derive(Debug)]
pub struct Sandbox {
    /// The network namespace; loopback is up.
    pub net: NetNs,
    /// File of the UTS namespace, whose hostname is the pod's.
    pub uts: PathBuf,
    /// File of the IPC namespace.
    pub ipc: PathBuf,
}

/// Names of the files of a [`Sandbox`] in its directory, as in `/proc/PID/ns`.
const SANDBOX_FILES: [&str; 3] = ["net", "uts", "ipc"];

/// Makes a pod's namespaces and pins them as `net`, `uts` and `ipc` in `dir`, which must exist.
///
/// Nothing is left behind on failure.
pub fn create_sandbox(dir: &Path, hostname: &str) -> Result<Sandbox, Error> {
    let paths = SANDBOX_FILES.map(|name| dir.join(name));
    let mut targets = Vec::with_capacity(paths.len());
    for path in &paths {
        targets.push(PinTarget::create(path)?);
    }
    on_fresh_thread(|| -> Result<(), Error> {
        let prepare = || -> io::Result<()> {
            unshare(
                CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC,
            )?;
            nix::unistd::sethostname(hostname)?;
            SANDBOX_FILES
                .iter()
                .zip(&paths)
                .try_for_each(|(name, path)| pin(name, path))
        };
        prepare().map_err(Error::step("create sandbox", dir))?;
        link::Netlink::open()?.set_up("lo")?;
        Ok(())
    })??;
    let [net, uts, ipc] = paths;
    let net = NetNs::open_path(&net)?;
    targets.into_iter().for_each(PinTarget::keep);
    Ok(Sandbox { net, uts, ipc })
}

/// Opens the sandbox that [`create_sandbox`] made in `dir`.
pub fn open_sandbox(dir: &Path) -> Result<Sandbox, Error> {
    let [net, uts, ipc] = SANDBOX_FILES.map(|name| dir.join(name));
    Ok(Sandbox {
        net: NetNs::open_path(&net)?,
        uts,
        ipc,
    })
}

/// Unpins a sandbox's namespaces; what is already gone is no error.
pub fn remove_sandbox(dir: &Path) -> Result<(), Error> {
    for name in SANDBOX_FILES {
        remove_at(&dir.join(name))?;
    }
    Ok(())
}

/// Bind-mounts the calling thread's namespace `kind` onto `path`.
fn pin(kind: &str, path: &Path) -> io::Result<()> {
    let source = Path::new("/proc/thread-self/ns").join(kind);
    mount(
        Some(&source),
        path,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .map_err(io::Error::from)
}

/// An empty file to mount a namespace on; taken away again unless kept.
struct PinTarget {
    path: PathBuf,
    kept: bool,
}

impl PinTarget {
    fn create(path: &Path) -> Result<Self, Error> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o444)
            .open(path)
            .map_err(Error::step("create file of", path))?;
        Ok(Self {
            path: path.to_path_buf(),
            kept: false,
        })
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for PinTarget {
    fn drop(&mut self) {
        if !self.kept {
            // Best effort: the error that led here is the one to tell.
            let _ = remove_at(&self.path);
        }
    }
}

/// Makes `/run/netns` a shared mount point, so that namespaces mounted in it appear in, and are
/// unmounted from, every mount namespace (see `ip-netns(8)`).
fn share_named_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir)?;
    let share = || {
        mount(
            None::<&str>,
            dir,
            None::<&str>,
            MsFlags::MS_SHARED | MsFlags::MS_REC,
            None::<&str>,
        )
    };
    match share() {
        // Not a mount point yet.
        Err(nix::Error::EINVAL) => {
            mount(
                Some(dir),
                dir,
                None::<&str>,
                MsFlags::MS_BIND | MsFlags::MS_REC,
                None::<&str>,
            )?;
            share()?;
        }
        other => other?,
    }
    Ok(())
}

/// Runs `work` on a thread of its own, whose namespaces end with it.
fn on_fresh_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        let handle = thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work)
            .map_err(Error::Thread)?;
        handle
            .join()
            .or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests;
