use std::os::unix::fs::MetadataExt;

use super::*;

/// A name that no other test run uses; removed on drop.
struct Named(String);

impl Named {
    fn new(label: &str) -> Self {
        Self(format!("karve-test-{label}-{}", std::process::id()))
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = remove(&self.0);
    }
}

/// A fresh directory; its sandbox and the directory are removed on drop.
struct Dir(PathBuf);

impl Dir {
    fn new(label: &str) -> Self {
        let path = std::env::temp_dir().join(format!("karve-netns-{label}-{}", std::process::id()));
        fs::create_dir(&path).expect("create directory");
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = remove_sandbox(&self.0);
        let _ = fs::remove_dir(&self.0);
    }
}

fn inode(path: impl AsRef<Path>) -> u64 {
    fs::metadata(path).expect("namespace file").ino()
}

#[test]
fn a_named_namespace_is_entered_and_removed() {
    let name = Named::new("named");
    let made = NetNs::create(&name.0).expect("create");
    let opened = NetNs::open(&name.0).expect("open");
    let inside = opened
        .run_in(|| inode("/proc/thread-self/ns/net"))
        .expect("run");
    assert_eq!(inside, inode(made.path()));
    assert_ne!(
        inside,
        inode("/proc/thread-self/ns/net"),
        "the caller's thread stays outside"
    );
    let again = NetNs::create(&name.0).expect_err("name is taken");
    assert!(again.to_string().contains(&name.0), "{again}");
    assert!(remove(&name.0).expect("remove"));
    assert!(!remove(&name.0).expect("remove again"));
    assert!(NetNs::open(&name.0).is_err());
}

#[test]
fn a_sandbox_pins_its_three_namespaces() {
    let dir = Dir::new("sandbox");
    let sandbox = create_sandbox(&dir.0, "web-0").expect("create sandbox");
    assert_ne!(inode(&sandbox.uts), inode("/proc/self/ns/uts"));
    assert_ne!(inode(&sandbox.ipc), inode("/proc/self/ns/ipc"));
    let hostname = on_fresh_thread(|| {
        setns(
            File::open(&sandbox.uts).expect("open"),
            CloneFlags::CLONE_NEWUTS,
        )
        .expect("enter");
        nix::unistd::gethostname().expect("hostname")
    })
    .expect("thread");
    assert_eq!(hostname, "web-0");
    let lo = link::Netlink::open_in(&sandbox.net)
        .expect("open")
        .link("lo")
        .expect("lo");
    assert!(lo.up);
    drop(sandbox);
    let reopened = open_sandbox(&dir.0).expect("open sandbox");
    assert_eq!(inode(reopened.net.path()), inode(dir.0.join("net")));
    remove_sandbox(&dir.0).expect("remove");
    remove_sandbox(&dir.0).expect("remove again");
    assert_eq!(fs::read_dir(&dir.0).expect("read directory").count(), 0);
}

#[test]
fn a_failed_sandbox_leaves_nothing() {
    let dir = Dir::new("failed");
    let too_long = "x".repeat(65);
    create_sandbox(&dir.0, &too_long).expect_err("hostnames have at most 64 bytes");
    assert_eq!(fs::read_dir(&dir.0).expect("read directory").count(), 0);
}
