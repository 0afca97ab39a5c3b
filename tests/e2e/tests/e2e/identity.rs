//! Who is who: pods with the tokens of their accounts, people with certificates.

use std::fs;

use karve_e2e::{Output, TestHost};

const SERVER: &str = "https://192.168.64.1:6443";
/// Shows the volume of the ServiceAccount, and stays.
const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: busybox
    imagePullPolicy: IfNotPresent
    command:
    - sh
    - -c
    - cd /var/run/secrets/kubernetes.io/serviceaccount && cat namespace && echo && cat token && echo && cat ca.crt && exec sleep 1000
"#;

/// `kubectl` as the bearer of a token and nobody else.
fn as_bearer(host: &TestHost, token: &str, arguments: &[&str]) -> Output {
    let ca = host.folder().join("ca.crt").display().to_string();
    let mut kubectl = host.command("kubectl");
    kubectl
        .env("KUBECONFIG", "/dev/null")
        .args(["--server", SERVER, "--certificate-authority", &ca])
        .args(["--token", token])
        .args(arguments);
    Output::of(&mut kubectl)
}

#[test]
fn a_pods_token_is_its_accounts_and_dies_with_the_pod() {
    let host = TestHost::new();
    let cluster = host.cluster(&[]);
    cluster.apply(POD);
    cluster.wait("condition=Ready", &["pod/client"]);
    let log = cluster.kubectl(&["logs", "client"]);
    let mut lines = log.lines();
    assert_eq!(lines.next(), Some("default"));
    let token = lines.next().expect("a token").to_owned();
    let certificate: Vec<&str> = lines.collect();
    fs::write(host.folder().join("ca.crt"), certificate.join("\n")).expect("writes");

    let who = as_bearer(&host, &token, &["auth", "whoami"]).ok();
    assert!(
        who.contains("system:serviceaccount:default:default"),
        "{who}"
    );
    let refused = as_bearer(&host, &token, &["get", "pods"]).failed();
    assert!(
        refused.contains("cannot list resource \"pods\""),
        "{refused}"
    );
    let account = "--serviceaccount=default:default";
    cluster.kubectl(&[
        "create",
        "rolebinding",
        "view",
        "--clusterrole=view",
        account,
    ]);
    let pods = as_bearer(&host, &token, &["get", "pods"]).ok();
    assert!(pods.contains("client"), "{pods}");

    cluster.kubectl(&["delete", "pod", "client"]);
    let gone = as_bearer(&host, &token, &["auth", "whoami"]).failed();
    assert!(
        gone.contains("Unauthorized") || gone.contains("logged in"),
        "{gone}"
    );
    cluster.down();
}
