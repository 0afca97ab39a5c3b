//! EndpointSlices, Endpoints and what ties Services to addresses, as upstream's network tests ask for them.

use std::collections::BTreeSet;

use karve_e2e::{TestCluster, TestHost, eventually};
use serde_json::Value;

/// A busybox that sleeps, with a label and ports.
fn pod(name: &str, app: &str, ports: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {app}}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: busybox
    imagePullPolicy: IfNotPresent
    command: [sh, -c, "trap 'exit 0' TERM; sleep 1000000 & wait"]
    ports: {ports}
---"#
    )
}

fn slices(cluster: &TestCluster<'_>, service: &str) -> Vec<Value> {
    let list = cluster.json(&[
        "endpointslices",
        "-l",
        &format!("kubernetes.io/service-name={service}"),
    ]);
    list["items"].as_array().expect("a list").clone()
}

/// What the slices of a Service say: for each endpoint its Pod and its first port.
fn said(slices: &[Value]) -> BTreeSet<(String, u64)> {
    let of = |slice: &Value| {
        let port = slice["ports"][0]["port"].as_u64().unwrap_or_default();
        let endpoints = slice["endpoints"].as_array().cloned().unwrap_or_default();
        let name = move |one: Value| {
            (
                one["targetRef"]["name"].as_str().unwrap_or("-").to_owned(),
                port,
            )
        };
        endpoints.into_iter().map(name).collect::<Vec<_>>()
    };
    slices.iter().flat_map(of).collect()
}

fn shows(cluster: &TestCluster<'_>, service: &str, expected: &[(&str, u64)]) {
    let expected: BTreeSet<_> = expected
        .iter()
        .map(|(name, port)| ((*name).to_owned(), *port))
        .collect();
    eventually("the slices of the Service", || {
        match said(&slices(cluster, service)) {
            now if now == expected => Ok(()),
            now => Err(format!("{now:?}")),
        }
    });
}

#[test]
fn slices_and_endpoints_follow_pods_whose_ports_have_the_same_name() {
    let host = TestHost::new();
    let cluster = host.cluster(&["--nodes", "2"]);
    cluster.apply(
        r#"
apiVersion: v1
kind: Service
metadata: {name: s, labels: {team: a}}
spec: {selector: {app: x}, ports: [{port: 80, targetPort: web}]}
---
apiVersion: v1
kind: Service
metadata: {name: none}
spec: {selector: {app: nothing}, ports: [{port: 80}]}
"#,
    );
    // A selector that matches no Pods: one slice without endpoints, and Endpoints without subsets.
    eventually("one empty slice", || {
        match slices(&cluster, "none").as_slice() {
            [one] if one["endpoints"].is_null() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    assert!(cluster.json(&["endpoints", "none"])["subsets"].is_null());

    cluster.apply(
        &(pod("a", "x", "[{name: web, containerPort: 8080}]")
            + &pod("b", "x", "[{name: web, containerPort: 8081}]")),
    );
    cluster.wait("condition=Ready", &["pod/a", "pod/b"]);
    shows(&cluster, "s", &[("a", 8080), ("b", 8081)]);
    let now = slices(&cluster, "s");
    assert_eq!(
        now.len(),
        2,
        "Pods that resolve a name differently are in slices of their own"
    );
    for slice in &now {
        assert_eq!(slice["metadata"]["labels"]["team"], "a");
        assert_eq!(slice["metadata"]["ownerReferences"][0]["name"], "s");
        let conditions = &slice["endpoints"][0]["conditions"];
        assert_eq!(
            (&conditions["ready"], &conditions["serving"]),
            (&Value::Bool(true), &Value::Bool(true))
        );
    }
    let subsets = cluster.json(&["endpoints", "s"])["subsets"].clone();
    assert_eq!(subsets.as_array().map(Vec::len), Some(2), "{subsets}");

    // Labels of the Service are those of its slices; a slice that somebody deletes comes back.
    cluster.kubectl(&["label", "service", "s", "team=b", "--overwrite"]);
    eventually("the label", || match slices(&cluster, "s") {
        now if now
            .iter()
            .all(|one| one["metadata"]["labels"]["team"] == "b") =>
        {
            Ok(())
        }
        now => Err(format!("{now:?}")),
    });
    cluster.kubectl(&[
        "delete",
        "endpointslices",
        "-l",
        "kubernetes.io/service-name=s",
    ]);
    shows(&cluster, "s", &[("a", 8080), ("b", 8081)]);

    cluster.kubectl(&["delete", "pod", "a"]);
    shows(&cluster, "s", &[("b", 8081)]);
    cluster.kubectl(&["delete", "service", "s"]);
    eventually("nothing is left", || {
        let endpoints = cluster.try_kubectl(&["get", "endpoints", "s"]);
        match slices(&cluster, "s").is_empty() && endpoints.code != 0 {
            true => Ok(()),
            false => Err("something is left"),
        }
    });
    cluster.down();
}

#[test]
fn endpoints_made_by_hand_are_mirrored_into_one_slice() {
    let host = TestHost::new();
    let cluster = host.cluster(&[]);
    let endpoints = |ip: &str, port: u16| {
        format!(
            r#"
apiVersion: v1
kind: Endpoints
metadata: {{name: s}}
subsets: [{{addresses: [{{ip: {ip}}}], ports: [{{name: web, port: {port}}}]}}]
"#
        )
    };
    cluster.apply("apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{name: web, port: 80}]}\n");
    cluster.apply(&endpoints("10.1.2.3", 80));
    let one = |ip: &str, port: u64| {
        eventually("the mirrored slice", || {
            match slices(&cluster, "s").as_slice() {
                [one]
                    if one["endpoints"][0]["addresses"][0] == ip
                        && one["ports"][0]["port"] == port =>
                {
                    Ok(one["metadata"].clone())
                }
                other => Err(format!("{other:?}")),
            }
        })
    };
    let first = one("10.1.2.3", 80);
    let manager = &first["labels"]["endpointslice.kubernetes.io/managed-by"];
    assert_eq!(manager, "endpointslicemirroring-controller.k8s.io");
    cluster.apply(&endpoints("10.2.3.4", 81));
    assert_eq!(
        one("10.2.3.4", 81)["name"],
        first["name"],
        "the slice is used again"
    );
    cluster.kubectl(&["delete", "endpoints", "s"]);
    eventually("the slice goes", || match slices(&cluster, "s") {
        now if now.is_empty() => Ok(()),
        now => Err(format!("{now:?}")),
    });
    cluster.down();
}

#[test]
fn addresses_of_services_are_repaired_and_ranges_held() {
    let host = TestHost::new();
    let cluster = host.cluster(&[]);
    cluster.wait("condition=Ready", &["servicecidr/kubernetes"]);
    cluster
        .apply("apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 80}]}\n");
    let service = cluster.json(&["service", "s"]);
    let ip = service["spec"]["clusterIP"]
        .as_str()
        .expect("an address")
        .to_owned();
    cluster.kubectl(&["delete", "ipaddress", &ip, "--wait=false"]);
    eventually("the address is made again", || {
        let object = cluster.try_kubectl(&[
            "get",
            "ipaddress",
            &ip,
            "-o",
            "jsonpath={.spec.parentRef.name}",
        ]);
        if object.stdout == "s" {
            Ok(())
        } else {
            Err(object.stderr)
        }
    });
    eventually("people are told", || {
        let events = cluster.kubectl(&["get", "events", "-o", "jsonpath={.items[*].reason}"]);
        if events.contains("ClusterIPNotAllocated") {
            Ok(())
        } else {
            Err(events)
        }
    });

    // A range of its own, held by an address of it.
    cluster.apply("apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: more}\nspec: {cidrs: [10.200.0.0/24]}\n");
    cluster.wait("condition=Ready", &["servicecidr/more"]);
    cluster.apply("apiVersion: v1\nkind: Service\nmetadata: {name: t}\nspec: {clusterIP: 10.200.0.7, ports: [{port: 80}]}\n");
    cluster.kubectl(&["delete", "servicecidr", "more", "--wait=false"]);
    cluster.wait("condition=Ready=False", &["servicecidr/more"]);
    cluster.kubectl(&["delete", "service", "t"]);
    cluster.kubectl(&["wait", "--for=delete", "servicecidr/more", "--timeout=60s"]);
    cluster.down();
}

#[test]
fn replicasets_adopt_pods_that_nobody_controls() {
    let host = TestHost::new();
    let cluster = host.cluster(&[]);
    cluster.apply(&pod("lone", "r", "[]"));
    cluster.wait("condition=Ready", &["pod/lone"]);
    cluster.apply(
        r#"
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: r}
spec:
  replicas: 1
  selector: {matchLabels: {app: r}}
  template:
    metadata: {labels: {app: r}}
    spec: {containers: [{name: c, image: busybox, imagePullPolicy: IfNotPresent, command: [sleep, "1000000"]}]}
"#,
    );
    cluster.wait("jsonpath={.status.readyReplicas}=1", &["replicaset/r"]);
    let owner = cluster.kubectl(&[
        "get",
        "pod",
        "lone",
        "-o",
        "jsonpath={.metadata.ownerReferences[0].name}",
    ]);
    assert_eq!(owner, "r");
    cluster.down();
}
