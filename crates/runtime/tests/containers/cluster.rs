//! What each test works in: a runtime on directories of its own, and an image with busybox.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use karve_runtime::images::archive::{ImageArchive, Layer, Owner};
use karve_runtime::images::{Image, ImageConfig, Store};
use karve_runtime::{
    ContainerConfig, ContainerState, ContainerStatus, Options, PodNetwork, Resources, Runtime,
    SandboxConfig, Security,
};
use karve_sys::link::Netlink;
use libtest_mimic::{Failed, Trial};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Longest that anything here takes before the test fails rather than hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// Names of busybox in the image.
const COMMANDS: [&str; 23] = [
    "sh", "cat", "echo", "id", "sleep", "env", "hostname", "ip", "ls", "mount", "true", "pwd",
    "dd", "head", "yes", "ping", "touch", "mknod", "wc", "ps", "kill", "readlink", "unshare",
];

pub struct Cluster {
    dir: tempfile::TempDir,
    cgroup: String,
    pub image: Image,
    pub store: Store,
}

/// A test that runs on an async runtime with a cluster of its own.
pub fn trial<F, R>(name: &'static str, test: F) -> Trial
where
    F: FnOnce(std::sync::Arc<Cluster>) -> R + Send + 'static,
    R: Future<Output = ()>,
{
    Trial::test(name, move || {
        leave_the_machine();
        let tokio = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let cluster = std::sync::Arc::new(Cluster::new());
        let done = tokio.block_on(async { tokio::time::timeout(DEADLINE, test(cluster)).await });
        done.map_err(|_| Failed::from("the test took too long"))
    })
}

/// Moves the calling thread, and all that it starts, into namespaces of their own.
fn leave_the_machine() {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("make namespaces (as root)");
    let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("make mounts private");
    Netlink::open()
        .and_then(|mut links| links.set_up("lo"))
        .expect("set up loopback");
}

impl Cluster {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = tempfile::tempdir().expect("temporary directory");
        let store = Store::open(&dir.path().join("images")).expect("open store");
        let archive = dir.path().join("busybox.tar");
        std::fs::write(&archive, busybox_archive()).expect("write archive");
        let image = store.load(&archive).expect("load image").remove(0);
        let cgroup = format!("karve-test/{}-{number}", std::process::id());
        Self {
            dir,
            cgroup,
            image,
            store,
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn nodes_dir(&self) -> PathBuf {
        self.path().join("run/nodes")
    }

    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// A runtime on the cluster's directories, as an agent that has just started has it.
    pub async fn runtime(&self) -> Runtime {
        let exe = std::env::current_exe().expect("path of this program");
        Runtime::open(Options {
            run_dir: self.nodes_dir().join("node1"),
            data_dir: self.path().join("data/nodes/node1"),
            images: self.store.clone(),
            exe,
            shim_args: vec!["shim".to_owned()],
            cgroup_parent: format!("{}/node1", self.cgroup),
        })
        .await
        .expect("open runtime")
    }

    pub fn sandbox(&self, uid: &str) -> SandboxConfig {
        SandboxConfig {
            uid: uid.to_owned(),
            namespace: "default".to_owned(),
            name: format!("pod-{uid}"),
            hostname: format!("pod-{uid}"),
            short_name: String::new(),
            fqdn: None,
            network: PodNetwork::Pod {
                cidr: "10.244.1.0/24".parse().expect("CIDR"),
                node_ip: None,
            },
            dns: Some(Default::default()),
            host_aliases: vec![],
            annotations: [("key".to_owned(), "kept".to_owned())].into(),
        }
    }

    /// A container that runs a shell script.
    pub fn container(&self, uid: &str, script: &str) -> ContainerConfig {
        ContainerConfig {
            pod_uid: uid.to_owned(),
            name: "c".to_owned(),
            attempt: 0,
            image: self.image.clone(),
            command: vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()],
            args: vec![],
            working_dir: None,
            env: vec![],
            mounts: vec![],
            resources: Resources::default(),
            security: Security::default(),
            log_path: self.path().join(format!("logs/{uid}.log")),
            annotations: Default::default(),
        }
    }

    pub fn log(&self, uid: &str) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(self.path().join(format!("logs/{uid}.log")))
            .unwrap_or_default();
        text.lines()
            .map(|line| {
                let mut fields = line.splitn(4, ' ').skip(1);
                let stream = fields.next().expect("stream");
                let tag = fields.next().expect("tag");
                (
                    format!("{stream} {tag}"),
                    fields.next().unwrap_or_default().to_owned(),
                )
            })
            .collect()
    }

    /// The lines that a container wrote to standard output.
    pub fn output(&self, uid: &str) -> Vec<String> {
        self.log(uid)
            .into_iter()
            .filter(|(head, _)| head == "stdout F")
            .map(|(_, line)| line)
            .collect()
    }

    /// Runs a container in a pod of its own until it ends.
    pub async fn run(&self, runtime: &Runtime, config: ContainerConfig) -> ContainerStatus {
        let uid = config.pod_uid.clone();
        runtime
            .run_sandbox(self.sandbox(&uid))
            .await
            .expect("run sandbox");
        let id = runtime
            .create_container(config)
            .await
            .expect("create container");
        runtime.start_container(&id).await.expect("start container");
        ended(runtime, &id).await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        karve_runtime::cleanup(&self.nodes_dir(), &self.cgroup).expect("clean up");
    }
}

/// Waits for the container's end, by events as the kubelet role does.
pub async fn ended(runtime: &Runtime, id: &str) -> ContainerStatus {
    let mut events = runtime.subscribe();
    loop {
        let status = runtime.container_status(id).await.expect("status");
        if matches!(status.state, ContainerState::Exited { .. }) {
            return status;
        }
        events.recv().await.expect("event");
    }
}

/// Waits until the file says something: containers have no other way to tell that they are ready.
pub async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn exit(status: &ContainerStatus) -> (i32, &str) {
    match &status.state {
        ContainerState::Exited {
            exit_code, reason, ..
        } => (*exit_code, reason),
        other => panic!("not ended: {other:?}"),
    }
}

/// Packed once: compressing takes most of a second without optimisation.
fn busybox_archive() -> &'static [u8] {
    static ARCHIVE: OnceLock<Vec<u8>> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let mut bytes = Vec::new();
        busybox().write_oci(&mut bytes).expect("write archive");
        bytes
    })
}

fn busybox() -> ImageArchive {
    ImageArchive {
        names: vec!["docker.io/library/busybox:1".parse().expect("reference")],
        config: ImageConfig {
            cmd: Some(vec!["sh".to_owned()]),
            ..ImageConfig::default()
        },
        layers: vec![busybox_layer().to_vec()],
    }
}

/// The image's one layer, uncompressed.
pub fn busybox_layer() -> &'static [u8] {
    static LAYER: OnceLock<Vec<u8>> = OnceLock::new();
    LAYER.get_or_init(|| pack().expect("write layer"))
}

fn pack() -> std::io::Result<Vec<u8>> {
    let program =
        std::fs::read("/bin/busybox").expect("read /bin/busybox (package busybox-static)");
    let mut layer = Layer::default();
    for dir in ["bin", "etc", "tmp", "root", "proc", "sys", "dev"] {
        layer.directory(dir, Owner::root(0o755))?;
    }
    layer.file("bin/busybox", &program, Owner::root(0o755))?;
    for name in COMMANDS {
        layer.symlink(&format!("bin/{name}"), "busybox")?;
    }
    let passwd = b"root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n";
    layer.file("etc/passwd", passwd, Owner::root(0o644))?;
    layer.file(
        "etc/group",
        b"root:x:0:\napp:x:1000:\nextra:x:2000:app\n",
        Owner::root(0o644),
    )?;
    layer.file("etc/noexec", b"text", Owner::root(0o644))?;
    layer.file("bin/garbage", b"\x01\x02\x03\x04", Owner::root(0o755))?;
    layer.finish()
}
