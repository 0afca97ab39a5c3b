//! What the API has, as files of Pods.

use karve_e2e::{TestHost, eventually};

/// Prints each new content of the files that its arguments name.
const FOLLOW: &str = r#"
old=
while :; do
    new=$(for f in "$@"; do printf '%s=' "$f"; cat "$f" 2>/dev/null || printf none; printf ' '; done)
    [ "$new" = "$old" ] || echo "$new"
    old=$new
    sleep 0.05
done
"#;

/// A Pod that follows `files` of its volumes.
fn follower(name: &str, files: &[&str], volumes: &str) -> String {
    let script = serde_json::to_string(FOLLOW).expect("serializes");
    let files = serde_json::to_string(files).expect("serializes");
    format!(
        r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "{name}", "labels": {{"app": "one"}}}}, "spec": {{
            "terminationGracePeriodSeconds": 1, "volumes": {volumes}, "containers": [{{"name": "c", "image": "busybox",
            "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", {script}, "sh"], "args": {files},
            "volumeMounts": [{{"name": "a", "mountPath": "/a"}}, {{"name": "b", "mountPath": "/b"}}]}}]}}}}"#
    )
}

#[test]
fn files_follow_their_objects_and_a_missing_one_holds_the_pod() {
    let host = TestHost::new();
    let cluster = host.cluster(&[]);
    let log = |pod: &str, text: &str| {
        eventually(&format!("{pod} shows {text}"), || {
            let log = cluster.try_kubectl(&["logs", pod]).stdout;
            if log.contains(text) { Ok(()) } else { Err(log) }
        });
    };
    let volumes = r#"[{"name": "a", "configMap": {"name": "map"}}, {"name": "b", "projected": {"sources": [
        {"secret": {"name": "sec", "items": [{"key": "pw", "path": "deep/pw"}]}}, {"configMap": {"name": "none", "optional": true}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]}}]"#;
    let files = ["/a/k", "/b/deep/pw", "/b/labels", "/b/later"];
    for pod in ["one", "two"] {
        cluster.apply(&follower(pod, &files, volumes));
    }
    eventually("the Pod is held", || {
        let events = cluster.kubectl(&["get", "events", "-o", "jsonpath={.items[*].message}"]);
        let told = [
            "MountVolume.SetUp failed for volume \"a\" : configmap \"map\" not found",
            "MountVolume.SetUp failed for volume \"b\" : secret \"sec\" not found",
        ];
        if told.iter().all(|text| events.contains(text)) {
            Ok(())
        } else {
            Err(events)
        }
    });
    assert_eq!(
        cluster.kubectl(&["get", "pod", "one", "-o", "jsonpath={.status.podIP}"]),
        "",
        "nothing is made of it"
    );
    cluster.kubectl(&["create", "configmap", "map", "--from-literal=k=1"]);
    cluster.kubectl(&["create", "secret", "generic", "sec", "--from-literal=pw=x"]);
    for pod in ["one", "two"] {
        log(
            pod,
            "/a/k=1 /b/deep/pw=x /b/labels=app=\"one\" /b/later=none",
        );
    }

    let patch = |object: &[&str], patch: &str| {
        cluster.kubectl(&[&["patch"], object, &["--type=merge", "-p", patch]].concat());
    };
    patch(&["configmap", "map"], r#"{"data": {"k": "2"}}"#);
    patch(&["secret", "sec"], r#"{"stringData": {"pw": "y"}}"#);
    patch(
        &["pod", "one"],
        r#"{"metadata": {"labels": {"app": "uno"}}}"#,
    );
    cluster.kubectl(&["create", "configmap", "none", "--from-literal=later=3"]);
    log(
        "one",
        "/a/k=2 /b/deep/pw=y /b/labels=app=\"uno\" /b/later=3",
    );
    log(
        "two",
        "/a/k=2 /b/deep/pw=y /b/labels=app=\"one\" /b/later=3",
    );

    // A new agent finds the volumes as they are, and follows on.
    cluster.kubectl(&["delete", "secret", "sec"]);
    cluster.sigkill("node1");
    patch(&["configmap", "map"], r#"{"data": {"k": "4"}}"#);
    cluster.karve("start", &[]).ok();
    log("one", "/a/k=4 /b/deep/pw=y");
    assert_eq!(
        cluster.kubectl(&[
            "get",
            "pod",
            "one",
            "-o",
            "jsonpath={.status.containerStatuses[0].restartCount}"
        ]),
        "0"
    );
    cluster.down();
}
