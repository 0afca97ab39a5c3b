//! Runs one node against an API server, to try the kubelet role by hand.
//!
//! `agent KUBECONFIG NODE_NAME NODE_IP DIR`, as root in a network namespace that has `NODE_IP` on `eth0`. Images are those
//! in `DIR/images`; `agent load DIR ARCHIVE` puts some there. The same program is each container's shim.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use karve_node::{Options, Pem};
use karve_runtime::images;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.peek().is_some_and(|first| first == "shim") {
        return karve_runtime::shim::main(args.skip(1));
    }
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::CLOSE)
        .with_writer(std::io::stderr)
        .init();
    let args: Vec<String> = args.map(|a| a.to_string_lossy().into_owned()).collect();
    let runtime = tokio::runtime::Runtime::new().expect("threads can be made");
    match runtime.block_on(run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("{err:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &[String]) -> anyhow::Result<()> {
    match args {
        [load, dir, archive] if load == "load" => {
            let store = images::Store::open(&PathBuf::from(dir).join("images"))?;
            for image in images::Client::local(store).load(archive.as_ref()).await? {
                println!("{}", image.reference);
            }
            Ok(())
        }
        [kubeconfig, name, ip, dir] => agent(kubeconfig, name, ip, dir).await,
        _ => {
            anyhow::bail!("usage: agent KUBECONFIG NODE_NAME NODE_IP DIR | agent load DIR ARCHIVE")
        }
    }
}

async fn agent(kubeconfig: &str, name: &str, ip: &str, dir: &str) -> anyhow::Result<()> {
    let config = kube::config::Kubeconfig::read_from(kubeconfig).context("read kubeconfig")?;
    let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await?;
    let dir = PathBuf::from(dir);
    let store = images::Store::open(&dir.join("images"))?;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.cancel();
        }
    });
    let options = Options {
        node_name: name.to_owned(),
        node_ip: ip.parse().context("node address")?,
        uplink: "eth0".to_owned(),
        run_dir: dir.join("run"),
        data_dir: dir.join("data"),
        images: store.clone(),
        pulls: images::Client::local(store),
        cluster_dns: vec!["10.96.0.10".parse()?],
        cluster_domain: "cluster.local".to_owned(),
        cluster_cidr: "10.244.0.0/16".parse()?,
        resolv_conf: "/etc/resolv.conf".into(),
        kubelet_tls: certificates(ip, &dir)?,
        shim: (std::env::current_exe()?, vec!["shim".to_owned()]),
        cgroup_parent: format!("karve-example/{name}"),
        max_pods: 110,
    };
    karve_node::run(kube::Client::try_from(config)?, options, shutdown).await?;
    Ok(())
}

/// Certificates of a new CA; that of the API server is left in `dir`, for `curl --cert` and `--key`.
fn certificates(ip: &str, dir: &Path) -> anyhow::Result<Pem> {
    let ca_key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let client_ca = params.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(params, ca_key);
    let sign = |name: &str, usage| -> anyhow::Result<(String, String)> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![ip.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
    };
    let client = sign(
        "kube-apiserver-kubelet-client",
        ExtendedKeyUsagePurpose::ClientAuth,
    )?;
    std::fs::write(dir.join("client.crt"), client.0)?;
    std::fs::write(dir.join("client.key"), client.1)?;
    let (certificate, key) = sign("system:node", ExtendedKeyUsagePurpose::ServerAuth)?;
    Ok(Pem {
        certificate: certificate.into(),
        key: key.into(),
        client_ca: client_ca.into(),
    })
}
