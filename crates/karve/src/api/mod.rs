//! `karve api`: the API server by itself, without controllers, scheduler and nodes.
//!
//! Its flags are kube-apiserver's ([`flags`]); under the name `kube-apiserver` the program is this command (see
//! [`crate::envtest`]). What is not given is made in the data directory. Deliberately absent: a way to switch
//! authentication or authorization off.

mod credentials;
mod flags;
mod options;
mod tls;
pub mod without_effect;

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use karve_apiserver::ApiServer;
use karve_store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cluster::layout::create_private_dir;
use crate::envtest::Home;
use crate::roles::process;
use credentials::Authority;
pub use flags::Flags;

/// Runs until SIGTERM.
pub fn run(flags: &Flags) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(serve(flags))
}

async fn serve(flags: &Flags) -> Result<()> {
    let terminating = process::stop_on_signal()?;
    let shutdown = after(&terminating, flags.limits.shutdown_delay_duration);
    for name in &flags.without_effect.given {
        tracing::info!(flag = name, "flag has no effect here");
    }
    let listener = listen(flags).await?;
    let address = listener.local_addr().context("look at the socket")?;
    let home = home(flags).await?;
    let pki = home.dir.join("pki");
    let authority = Authority::open(&pki)?;
    let signing_key = match &flags.accounts.service_account_signing_key_file {
        Some(file) => file.clone(),
        None => {
            let file = pki.join("sa.key");
            credentials::signing_key(&file)?;
            file
        }
    };
    let options = options::of(flags, address, signing_key, terminating, shutdown.clone())?;
    let addresses = certificate_addresses(address, &options);
    let tls = tls::server(flags, &authority, &addresses)?;
    let state = home.dir.join("state.db");
    let store_options = karve_store::Options {
        durable: home.durable,
        ..karve_store::Options::default()
    };
    let store = Store::open(&state, store_options)
        .with_context(|| format!("open store {}", state.display()))?;
    let api = ApiServer::new(store, options).context("set up the API server")?;
    let url = format!("https://{}", reachable(address));
    let kubeconfig = administrator(&home.dir, &url, &authority, tls.authority.as_deref())?;
    say_ready(&url, kubeconfig.as_deref());
    api.serve(listener, tls.config, shutdown).await;
    Ok(())
}

/// Comes some time after `first`.
fn after(first: &CancellationToken, delay: Duration) -> CancellationToken {
    let (first, then) = (first.clone(), CancellationToken::new());
    let token = then.clone();
    tokio::spawn(async move {
        first.cancelled().await;
        tokio::time::sleep(delay).await;
        then.cancel();
    });
    token
}

async fn listen(flags: &Flags) -> Result<TcpListener> {
    let own = SocketAddr::new(flags.serving.bind_address, flags.serving.secure_port);
    let address = flags.listen.unwrap_or(own);
    TcpListener::bind(address)
        .await
        .with_context(|| format!("listen at {address}"))
}

/// Where the objects are.
async fn home(flags: &Flags) -> Result<Home> {
    let home = match (&flags.data, &flags.cluster.etcd_servers) {
        (Some(data), _) => Home {
            dir: data.clone(),
            durable: true,
        },
        (None, Some(servers)) => Home::ask(servers).await?,
        (None, None) => bail!("say where the objects are: --data DIR"),
    };
    create_private_dir(&home.dir)
        .with_context(|| format!("make directory {}", home.dir.display()))?;
    Ok(home)
}

/// Addresses in a certificate that is made: where the server listens, is told to be, and the Service `kubernetes`.
fn certificate_addresses(address: SocketAddr, options: &karve_apiserver::Options) -> Vec<IpAddr> {
    let mut addresses = vec![IpAddr::from([127, 0, 0, 1])];
    addresses.extend(options.service_cidr.hosts().next().map(IpAddr::V4));
    addresses.push(IpAddr::V4(*options.advertise.ip()));
    addresses.push(address.ip());
    addresses.retain(|a| !a.is_unspecified());
    addresses.sort();
    addresses.dedup();
    addresses
}

/// Where a client on this machine reaches it.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::from([127, 0, 0, 1]));
    }
    address
}

/// Writes the administrator's kubeconfig, unless the server has a certificate whose authority we don't know.
fn administrator(
    dir: &Path,
    url: &str,
    own: &Authority,
    serving: Option<&Path>,
) -> Result<Option<PathBuf>> {
    let Some(serving) = serving else {
        return Ok(None);
    };
    let admin = own.client("kubernetes-admin", "system:masters")?;
    let file = dir.join("admin.kubeconfig");
    credentials::write(&file, &credentials::kubeconfig(url, serving, &admin)?)?;
    Ok(Some(file))
}

/// The one line on standard output.
fn say_ready(url: &str, kubeconfig: Option<&Path>) {
    let administrator = kubeconfig.map(|file| format!(", kubeconfig {}", file.display()));
    let mut stdout = std::io::stdout();
    // Whoever started us may not listen; we serve all the same.
    let _ = writeln!(
        stdout,
        "listening at {url}{}",
        administrator.unwrap_or_default()
    );
    let _ = stdout.flush();
}
