//! The server over real TLS on loopback: who is let in, and what is told.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::*;

struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new() -> Ca {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("signed").pem();
        Ca {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    fn sign(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (certificate.pem(), key.serialize_pem())
    }
}

struct Setup {
    ca: Ca,
    address: SocketAddr,
    shutdown: CancellationToken,
    _dir: tempfile::TempDir,
}

async fn serve_on_loopback() -> Setup {
    let dir = tempfile::tempdir().expect("a directory");
    let images = karve_runtime::images::Store::open(&dir.path().join("images")).expect("opened");
    let runtime = Runtime::open(karve_runtime::Options {
        run_dir: dir.path().join("run"),
        data_dir: dir.path().join("data"),
        images,
        exe: "/nonexistent".into(),
        shim_args: Vec::new(),
        cgroup_parent: format!("karve-node-test-{}", std::process::id()),
    });
    let state = State {
        runtime: runtime.await.expect("opened"),
        pods: Arc::default(),
        statuses: Arc::default(),
        cluster_cidr: "127.0.0.0/8".parse().expect("a net"),
    };
    let pod = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "a", "namespace": "ns", "uid": "u"},
        "spec": {"containers": [{"name": "c"}]},
        "status": {"containerStatuses": [{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ContainerCreating"}}}]},
    }));
    state
        .pods
        .write()
        .insert("u".to_owned(), Arc::new(pod.expect("a pod")));
    let ca = Ca::new();
    let (certificate, key) = ca.sign("node1", ExtendedKeyUsagePurpose::ServerAuth);
    let pem = Pem {
        certificate: certificate.into(),
        key: key.into(),
        client_ca: ca.pem.clone().into(),
    };
    let server = Server::bind("127.0.0.1:0".parse().expect("an address"), &pem, state)
        .await
        .expect("bound");
    let address = server.listener.local_addr().expect("bound");
    let shutdown = CancellationToken::new();
    tokio::spawn(server.run(shutdown.clone()));
    Setup {
        ca,
        address,
        shutdown,
        _dir: dir,
    }
}

impl Setup {
    /// A connection of a client with this certificate and key.
    async fn connect(
        &self,
        client: Option<&(String, String)>,
    ) -> std::io::Result<SendRequest<Empty<Bytes>>> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.ca.pem.as_bytes()).expect("a certificate"))
            .expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions");
        let config = config.with_root_certificates(roots);
        let config = match client {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![
                    CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate"),
                ];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
                config.with_client_auth_cert(chain, key).expect("they fit")
            }
        };
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }

    /// GETs a path as a client with this certificate and key.
    async fn get(
        &self,
        client: Option<&(String, String)>,
        path: &str,
    ) -> Result<(StatusCode, String), std::io::Error> {
        let mut sender = self.connect(client).await?;
        let request = Request::get(path)
            .header("host", "node1")
            .body(Empty::<Bytes>::new())
            .expect("a request");
        let response = sender
            .send_request(request)
            .await
            .map_err(std::io::Error::other)?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(std::io::Error::other)?
            .to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

#[tokio::test]
async fn only_the_api_server_is_let_in() {
    let setup = serve_on_loopback().await;
    let api = setup.ca.sign(
        "kube-apiserver-kubelet-client",
        ExtendedKeyUsagePurpose::ClientAuth,
    );
    let admin = setup.ca.sign("admin", ExtendedKeyUsagePurpose::ClientAuth);
    let stranger = Ca::new().sign(
        "kube-apiserver-kubelet-client",
        ExtendedKeyUsagePurpose::ClientAuth,
    );
    assert_eq!(
        setup.get(Some(&api), "/healthz").await.expect("answered"),
        (StatusCode::OK, "ok".to_owned())
    );
    assert_eq!(
        setup
            .get(Some(&admin), "/healthz")
            .await
            .expect("answered")
            .0,
        StatusCode::UNAUTHORIZED
    );
    assert!(setup.get(Some(&stranger), "/healthz").await.is_err());
    assert!(setup.get(None, "/healthz").await.is_err());
    setup.shutdown.cancel();
}

#[tokio::test]
async fn logs_that_are_not_there_are_refused_in_upstreams_words() {
    let setup = serve_on_loopback().await;
    let api = setup.ca.sign(
        "kube-apiserver-kubelet-client",
        ExtendedKeyUsagePurpose::ClientAuth,
    );
    let rows = [
        (
            "/containerLogs/ns/none/c",
            StatusCode::NOT_FOUND,
            "pod \"none\" does not exist",
        ),
        (
            "/containerLogs/ns/a/none",
            StatusCode::NOT_FOUND,
            "container \"none\" not found in pod \"a\"",
        ),
        (
            "/containerLogs/ns/a/c",
            StatusCode::BAD_REQUEST,
            "container \"c\" in pod \"a\" is waiting to start: ContainerCreating",
        ),
        (
            "/containerLogs/ns/a/c?previous=true",
            StatusCode::BAD_REQUEST,
            "previous terminated container \"c\" in pod \"a\" not found",
        ),
        (
            "/containerLogs/ns/a/c?tailLines=x",
            StatusCode::BAD_REQUEST,
            "Invalid value for tailLines: \"x\"",
        ),
        ("/exec/ns/a/c", StatusCode::NOT_FOUND, "404 page not found"),
    ];
    for (path, status, text) in rows {
        assert_eq!(
            setup.get(Some(&api), path).await.expect("answered"),
            (status, text.to_owned()),
            "{path}"
        );
    }
    let (_, pods) = setup.get(Some(&api), "/pods").await.expect("answered");
    assert!(
        pods.contains("\"kind\":\"PodList\"") && pods.contains("\"name\":\"a\""),
        "{pods}"
    );
    setup.shutdown.cancel();
}

#[tokio::test]
async fn the_api_server_reaches_pods_and_nothing_else() {
    let setup = serve_on_loopback().await;
    let api = setup.ca.sign(
        "kube-apiserver-kubelet-client",
        ExtendedKeyUsagePurpose::ClientAuth,
    );
    let pod = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = pod.local_addr().expect("bound");
    let echo = async {
        let (mut stream, _) = pod.accept().await.expect("accepted");
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.expect("said");
    };
    let open = |to: String| {
        let (setup, api) = (&setup, &api);
        async move {
            let mut sender = setup.connect(Some(api)).await.expect("connected");
            let request = Request::connect(to).body(Empty::new()).expect("a request");
            sender.send_request(request).await.expect("answered")
        }
    };
    let talk = async {
        let mut response = open(address.to_string()).await;
        assert_eq!(response.status(), StatusCode::OK);
        let upgraded = hyper::upgrade::on(&mut response).await.expect("upgraded");
        let mut stream = TokioIo::new(upgraded);
        stream.write_all(b"hello").await.expect("sent");
        let mut said = [0; 5];
        stream.read_exact(&mut said).await.expect("came back");
        assert_eq!(&said, b"hello");
    };
    tokio::join!(echo, talk);

    // Nobody listens there any more: the kernel's error comes back as its number.
    drop(pod);
    let refused = open(address.to_string()).await;
    assert_eq!(refused.status(), StatusCode::BAD_GATEWAY);
    let body = refused.into_body().collect().await.expect("a body");
    assert_eq!(body.to_bytes(), nix::libc::ECONNREFUSED.to_string());

    assert_eq!(
        open("192.0.2.1:80".to_owned()).await.status(),
        StatusCode::FORBIDDEN
    );
    setup.shutdown.cancel();
}
