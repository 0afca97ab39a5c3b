//! Too many requests, slow ones, and a server that ends.

use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use kube::client::Body;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::served::Served;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn answer(
    served: &Served,
    request: Request<Body>,
) -> (StatusCode, http::HeaderMap, serde_json::Value) {
    let answer = served.client.clone().send(request).await;
    let (head, body) = answer.expect("an answer").into_parts();
    let body = body.collect_bytes().await.expect("a body");
    let said = serde_json::from_slice(&body)
        .unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into());
    (head.status, head.headers, said)
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).expect("a request")
}

/// A request of which the server waits for the rest, with the line that its answer begins with still to come.
async fn unfinished(
    served: &Served,
    token: &str,
) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    let mut stream = served.connect_showing_nothing().await;
    let head = format!(
        "POST {MAPS} HTTP/1.1\r\nhost: karve\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n\
         content-length: 1000\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.expect("it listens");
    stream
}

async fn start_line(stream: &mut tokio_rustls::client::TlsStream<tokio::net::TcpStream>) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await.expect("an answer"));
    }
    String::from_utf8_lossy(&line).trim_end().to_owned()
}

fn users(folder: &std::path::Path) -> String {
    let file = folder.join("users.csv");
    std::fs::write(
        &file,
        "one,alice,u1,\"dev\"\nadmin,root,u2,\"system:masters\"\n",
    )
    .expect("written");
    format!("--token-auth-file={}", file.display())
}

/// One writer at once: who is second is told to come again, unless it is an administrator.
#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_are_told_to_come_again() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let flags = [
        &*users(folder.path()),
        "--enable-priority-and-fairness=false",
        "--max-mutating-requests-inflight=1",
    ];
    let served = Served::start_with(&folder.path().join("data"), &flags).await;
    let _first = held_writer(&served).await;
    let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"a-"}}"#;
    let post = format!("POST {MAPS}");
    let (head, said) = served.send_as("one", &post, body).await;
    assert!(
        head.starts_with("HTTP/1.1 429 Too Many Requests\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\nretry-after: 1\r\n"), "{head}");
    assert_eq!(said, "Too many requests, please try again later.\n");
    // Reads have places of their own, and system:masters need none.
    let (head, _) = served.send_as("one", "GET /version", "").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let (head, _) = served.send_as("admin", &post, body).await;
    assert!(head.starts_with("HTTP/1.1 201 Created\r\n"), "{head}");
}

/// A writer that is allowed to write, and does not.
async fn held_writer(served: &Served) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    let binding = r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"alice"},
        "roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},
        "subjects":[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"alice"}]}"#;
    let request = Request::post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings")
        .header("content-type", "application/json")
        .body(Body::from(binding.as_bytes().to_vec()))
        .expect("a request");
    let (code, _, said) = answer(served, request).await;
    assert_eq!(code, 201, "{said}");
    let stream = unfinished(served, "one").await;
    // Until the server counts it.
    loop {
        let (_, _, metrics) = answer(served, get("/metrics")).await;
        let text = metrics.as_str().expect("text");
        let line = "apiserver_current_inflight_requests{request_kind=\"mutating\"} ";
        if text
            .lines()
            .any(|l| l.strip_prefix(line).is_some_and(|n| n != "0"))
        {
            return stream;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_end_with_their_time() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let flags = [&*users(folder.path()), "--request-timeout=2s"];
    let served = Served::start_with(&folder.path().join("data"), &flags).await;
    // A body that never ends: the limit of the server.
    let mut slow = unfinished(&served, "admin").await;
    assert_eq!(start_line(&mut slow).await, "HTTP/1.1 504 Gateway Timeout");
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(
        std::time::Duration::from_secs(5),
        slow.read_to_end(&mut rest),
    )
    .await;
    let rest = String::from_utf8_lossy(&rest).into_owned();
    assert!(
        rest.contains("\"reason\":\"Timeout\"") && rest.contains("\"code\":504"),
        "{rest}"
    );
    // What is no time is refused.
    let (code, _, said) = answer(&served, get(&format!("{MAPS}?timeout=soon"))).await;
    assert_eq!(code, 400);
    assert_eq!(
        said["message"],
        "invalid timeout specified in the request URL - time: invalid duration \"soon\""
    );
    // Watches have times of their own.
    let request = get(&format!("{MAPS}?watch=true&timeoutSeconds=1&timeout=1ms"));
    let answer = served
        .client
        .clone()
        .send(request)
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    answer.into_body().collect().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_says_so_first_and_finishes_what_runs() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let flags = [&*users(folder.path()), "--shutdown-delay-duration=2s"];
    let served = Served::start_with(&folder.path().join("data"), &flags).await;
    let request = get(&format!("{MAPS}?watch=true"));
    let watch = served
        .client
        .clone()
        .send(request)
        .await
        .expect("an answer");
    let mut writer = unfinished(&served, "admin").await;
    served.terminate();
    // Not ready, and alive.
    loop {
        let (code, _, said) = answer(&served, get("/readyz")).await;
        if code == 500 {
            assert!(
                said.as_str().expect("text").contains("[-]shutdown failed"),
                "{said}"
            );
            break;
        }
        tokio::task::yield_now().await;
    }
    let (code, ..) = answer(&served, get("/livez")).await;
    assert_eq!(code, 200);
    // The watch ends as one whose time is over.
    watch.into_body().collect().await.expect("it ends well");
    // By now nobody is let in any more; who is in gets an answer.
    let object = r#""apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"last"}}"#;
    let padded = format!("{object}{}", " ".repeat(999 - object.len()));
    writer.write_all(padded.as_bytes()).await.expect("it reads");
    assert_eq!(start_line(&mut writer).await, "HTTP/1.1 201 Created");
    drop(writer);
    assert!(served.ended(), "it ends well");
}
