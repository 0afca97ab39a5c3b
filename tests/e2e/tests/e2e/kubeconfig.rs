//! The user's kubeconfig is theirs.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use karve_e2e::TestHost;

const THEIRS: &str = "\
apiVersion: v1
kind: Config
current-context: work
clusters:
- name: work
  cluster:
    server: https://work.example.com
    x-their-own: kept
contexts:
- name: work
  context:
    cluster: work
    user: me
users:
- name: me
  user:
    token: secret
preferences: {}
";

#[test]
fn a_context_comes_and_goes_and_the_rest_stays() {
    let host = TestHost::new();
    fs::write(host.kubeconfig(), THEIRS).expect("writes");
    let cluster = host.cluster(&[]);
    let mode = fs::metadata(host.kubeconfig())
        .expect("is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let contexts = cluster.kubectl(&["config", "get-contexts", "-o", "name"]);
    assert_eq!(
        contexts.lines().collect::<Vec<_>>(),
        [cluster.name.as_str(), "work"]
    );
    assert_eq!(
        cluster.kubectl(&["config", "current-context"]).trim(),
        cluster.name
    );
    let text = fs::read_to_string(host.kubeconfig()).expect("reads");
    assert!(text.contains("x-their-own: kept"), "{text}");

    cluster.karve("down", &[]).ok();
    let after = fs::read_to_string(host.kubeconfig()).expect("reads");
    assert!(
        after.contains("current-context: work") && after.contains("x-their-own: kept"),
        "{after}"
    );
    assert!(!after.contains(&cluster.name), "{after}");
}

#[test]
fn a_file_of_ours_alone_goes_with_the_cluster() {
    let host = TestHost::new();
    let file = host.folder().join("sub").join("config");
    let cluster = host.cluster(&["--kubeconfig", &file.display().to_string()]);
    assert!(file.exists() && !host.kubeconfig().exists());
    cluster.karve("down", &[]).ok();
    assert!(!file.exists());
}

#[test]
fn a_context_of_somebody_else_is_not_taken() {
    let host = TestHost::new();
    fs::write(host.kubeconfig(), THEIRS).expect("writes");
    let said = host.karve(&["up", "--name", "work"]).failed();
    assert!(said.contains("of somebody else"), "{said}");
    assert_eq!(
        fs::read_to_string(host.kubeconfig()).expect("reads"),
        THEIRS
    );
    assert!(!host.data_root().join("work").exists());
}
