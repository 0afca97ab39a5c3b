//! Logs of Pods, streamed from a node's kubelet API.

mod served;

use std::net::Ipv4Addr;
use std::sync::Arc;

use bytes::Bytes;
use futures::AsyncReadExt as _;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use kube::api::{Api, LogParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use served::Served;

type NodeBody = BoxBody<Bytes, std::convert::Infallible>;

/// What a node answers: two lines, the second when the test says so; or an error for a container called `slow`.
fn answer(path: &str, lines: mpsc::Receiver<Bytes>) -> http::Response<NodeBody> {
    if path.contains("/slow") {
        let text = "container \"slow\" in pod \"p\" is waiting to start: ContainerCreating";
        let mut response = http::Response::new(Full::new(Bytes::from(text)).boxed());
        *response.status_mut() = http::StatusCode::BAD_REQUEST;
        return response;
    }
    assert_eq!(path, "/containerLogs/default/p/c?follow=true&tailLines=5");
    let frames = futures::stream::unfold(lines, |mut lines| async move {
        let line = lines.recv().await?;
        Some((Ok(Frame::data(line)), lines))
    });
    http::Response::new(StreamBody::new(frames).boxed())
}

/// A node on loopback; answers the port.
async fn node(served: &Served, lines: mpsc::Receiver<Bytes>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port is free");
    let port = listener.local_addr().expect("bound").port();
    let acceptor = TlsAcceptor::from(served.node_tls());
    let lines = Arc::new(parking_lot::Mutex::new(Some(lines)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let lines = lines.clone();
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let path = request.uri().to_string();
                let (_, empty) = mpsc::channel(1);
                let lines = if path.contains("/slow") {
                    empty
                } else {
                    lines.lock().take().unwrap_or(empty)
                };
                async move { Ok::<_, std::convert::Infallible>(answer(&path, lines)) }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_streams_from_the_node_and_its_refusals_are_passed_on() {
    let served = Served::start().await;
    let (lines, receiver) = mpsc::channel(4);
    let port = node(&served, receiver).await;
    let client = served.admin();
    let nodes: Api<Node> = Api::all(client.clone());
    let named = |name: &str| json!({"metadata": {"name": name}});
    let node: Node = serde_json::from_value(named("n1")).expect("a Node");
    nodes
        .create(&PostParams::default(), &node)
        .await
        .expect("created");
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }});
    nodes
        .patch_status("n1", &PatchParams::default(), &Patch::Merge(status))
        .await
        .expect("patched");
    let account: ServiceAccount = serde_json::from_value(named("default")).expect("an account");
    Api::namespaced(client.clone(), "default")
        .create(&PostParams::default(), &account)
        .await
        .expect("created");
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n1", "containers": [
        {"name": "c", "image": "i"}, {"name": "slow", "image": "i"}]}});
    let pod: Pod = serde_json::from_value(pod).expect("a Pod");
    let pods: Api<Pod> = Api::namespaced(client, "default");
    pods.create(&PostParams::default(), &pod)
        .await
        .expect("created");

    let params = LogParams {
        container: Some("c".into()),
        follow: true,
        tail_lines: Some(5),
        ..LogParams::default()
    };
    let mut log = Box::pin(pods.log_stream("p", &params).await.expect("log"));
    let mut read = [0; 4];
    lines
        .send(Bytes::from("one\n"))
        .await
        .expect("node streams");
    // The first line comes while the stream is open.
    log.read_exact(&mut read).await.expect("read");
    assert_eq!(&read, b"one\n");
    lines
        .send(Bytes::from("two\n"))
        .await
        .expect("node streams");
    drop(lines);
    let mut rest = String::new();
    log.read_to_string(&mut rest).await.expect("read");
    assert_eq!(rest, "two\n");

    let params = LogParams {
        container: Some("slow".into()),
        ..LogParams::default()
    };
    let kube::Error::Api(status) = pods.logs("p", &params).await.expect_err("refused") else {
        panic!("no answer")
    };
    assert_eq!(status.code, 400);
    assert_eq!(
        status.message,
        "container \"slow\" in pod \"p\" is waiting to start: ContainerCreating"
    );
}
