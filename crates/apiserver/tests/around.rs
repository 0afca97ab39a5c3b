//! What happens around every request: ids, limits, metrics, the audit log.

use std::path::Path;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use karve_apiserver::{ApiServer, AuditOptions, Identity, Limits, LogOptions, Options};
use karve_store::Store;
use serde_json::{Value, json};
use tower::ServiceExt as _;

fn server(directory: &Path, options: Options) -> ApiServer {
    let store = Store::open(directory.join("state.db"), Default::default()).expect("store opens");
    ApiServer::new(store, options).expect("server starts")
}

async fn ask(
    server: &ApiServer,
    user: &str,
    group: &str,
    method: &str,
    path: &str,
    body: Value,
) -> Response<Bytes> {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json");
    let request = request
        .body(Full::new(Bytes::from(body)))
        .expect("a request");
    let service = server.service(Identity::authenticated(user, [group.to_owned()]));
    let Ok(response) = service.oneshot(request).await;
    let (head, body) = response.into_parts();
    Response::from_parts(head, body.collect().await.expect("a body").to_bytes())
}

fn header<'a>(response: &'a Response<Bytes>, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default()
}

#[tokio::test]
async fn answers_have_an_id_and_say_how_they_were_classified() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let server = server(directory.path(), Options::default());
    let answer = ask(&server, "alice", "dev", "GET", "/version", Value::Null).await;
    assert_eq!(header(&answer, "audit-id").len(), 36);
    let schema = ask(
        &server,
        "admin",
        "system:masters",
        "GET",
        "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/global-default",
        Value::Null,
    )
    .await;
    let schema: Value = serde_json::from_slice(schema.body()).expect("JSON");
    assert_eq!(
        header(&answer, "x-kubernetes-pf-flowschema-uid"),
        schema["metadata"]["uid"]
    );
    assert_eq!(schema["status"]["conditions"][0]["status"], "False");
}

#[tokio::test]
async fn requests_beyond_the_limit_come_again_later() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let limits = Limits {
        requests_in_flight: 0,
        priority_and_fairness: false,
        ..Limits::default()
    };
    let server = server(
        directory.path(),
        Options {
            limits,
            ..Options::default()
        },
    );
    let answer = ask(&server, "alice", "dev", "GET", "/version", Value::Null).await;
    assert_eq!(answer.status(), 429);
    assert_eq!(header(&answer, "retry-after"), "1");
    assert_eq!(
        answer.body(),
        "Too many requests, please try again later.\n"
    );
    let answer = ask(
        &server,
        "admin",
        "system:masters",
        "GET",
        "/version",
        Value::Null,
    )
    .await;
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn time_that_a_client_gives_must_be_a_time() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let server = server(directory.path(), Options::default());
    let answer = ask(
        &server,
        "admin",
        "system:masters",
        "GET",
        "/api/v1/nodes?timeout=soon",
        Value::Null,
    )
    .await;
    assert_eq!(answer.status(), 400);
    let status: Value = serde_json::from_slice(answer.body()).expect("JSON");
    let message = "invalid timeout specified in the request URL - time: invalid duration \"soon\"";
    assert_eq!(status["message"], message);
}

#[tokio::test]
async fn metrics_count_requests_and_objects() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let server = server(directory.path(), Options::default());
    let map = json!({"metadata": {"name": "a"}});
    ask(
        &server,
        "admin",
        "system:masters",
        "POST",
        "/api/v1/namespaces/default/configmaps",
        map,
    )
    .await;
    ask(
        &server,
        "admin",
        "system:masters",
        "GET",
        "/api/v1/made/up",
        Value::Null,
    )
    .await;
    let answer = ask(
        &server,
        "admin",
        "system:masters",
        "GET",
        "/metrics",
        Value::Null,
    )
    .await;
    assert_eq!(
        header(&answer, "content-type"),
        "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
    );
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    for line in [
        "apiserver_request_total{code=\"201\",component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"configmaps\",\
         scope=\"resource\",subresource=\"\",verb=\"POST\",version=\"v1\"} 1",
        "apiserver_storage_objects{resource=\"namespaces\"} 4",
        "# TYPE apiserver_request_duration_seconds histogram",
        "apiserver_flowcontrol_nominal_limit_seats{priority_level=\"workload-low\"} 245",
        "# TYPE process_cpu_seconds_total counter",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
    }
    assert!(!text.contains("made"), "clients can't make up labels");
    let refused = ask(&server, "alice", "dev", "GET", "/metrics", Value::Null).await;
    assert_eq!(refused.status(), 403);
}

#[tokio::test]
async fn the_audit_log_says_who_did_what() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (policy_file, path) = (
        directory.path().join("policy.yaml"),
        directory.path().join("audit.log"),
    );
    let policy = "{apiVersion: audit.k8s.io/v1, kind: Policy, omitStages: [RequestReceived], rules: [
        {level: RequestResponse, resources: [{group: '', resources: [configmaps]}], omitManagedFields: true},
        {level: Metadata, users: [alice]}]}";
    std::fs::write(&policy_file, policy).expect("written");
    let log = LogOptions {
        path: path.clone(),
        max_size: 0,
        max_backups: 0,
        max_age: 0,
    };
    let audit = Some(AuditOptions { policy_file, log });
    let server = server(
        directory.path(),
        Options {
            audit,
            ..Options::default()
        },
    );
    let map = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}});
    ask(
        &server,
        "admin",
        "system:masters",
        "POST",
        "/api/v1/namespaces/default/configmaps",
        map.clone(),
    )
    .await;
    ask(
        &server,
        "alice",
        "dev",
        "GET",
        "/api/v1/namespaces/default/secrets",
        Value::Null,
    )
    .await;
    ask(&server, "bob", "dev", "GET", "/version", Value::Null).await;
    let events = loop {
        let text = std::fs::read_to_string(&path).expect("a log");
        let events: Vec<Value> = text
            .lines()
            .filter_map(|l| serde_json::from_str(l).ok())
            .collect();
        if events.len() >= 2 {
            break events;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(events.len(), 2);
    let (made, refused) = (&events[0], &events[1]);
    assert_eq!(made["stage"], "ResponseComplete");
    assert_eq!(made["verb"], "create");
    assert_eq!(made["user"]["username"], "admin");
    assert_eq!(
        made["objectRef"],
        json!({"resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1"})
    );
    assert_eq!(made["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(made["requestObject"], map);
    assert_eq!(made["responseObject"]["metadata"]["name"], "a");
    assert!(
        made["responseObject"]["metadata"]
            .get("managedFields")
            .is_none()
    );
    assert_eq!(
        made["annotations"]["authorization.k8s.io/decision"],
        "allow"
    );
    assert_eq!(refused["level"], "Metadata");
    assert_eq!(refused["responseStatus"]["reason"], "Forbidden");
    assert_eq!(
        refused["annotations"]["authorization.k8s.io/decision"],
        "forbid"
    );
    assert!(refused.get("requestObject").is_none());
}
