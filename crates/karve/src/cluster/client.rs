//! Clients of a cluster's API from outside its processes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use kube::config::AuthInfo;

use super::Cluster;
use super::pki::KeyPairFiles;

/// A server that does not answer a connection in this time is not there.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A client with the administrator's rights.
pub fn admin(cluster: &Cluster) -> Result<kube::Client> {
    connect(
        &cluster.config.api_url(),
        &cluster.pki().ca(),
        &cluster.pki().admin(),
    )
}

/// A client of the API at `url` that shows the certificate of `files`.
pub fn connect(url: &str, ca: &Path, files: &KeyPairFiles) -> Result<kube::Client> {
    use base64::Engine as _;
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    let encode = |pem: Vec<u8>| base64::engine::general_purpose::STANDARD.encode(pem);
    let roots = CertificateDer::pem_slice_iter(&read(ca)?)
        .map(|certificate| certificate.map(|der| der.to_vec()))
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("decode {}", ca.display()))?;
    let mut config = kube::Config::new(url.parse().with_context(|| format!("read URL {url}"))?);
    config.root_cert = Some(roots);
    config.connect_timeout = Some(CONNECT_MAX);
    config.auth_info = AuthInfo {
        client_certificate_data: Some(encode(read(&files.certificate)?)),
        client_key_data: Some(encode(read(&files.key)?).into()),
        ..AuthInfo::default()
    };
    kube::Client::try_from(config).with_context(|| format!("make a client for {url}"))
}
