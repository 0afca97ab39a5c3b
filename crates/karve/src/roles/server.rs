//! `karve server`: a cluster's control plane in one process, in the host's network.
//!
//! The store, the API on it, and the API's clients that decide for the whole cluster: controllers,
//! scheduler, LoadBalancer addresses. Besides, what only the host's network reaches: registries and the
//! host's resolvers. Everything but the store can be found again by looking, so SIGKILL costs nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use karve_apiserver::ApiServer;
use karve_runtime::images;
use karve_store::Store;
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;

use super::parts::Parts;
use super::process;
use crate::cli::ClusterArg;
use crate::cluster::Cluster;
use crate::cluster::config::{
    API_PORT, CLUSTER_CIDR, CLUSTER_DNS, CLUSTER_DOMAIN, FORWARDER_PORT, SERVICE_CIDR,
};
use crate::cluster::pki::{FrontProxy, Pki};

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    cluster: ClusterArg,
}

/// Runs until SIGTERM. Standard input is the API's listening socket.
pub fn run(options: &Options) -> Result<()> {
    process::detach();
    let cluster = Cluster::load(&options.cluster.name)?;
    process::block_on(serve(cluster))
}

async fn serve(cluster: Cluster) -> Result<()> {
    let mut parts = Parts::new(process::stop_on_signal()?);
    let listeners = listeners(&cluster).await?;
    let store = Store::open(cluster.layout.state(), karve_store::Options::default())
        .with_context(|| format!("open store {}", cluster.layout.state().display()))?;
    let pki = cluster.pki();
    let api = ApiServer::new(store, api_options(&cluster, &pki, &parts)?)
        .context("set up the API server")?;
    let tls = {
        let files = pki.api_server();
        karve_apiserver::server_tls(
            &read(&files.certificate)?,
            &read(&files.key)?,
            &read(&pki.ca())?,
        )
    };
    let tls = tls.context("set up TLS of the API server")?;
    for listener in listeners {
        let (api, tls, shutdown) = (api.clone(), tls.clone(), parts.shutdown());
        parts.start("the API server", async move {
            api.serve(listener, tls, shutdown).await;
            anyhow::Ok(())
        });
    }
    start_clients(&mut parts, &api, &pki)?;
    start_services(&mut parts, &cluster)?;
    process::say_ready()?;
    tracing::info!(cluster = %cluster.name, url = cluster.config.api_url(), "server is ready");
    parts.join().await
}

/// The socket that we were given, on the nodes' network, and one on loopback.
async fn listeners(cluster: &Cluster) -> Result<Vec<TcpListener>> {
    let bridge = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .context("take the API's socket")?;
    let bridge = std::net::TcpListener::from(bridge);
    bridge
        .set_nonblocking(true)
        .context("take the API's socket from standard input")?;
    let mut listeners =
        vec![TcpListener::from_std(bridge).context("take the API's socket from standard input")?];
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, cluster.config.loopback_port));
    match TcpListener::bind(loopback).await {
        Ok(listener) => listeners.push(listener),
        // Nothing of ours needs it.
        Err(err) => tracing::warn!(%loopback, %err, "loopback port is taken"),
    }
    Ok(listeners)
}

fn api_options(cluster: &Cluster, pki: &Pki, parts: &Parts) -> Result<karve_apiserver::Options> {
    let front_proxy = FrontProxy::new()?;
    Ok(karve_apiserver::Options {
        advertise: SocketAddrV4::new(cluster.config.subnet.host(), API_PORT),
        service_cidr: SERVICE_CIDR,
        cluster_dns: Some(CLUSTER_DNS),
        shutdown: parts.shutdown(),
        kubelet_tls: Some(Arc::new(kubelet_tls(pki)?)),
        service_account_tokens: true,
        // As kubeadm has it.
        admission: karve_apiserver::Admission {
            enable: vec!["NodeRestriction".to_owned()],
            ..karve_apiserver::Admission::default()
        },
        authentication: karve_apiserver::Authentication {
            service_account_issuers: vec![format!(
                "https://kubernetes.default.svc.{CLUSTER_DOMAIN}"
            )],
            service_account_signing_key_file: Some(pki.service_accounts()),
            ..karve_apiserver::Authentication::default()
        },
        extension_authentication: extension_authentication(pki, &front_proxy)?,
        proxy_client: Some(karve_apiserver::ProxyClient {
            certificate: front_proxy.certificate.into_bytes(),
            key: front_proxy.key.into_bytes(),
        }),
        ..karve_apiserver::Options::default()
    })
}

/// Whom servers of other groups of the API may believe.
fn extension_authentication(
    pki: &Pki,
    front_proxy: &FrontProxy,
) -> Result<BTreeMap<String, String>> {
    let authority =
        String::from_utf8(read(&pki.ca())?).context("decode the authority's certificate")?;
    let list = |name: &str| format!("[\"{name}\"]");
    let data = [
        ("client-ca-file", authority),
        (
            "requestheader-client-ca-file",
            front_proxy.authority.clone(),
        ),
        ("requestheader-allowed-names", list(FrontProxy::NAME)),
        ("requestheader-username-headers", list("X-Remote-User")),
        ("requestheader-uid-headers", list("X-Remote-Uid")),
        ("requestheader-group-headers", list("X-Remote-Group")),
        (
            "requestheader-extra-headers-prefix",
            list("X-Remote-Extra-"),
        ),
    ];
    Ok(data.map(|(name, value)| (name.to_owned(), value)).into())
}

/// How the API server shows itself to kubelets.
fn kubelet_tls(pki: &Pki) -> Result<ClientConfig> {
    let files = pki.kubelet_client();
    let decode = |path: &Path| -> Result<Vec<CertificateDer<'static>>> {
        CertificateDer::pem_slice_iter(&read(path)?)
            .collect::<Result<_, _>>()
            .with_context(|| format!("decode {}", path.display()))
    };
    let mut roots = rustls::RootCertStore::empty();
    for root in decode(&pki.ca())? {
        roots.add(root).context("trust the cluster's authority")?;
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
        .with_context(|| format!("decode {}", files.key.display()))?;
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("choose versions of TLS")?
        .with_root_certificates(roots)
        .with_client_auth_cert(decode(&files.certificate)?, key)
        .context("set up TLS to kubelets")
}

/// Starts what decides for the whole cluster.
fn start_clients(parts: &mut Parts, api: &ApiServer, pki: &Pki) -> Result<()> {
    let root_ca_pem =
        String::from_utf8(read(&pki.ca())?).context("decode the authority's certificate")?;
    let account = |name: &str| {
        let user = format!("system:serviceaccount:kube-system:{name}");
        let groups = [
            "system:serviceaccounts",
            "system:serviceaccounts:kube-system",
        ];
        api.client(&user, &groups)
    };
    let clients = karve_control::Clients {
        controllers: api.client("system:kube-controller-manager", &[]),
        scheduler: api.client("system:kube-scheduler", &[]),
        garbage_collector: account("generic-garbage-collector"),
        namespaces: account("namespace-controller"),
    };
    let authority = pki.authority_pair();
    let authority =
        karve_control::Authority::new(&read(&authority.certificate)?, &read(&authority.key)?)
            .context("set up the signing of certificates")?;
    let options = karve_control::Options {
        cluster_cidr: CLUSTER_CIDR,
        root_ca_pem,
        authority: Some(Arc::new(authority)),
    };
    parts.start(
        "the controllers",
        karve_control::run(clients, options, parts.shutdown()),
    );
    let allocator = api.client("karve:load-balancer", &[]);
    let addresses = karve_edge::allocate::run(
        allocator,
        karve_edge::allocate::Options::default(),
        parts.shutdown(),
    );
    parts.start("the allocator of LoadBalancer addresses", addresses);
    Ok(())
}

/// Starts what the nodes need of the host's network.
fn start_services(parts: &mut Parts, cluster: &Cluster) -> Result<()> {
    let store = images::Store::open(&cluster.layout.images).context("open the machine's images")?;
    let (socket, shutdown) = (cluster.layout.images_socket(), parts.shutdown());
    parts.start("the image service", async move {
        images::service::serve(&socket, store, shutdown)
            .await
            .with_context(|| format!("listen at {}", socket.display()))
    });
    let forwarder = SocketAddr::from((cluster.config.subnet.host(), FORWARDER_PORT));
    let resolv_conf = PathBuf::from("/etc/resolv.conf");
    let shutdown = parts.shutdown();
    parts.start("the DNS forwarder", async move {
        karve_dns::forward_all(forwarder, &resolv_conf, shutdown).await
    });
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}
