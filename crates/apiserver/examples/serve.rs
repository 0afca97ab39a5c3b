//! Serves the API on a loopback port from a new, temporary store and prints the path of an administrator's kubeconfig.
//!
//! `cargo run -p karve-apiserver --example serve [PORT]`, then `KUBECONFIG=… kubectl get namespaces`.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use karve_apiserver::{ApiServer, Options, server_tls};
use karve_store::Store;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A certificate authority with a server and an administrator.
struct Pki {
    ca: String,
    server: (String, String),
    admin: (String, String),
}

fn make_pki() -> anyhow::Result<Pki> {
    let ca_key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "karve-example");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key)?;
    let issuer = Issuer::new(params, ca_key);
    let sign = |names: &[&str], user: &str, group: &str, usage| -> anyhow::Result<(String, String)> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.iter().map(|n| n.to_string()).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, user);
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.extended_key_usages = vec![usage];
        Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
    };
    Ok(Pki {
        server: sign(&["127.0.0.1", "localhost"], "kube-apiserver", "karve", ExtendedKeyUsagePurpose::ServerAuth)?,
        admin: sign(&[], "admin", "system:masters", ExtendedKeyUsagePurpose::ClientAuth)?,
        ca: ca.pem(),
    })
}

fn kubeconfig(pki: &Pki, port: u16) -> String {
    let encode = |text: &str| STANDARD.encode(text);
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: example\n\
         clusters:\n- name: example\n  cluster:\n    server: https://127.0.0.1:{port}\n    certificate-authority-data: {}\n\
         users:\n- name: admin\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\n\
         contexts:\n- name: example\n  context:\n    cluster: example\n    user: admin\n",
        encode(&pki.ca),
        encode(&pki.admin.0),
        encode(&pki.admin.1),
    )
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let port: u16 = std::env::args().nth(1).map_or(Ok(0), |p| p.parse()).context("read the port")?;
    let directory = tempfile::tempdir()?;
    let pki = make_pki()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let port = listener.local_addr()?.port();
    let store = Store::open(directory.path().join("state.db"), Default::default())?;
    let options = Options { advertise: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port), ..Options::default() };
    let server = ApiServer::new(store, options)?;
    let tls = server_tls(pki.server.0.as_bytes(), pki.server.1.as_bytes(), pki.ca.as_bytes())?;
    let config = directory.path().join("kubeconfig");
    std::fs::write(&config, kubeconfig(&pki, port))?;
    println!("{}", config.display());
    let shutdown = CancellationToken::new();
    let ended = shutdown.clone();
    tokio::spawn(async move {
        // An error means that no signal will come; the server then ends with its terminal.
        let _ = tokio::signal::ctrl_c().await;
        ended.cancel();
    });
    server.serve(listener, Arc::new(tls), shutdown).await;
    Ok(())
}
