//! Admission as clients meet it: quotas under concurrency, and webhooks that answer by TLS.

mod served;

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::discovery::ApiResource;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use served::Served;

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"a": "b"}})).expect("a map")
}

fn refusal<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> (u16, String) {
    match result {
        Err(kube::Error::Api(status)) => (status.code, status.message),
        other => panic!("{other:?} is no refusal"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quota_is_exact_when_many_write() {
    let served = Served::start().await;
    let quotas: Api<ResourceQuota> = Api::namespaced(served.admin(), "default");
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"count/configmaps": "10"}}});
    let quota = serde_json::from_value(quota).expect("a quota");
    quotas
        .create(&PostParams::default(), &quota)
        .await
        .expect("created");
    let status =
        json!({"status": {"hard": {"count/configmaps": "10"}, "used": {"count/configmaps": "0"}}});
    quotas
        .patch_status("q", &PatchParams::default(), &Patch::Merge(status))
        .await
        .expect("patched");
    let maps: Api<ConfigMap> = Api::namespaced(served.admin(), "default");
    let writes = (0..100).map(|n| {
        let maps = maps.clone();
        tokio::spawn(async move {
            let map = config_map(&format!("m{n}"));
            maps.create(&PostParams::default(), &map).await
        })
    });
    let results: Vec<_> = join_all(writes)
        .await
        .into_iter()
        .map(|r| r.expect("no panic"))
        .collect();
    let (made, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (10, 90));
    for result in refused {
        let (code, message) = refusal(result);
        assert_eq!(code, 403);
        assert!(
            message.ends_with(
                "is forbidden: exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=10, limited: count/configmaps=10"
            ),
            "{message}"
        );
    }
    let used = quotas
        .get("q")
        .await
        .expect("there")
        .status
        .expect("set")
        .used
        .expect("set");
    assert_eq!(used["count/configmaps"].0, "10");
    let dry = PostParams {
        dry_run: true,
        ..Default::default()
    };
    let failed = maps.create(&dry, &config_map("m")).await;
    assert_eq!(refusal(failed).0, 403);
}

/// A webhook on loopback that answers what the test says, and remembers what it was asked.
struct Webhook {
    url: String,
    ca: String,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Webhook {
    async fn start(answer: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Webhook {
        let signed =
            rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = rustls_pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der())
            .expect("key");
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![signed.cert.der().clone()], key)
            .expect("certificate fits key");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port is free");
        let port = listener.local_addr().expect("bound").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(serve(
            listener,
            TlsAcceptor::from(Arc::new(tls)),
            asked.clone(),
            Arc::new(answer),
        ));
        Webhook {
            url: format!("https://localhost:{port}/hook"),
            ca: BASE64_STANDARD.encode(signed.cert.pem()),
            asked,
        }
    }

    fn asked(&self) -> Vec<Value> {
        std::mem::take(&mut self.asked.lock())
    }
}

type Answer = Arc<dyn Fn(&Value) -> Value + Send + Sync>;

async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    asked: Arc<Mutex<Vec<Value>>>,
    answer: Answer,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, asked, answer) = (tls.clone(), asked.clone(), answer.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let service = service_fn(move |request: http::Request<Incoming>| {
                let (asked, answer) = (asked.clone(), answer.clone());
                async move {
                    let body = request
                        .into_body()
                        .collect()
                        .await
                        .expect("whole")
                        .to_bytes();
                    let review: Value = serde_json::from_slice(&body).expect("JSON");
                    let mut response = answer(&review["request"]);
                    response["uid"] = review["request"]["uid"].clone();
                    asked.lock().push(review["request"].clone());
                    let review = json!({
                        "apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response,
                    });
                    Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from(
                        review.to_string(),
                    ))))
                }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn configurations(client: kube::Client, mutating: bool) -> Api<DynamicObject> {
    let (kind, plural) = match mutating {
        true => (
            "MutatingWebhookConfiguration",
            "mutatingwebhookconfigurations",
        ),
        false => (
            "ValidatingWebhookConfiguration",
            "validatingwebhookconfigurations",
        ),
    };
    let resource = ApiResource {
        group: "admissionregistration.k8s.io".into(),
        version: "v1".into(),
        api_version: "admissionregistration.k8s.io/v1".into(),
        kind: kind.into(),
        plural: plural.into(),
    };
    Api::all_with(client, &resource)
}

/// Configures a webhook for ConfigMaps.
async fn configure(served: &Served, mutating: bool, name: &str, hook: &Webhook, more: Value) {
    let mut configured = json!({
        "name": format!("{name}.example.com"),
        "clientConfig": {"url": hook.url, "caBundle": hook.ca},
        "rules": [{"operations": if mutating { ["CREATE"] } else { ["*"] }, "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    });
    for (member, value) in more.as_object().expect("members") {
        configured[member] = value.clone();
    }
    let kind = match mutating {
        true => "MutatingWebhookConfiguration",
        false => "ValidatingWebhookConfiguration",
    };
    let object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
        "metadata": {"name": name}, "webhooks": [configured],
    });
    let object = serde_json::from_value(object).expect("an object");
    configurations(served.admin(), mutating)
        .create(&PostParams::default(), &object)
        .await
        .expect("configured");
}

fn patch(operations: Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": BASE64_STANDARD.encode(operations.to_string())})
}

fn set(member: &'static str, value: &'static str) -> impl Fn(&Value) -> Value + Send + Sync {
    move |_| patch(json!([{"op": "add", "path": format!("/data/{member}"), "value": value}]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_change_and_refuse_objects_in_order() {
    let served = Served::start().await;
    // The first by name; asked again because the second changes the object.
    let first = Webhook::start(|request| match request["object"]["data"].get("second") {
        Some(_) => patch(json!([{"op": "add", "path": "/data/seen", "value": "yes"}])),
        None => json!({"allowed": true, "warnings": ["first was here"]}),
    })
    .await;
    let second = Webhook::start(set("second", "x")).await;
    let last = Webhook::start(|request| match request["object"]["data"]["seen"] == "yes" {
        true => json!({"allowed": true}),
        false => json!({"allowed": false, "status": {"code": 418, "message": "not seen", "reason": "Teapot"}}),
    })
    .await;
    configure(
        &served,
        true,
        "a",
        &first,
        json!({"reinvocationPolicy": "IfNeeded"}),
    )
    .await;
    configure(&served, true, "b", &second, json!({})).await;
    configure(&served, false, "c", &last, json!({})).await;
    let maps: Api<ConfigMap> = Api::namespaced(served.admin(), "default");
    let made = maps
        .create(&PostParams::default(), &config_map("m"))
        .await
        .expect("allowed");
    let data = made.data.expect("set");
    assert_eq!(
        (data["second"].as_str(), data["seen"].as_str()),
        ("x", "yes")
    );
    assert_eq!((first.asked().len(), second.asked().len()), (2, 1));
    let asked = last.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0]["operation"], "CREATE");
    assert_eq!(asked[0]["name"], "m");
    assert_eq!(asked[0]["namespace"], "default");
    assert_eq!(
        asked[0]["kind"],
        json!({"group": "", "version": "v1", "kind": "ConfigMap"})
    );
    assert_eq!(asked[0]["object"]["kind"], "ConfigMap");
    assert_eq!(
        asked[0]["object"]["metadata"]["uid"],
        json!(made.metadata.uid)
    );
    assert_eq!(asked[0]["oldObject"], Value::Null);
    assert_eq!(asked[0]["options"]["kind"], "CreateOptions");
    assert_eq!(asked[0]["userInfo"]["username"], "admin");

    maps.delete("m", &DeleteParams::default())
        .await
        .map(|_| ())
        .expect_err("refused, as there is no object to have seen");
    let asked = last.asked();
    assert_eq!(asked[0]["operation"], "DELETE");
    assert_eq!(asked[0]["oldObject"]["data"]["second"], "x");
    assert_eq!(asked[0]["options"]["kind"], "DeleteOptions");
    configurations(served.admin(), true)
        .delete("b", &DeleteParams::default())
        .await
        .expect("exempt");
    let refused = maps.create(&PostParams::default(), &config_map("n")).await;
    assert_eq!(
        refusal(refused),
        (
            418,
            "admission webhook \"c.example.com\" denied the request: not seen".to_owned()
        )
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_count_as_the_policy_says() {
    let served = Served::start().await;
    let silly = Webhook::start(|_| json!({"allowed": true, "patch": "e30="})).await;
    configure(
        &served,
        false,
        "v",
        &silly,
        json!({"failurePolicy": "Ignore"}),
    )
    .await;
    let maps: Api<ConfigMap> = Api::namespaced(served.admin(), "default");
    maps.create(&PostParams::default(), &config_map("a"))
        .await
        .expect("ignored");
    configure(&served, false, "w", &silly, json!({})).await;
    let refused = maps.create(&PostParams::default(), &config_map("b")).await;
    assert_eq!(
        refusal(refused),
        (
            500,
            "Internal error occurred: failed calling webhook \"w.example.com\": received invalid webhook response: \
             validating webhook may not return response.patch"
                .to_owned()
        )
    );
    configurations(served.admin(), false)
        .delete("w", &DeleteParams::default())
        .await
        .expect("deleted");
    let stranger = Webhook::start(|_| json!({"allowed": true})).await;
    let other = Webhook {
        ca: silly.ca.clone(),
        ..stranger
    };
    configure(&served, false, "x", &other, json!({})).await;
    let refused = refusal(maps.create(&PostParams::default(), &config_map("c")).await);
    let want = format!(
        "Internal error occurred: failed calling webhook \"x.example.com\": failed to call webhook: \
         Post \"{}?timeout=10s\": tls: failed to verify certificate: x509: certificate signed by unknown authority",
        other.url
    );
    assert_eq!(refused, (500, want));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn selectors_and_side_effects_say_who_is_asked() {
    let served = Served::start().await;
    let hook = Webhook::start(|_| json!({"allowed": true})).await;
    let only = json!({"objectSelector": {"matchLabels": {"ask": "yes"}}});
    configure(&served, false, "o", &hook, only).await;
    let maps: Api<ConfigMap> = Api::namespaced(served.admin(), "default");
    maps.create(&PostParams::default(), &config_map("a"))
        .await
        .expect("not asked");
    assert!(hook.asked().is_empty());
    let label = Patch::Merge(json!({"metadata": {"labels": {"ask": "yes"}}}));
    maps.patch("a", &PatchParams::default(), &label)
        .await
        .expect("allowed");
    let asked = hook.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0]["options"]["kind"], "PatchOptions");
    assert_eq!(asked[0]["oldObject"]["metadata"]["labels"], Value::Null);
    let dry = PostParams {
        dry_run: true,
        ..Default::default()
    };
    let mut labelled = config_map("b");
    labelled.metadata.labels = Some([("ask".to_owned(), "yes".to_owned())].into());
    maps.create(&dry, &labelled).await.expect("allowed");
    assert_eq!(hook.asked()[0]["dryRun"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_changes_what_a_custom_resource_keeps_although_its_schema_has_no_such_member() {
    let served = Served::start().await;
    let resource = |group: &str, kind: &str, plural: &str| ApiResource {
        group: group.into(),
        version: "v1".into(),
        api_version: format!("{group}/v1"),
        kind: kind.into(),
        plural: plural.into(),
    };
    let definitions = resource(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        "customresourcedefinitions",
    );
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Cluster", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    let definition = serde_json::from_value(definition).expect("an object");
    let params = PostParams::default();
    let api: Api<DynamicObject> = Api::all_with(served.admin(), &definitions);
    api.create(&params, &definition).await.expect("defined");
    let hook = Webhook::start(set("added", "yes")).await;
    let rules = json!([{"operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["things"]}]);
    configure(&served, true, "a", &hook, json!({"rules": rules})).await;
    let things = resource("example.com", "Thing", "things");
    let api: Api<DynamicObject> = Api::all_with(served.admin(), &things);
    let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}, "data": {"own": "1"}});
    let thing: DynamicObject = serde_json::from_value(thing).expect("an object");
    let made = loop {
        match api.create(&params, &thing).await {
            // Served in a moment.
            Err(kube::Error::Api(status)) if status.code == 404 => tokio::task::yield_now().await,
            answer => break answer.expect("made"),
        }
    };
    assert_eq!(made.data["data"], json!({"own": "1", "added": "yes"}));
}
