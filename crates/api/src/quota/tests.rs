use super::*;
use serde_json::json;

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

fn quota(spec: Value, hard: Value, used: Value) -> Value {
    json!({"metadata": {"name": "q"}, "spec": spec, "status": {"hard": hard, "used": used}})
}

fn pod(requests: Value) -> Value {
    json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}})
}

fn create(object: &Value) -> Request<'_> {
    Request {
        subresource: "",
        object,
        old: None,
    }
}

#[test]
fn pods_are_charged_or_refused_with_upstreams_words() {
    let none = json!({});
    let scoped = json!({"scopes": ["Terminating"]});
    let rows = [
        (
            &none,
            json!({"pods": "2"}),
            json!({"pods": "1"}),
            pod(json!({})),
            Ok("pods=2"),
        ),
        (
            &none,
            json!({"pods": "1", "cpu": "1"}),
            json!({"pods": "1", "cpu": "500m"}),
            pod(json!({"cpu": "600m"})),
            Err(
                "exceeded quota: q, requested: cpu=600m,pods=1, used: cpu=500m,pods=1, limited: cpu=1,pods=1",
            ),
        ),
        (
            &none,
            json!({"requests.cpu": "1", "limits.memory": "1"}),
            json!({"requests.cpu": "0", "limits.memory": "0"}),
            pod(json!({})),
            Err("failed quota: q: must specify limits.memory for: c; requests.cpu for: c"),
        ),
        (
            &none,
            json!({"pods": "1", "secrets": "1"}),
            json!({"secrets": "0"}),
            pod(json!({})),
            Err("status unknown for quota: q, resources: pods"),
        ),
        (
            &scoped,
            json!({"pods": "0"}),
            json!({"pods": "0"}),
            pod(json!({})),
            Ok(""),
        ),
        (
            &none,
            json!({"secrets": "0"}),
            json!({"secrets": "0"}),
            pod(json!({})),
            Ok(""),
        ),
        (
            &none,
            json!({"requests.example.com/gpu": "1"}),
            json!({"requests.example.com/gpu": "1"}),
            pod(json!({"example.com/gpu": 1})),
            Err(
                "exceeded quota: q, requested: requests.example.com/gpu=1, used: requests.example.com/gpu=1, limited: requests.example.com/gpu=1",
            ),
        ),
    ];
    for (spec, hard, used, pod, want) in rows {
        let quotas = [quota(spec.clone(), hard, used)];
        let got = check(&quotas, &Evaluator::Pods, create(&pod), now());
        let got = got.map(|changed| {
            changed
                .iter()
                .map(|(_, used)| amounts::list(used))
                .collect::<String>()
        });
        assert_eq!(
            got,
            want.map(str::to_owned).map_err(str::to_owned),
            "{quotas:?}"
        );
    }
}

#[test]
fn updates_are_charged_for_growth_only() {
    let service = |kind: &str, ports: usize| {
        let ports: Vec<Value> = (0..ports).map(|n| json!({"port": n + 1})).collect();
        json!({"spec": {"type": kind, "ports": ports}})
    };
    let hard = json!({"services": "1", "services.nodeports": "3", "services.loadbalancers": "1"});
    let used = json!({"services": "1", "services.nodeports": "1", "services.loadbalancers": "0"});
    let quotas = [quota(json!({}), hard, used)];
    let change = |old: &Value, new: &Value| {
        let request = Request {
            subresource: "",
            object: new,
            old: Some(old),
        };
        check(&quotas, &Evaluator::Services, request, now()).map(|changed| {
            changed
                .iter()
                .map(|(_, used)| amounts::list(used))
                .collect::<String>()
        })
    };
    assert_eq!(
        change(&service("ClusterIP", 2), &service("LoadBalancer", 2)).as_deref(),
        Ok("services=1,services.loadbalancers=1,services.nodeports=3")
    );
    assert_eq!(
        change(&service("NodePort", 2), &service("NodePort", 1)).as_deref(),
        Ok("")
    );
    assert!(change(&service("ClusterIP", 3), &service("NodePort", 3)).is_err());
}

#[test]
fn usage_counts_what_the_scopes_select() {
    let with_class = |class: &str| json!({"spec": {"priorityClassName": class, "containers": []}});
    let objects = [with_class("high"), with_class("low"), with_class("")];
    let scope = |operator: &str, values: Value| {
        json!({"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": operator, "values": values}]}})
    };
    let rows = [
        (json!({}), "pods=3"),
        (scope("In", json!(["high"])), "pods=1"),
        (scope("NotIn", json!(["high"])), "pods=2"),
        (scope("Exists", json!([])), "pods=2"),
        (scope("DoesNotExist", json!([])), "pods=1"),
        (
            json!({"scopes": ["BestEffort", "NotTerminating"]}),
            "pods=3",
        ),
        (json!({"scopes": ["NotBestEffort"]}), "pods=0"),
    ];
    for (spec, want) in rows {
        let quota = quota(spec, json!({}), json!({}));
        let used = usage(
            &quota,
            &["pods", "secrets"],
            &Evaluator::Pods,
            &objects,
            now(),
        );
        assert_eq!(amounts::list(&used), want, "{quota}");
    }
}

#[test]
fn claims_count_by_class_in_whole_bytes() {
    let claim = json!({
        "spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1500m"}}},
        "status": {"allocatedResources": {"storage": "1"}},
    });
    let used = Evaluator::Claims.usage(&claim, now());
    assert_eq!(
        amounts::list(&used),
        "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
         gold.storageclass.storage.k8s.io/requests.storage=2,persistentvolumeclaims=1,requests.storage=2"
    );
}

#[test]
fn names_lead_to_the_resources_that_count() {
    let found = tracked([
        "count/deployments.apps",
        "secrets",
        "requests.cpu",
        "count/events",
        "bogus",
    ]);
    let found: Vec<String> = found
        .iter()
        .map(|(group, plural)| format!("{group}/{plural}"))
        .collect();
    assert_eq!(found, ["apps/deployments", "/secrets", "/pods"]);
}

#[test]
fn pods_that_are_over_use_no_compute() {
    let mut over = pod(json!({"cpu": "1"}));
    over["status"] = json!({"phase": "Succeeded"});
    assert_eq!(
        amounts::list(&Evaluator::Pods.usage(&over, now())),
        "count/pods=1"
    );
    let mut stuck = pod(json!({}));
    stuck["metadata"] =
        json!({"deletionTimestamp": "2025-12-31T23:00:00Z", "deletionGracePeriodSeconds": 30});
    assert_eq!(
        amounts::list(&Evaluator::Pods.usage(&stuck, now())),
        "count/pods=1"
    );
}
