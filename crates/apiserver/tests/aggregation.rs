//! Groups of the API that another server answers for.

mod served;

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::api::{Api, DynamicObject, ListParams, PostParams};
use kube::discovery::{ApiCapabilities, ApiResource, Scope};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use served::Served;

/// What was asked: the method and target, and who the header says asks.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// A server of `v1.flunders.example.com` on loopback.
async fn flunders() -> (u16, Asked) {
    let name = "flunders.default.svc".to_owned();
    let signed = rcgen::generate_simple_self_signed(vec![name]).expect("certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key =
        rustls_pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).expect("key");
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key)
        .expect("certificate fits key");
    let tls = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port is free");
    let port = listener.local_addr().expect("bound").port();
    let asked = Asked::default();
    let log = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, log) = (tls.clone(), log.clone());
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(stream).await else {
                    return;
                };
                let service = service_fn(move |request| answer(request, log.clone()));
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (port, asked)
}

async fn answer(
    request: http::Request<Incoming>,
    asked: Asked,
) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let target = format!("{} {}", request.method(), request.uri());
    let user = request.headers().get("x-remote-user");
    let user = user
        .and_then(|user| user.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    assert!(request.headers().get("authorization").is_none());
    asked.lock().push((target.clone(), user));
    let document = match target.as_str() {
        "GET /apis/flunders.example.com/v1" => json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "flunders.example.com/v1",
            "resources": [{"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder",
                "verbs": ["get", "list"]}],
        }),
        _ => json!({
            "kind": "FlunderList", "apiVersion": "flunders.example.com/v1", "metadata": {},
            "items": [{"kind": "Flunder", "apiVersion": "flunders.example.com/v1", "metadata": {"name": "f"}}],
        }),
    };
    let mut response = http::Response::new(Full::new(Bytes::from(document.to_string())));
    let kind = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", kind);
    Ok(response)
}

fn resource(group: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: group.into(),
        version: "v1".into(),
        api_version: if group.is_empty() {
            "v1".into()
        } else {
            format!("{group}/v1")
        },
        kind: kind.into(),
        plural: plural.into(),
    }
}

async fn make(api: Api<DynamicObject>, object: Value) {
    let object = serde_json::from_value(object).expect("an object");
    api.create(&PostParams::default(), &object)
        .await
        .expect("created");
}

/// The Service and its endpoints.
async fn expose(served: &Served, client: &kube::Client, port: u16) {
    let services = resource("", "Service", "services");
    make(
        Api::namespaced_with(client.clone(), "default", &services),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "flunders"},
            "spec": {"ports": [{"port": 443}]}}),
    )
    .await;
    // No client may name a loopback address.
    let slice = json!({"metadata": {"name": "flunders", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "flunders"}},
        "addressType": "IPv4", "ports": [{"name": "", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["127.0.0.1"]}]});
    let key = "/discovery.k8s.io/endpointslices/default/flunders";
    let value = karve_store::Value::plain(slice.to_string());
    let op = karve_store::Op::create(key, value);
    served.store.commit(vec![op]).await.expect("stored");
}

/// Waits until the condition has the reason.
async fn reason(client: &kube::Client, wanted: &str) {
    let services = resource("apiregistration.k8s.io", "APIService", "apiservices");
    let services: Api<DynamicObject> = Api::all_with(client.clone(), &services);
    let has = |service: Option<&DynamicObject>| {
        service.is_some_and(|s| s.data["status"]["conditions"][0]["reason"] == wanted)
    };
    let condition = kube::runtime::wait::await_condition(services, "v1.flunders.example.com", has);
    let waited = tokio::time::timeout(Duration::from_secs(20), condition).await;
    waited.expect("the condition comes").expect("watched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_answers_for_its_group_when_it_is_available() {
    let served = Served::start().await;
    let client = served.admin();
    let (port, asked) = flunders().await;
    let services = resource("apiregistration.k8s.io", "APIService", "apiservices");
    make(
        Api::all_with(client.clone(), &services),
        json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": "v1.flunders.example.com"},
            "spec": {"group": "flunders.example.com", "version": "v1", "groupPriorityMinimum": 2000,
                "versionPriority": 10, "insecureSkipTLSVerify": true,
                "service": {"namespace": "default", "name": "flunders"}}}),
    )
    .await;
    reason(&client, "ServiceNotFound").await;
    let flunders = resource("flunders.example.com", "Flunder", "flunders");
    let list = || {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &flunders);
        async move { api.list(&ListParams::default()).await }
    };
    let unavailable = list().await.expect_err("nobody answers");
    assert!(
        unavailable.to_string().contains("service unavailable"),
        "{unavailable}"
    );
    expose(&served, &client, port).await;
    reason(&client, "Passed").await;
    assert_eq!(list().await.expect("answered").items.len(), 1);
    let asked = std::mem::take(&mut *asked.lock());
    assert!(asked.contains(&(
        "GET /apis/flunders.example.com/v1".into(),
        "system:kube-aggregator".into()
    )));
    let listed = "GET /apis/flunders.example.com/v1/namespaces/default/flunders?".to_owned();
    assert!(
        asked
            .iter()
            .any(
                |(target, user)| target.trim_end_matches('?') == listed.trim_end_matches('?')
                    && user == "admin"
            ),
        "{asked:?}"
    );

    let discovery = kube::Discovery::new(client.clone())
        .run_aggregated()
        .await
        .expect("discovered");
    let (found, capabilities): (ApiResource, ApiCapabilities) = discovery
        .groups()
        .flat_map(|group| group.recommended_resources())
        .find(|(resource, _)| resource.group == "flunders.example.com")
        .expect("merged");
    assert_eq!(
        (found.kind.as_str(), capabilities.scope),
        ("Flunder", Scope::Namespaced)
    );
    let groups = client.list_api_groups().await.expect("listed").groups;
    assert!(
        groups
            .iter()
            .any(|group| group.name == "flunders.example.com")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_serves_itself_is_registered() {
    let served = Served::start().await;
    let services = resource("apiregistration.k8s.io", "APIService", "apiservices");
    let services: Api<DynamicObject> = Api::all_with(served.admin(), &services);
    let apps = services.get("v1.apps").await.expect("registered");
    assert_eq!(apps.data["spec"]["groupPriorityMinimum"], 17800);
    assert_eq!(apps.data["status"]["conditions"][0]["reason"], "Local");
    let request = http::Request::get("/apis/apps").body(vec![]);
    let client = served.admin();
    let text = client.request_text(request.expect("a path")).await;
    let group = text.expect("served here");
    assert!(group.contains("\"name\":\"apps\""));
}
