//! The server's TLS from flags: given certificates, those of `--cert-dir`, or ones that are made.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use karve_apiserver::{ServerTls, TlsChoice};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::credentials::{self, Authority};
use super::flags::Flags;

/// What the server shows and whom it believes.
pub struct Tls {
    pub config: ServerTls,
    /// The authority that clients check the server with, where we know it.
    pub authority: Option<PathBuf>,
}

/// Sets up TLS for a server at `addresses`.
pub fn server(flags: &Flags, own: &Authority, addresses: &[IpAddr]) -> Result<Tls> {
    let (certificate, key, authority) = serving_pair(flags, own, addresses)?;
    let mut client_ca = read(&own.certificate())?;
    if let Some(file) = &flags.authentication.client_ca_file {
        client_ca.extend(read(file)?);
    }
    let serving = &flags.serving;
    let choice = TlsChoice {
        only_1_3: serving.tls_min_version == "VersionTLS13",
        cipher_suites: serving.tls_cipher_suites.clone(),
    };
    let config = ServerTls::new(&certificate, &key, &client_ca, &choice)
        .context("set up the server's TLS")?;
    Ok(Tls { config, authority })
}

type ServingPair = (Vec<u8>, Vec<u8>, Option<PathBuf>);

fn serving_pair(flags: &Flags, own: &Authority, addresses: &[IpAddr]) -> Result<ServingPair> {
    let serving = &flags.serving;
    if let (Some(certificate), Some(key)) = (&serving.tls_cert_file, &serving.tls_private_key_file)
    {
        return Ok((read(certificate)?, read(key)?, None));
    }
    // As upstream: what is there is used, what is not is made there.
    let made = serving
        .cert_dir
        .as_ref()
        .map(|dir| (dir.join("apiserver.crt"), dir.join("apiserver.key")));
    if let Some((certificate, key)) = &made
        && certificate.exists()
        && key.exists()
    {
        return Ok((read(certificate)?, read(key)?, None));
    }
    let mut names: Vec<String> = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ]
    .map(str::to_owned)
    .into();
    names.extend(serving.external_hostname.clone());
    let pair = own.server(names, addresses)?;
    if let Some((certificate, key)) = &made {
        if let Some(dir) = certificate.parent() {
            fs::create_dir_all(dir).with_context(|| format!("make directory {}", dir.display()))?;
        }
        credentials::write(key, &pair.key)?;
        credentials::write(certificate, &pair.certificate)?;
    }
    Ok((
        pair.certificate.into_bytes(),
        pair.key.into_bytes(),
        Some(own.certificate()),
    ))
}

/// How the server shows itself to kubelets, if it was told how.
pub fn kubelet_client(flags: &Flags) -> Result<Option<Arc<ClientConfig>>> {
    let kubelet = &flags.kubelet;
    let (Some(certificate), Some(key), Some(authority)) = (
        &kubelet.kubelet_client_certificate,
        &kubelet.kubelet_client_key,
        &kubelet.kubelet_certificate_authority,
    ) else {
        return Ok(None);
    };
    let mut roots = RootCertStore::empty();
    for root in certificates(authority)? {
        roots
            .add(root)
            .with_context(|| format!("trust {}", authority.display()))?;
    }
    let key = PrivateKeyDer::from_pem_slice(&read(key)?)
        .with_context(|| format!("decode {}", key.display()))?;
    let config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .context("choose versions of TLS")?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(certificate)?, key)
            .context("set up TLS to kubelets")?;
    Ok(Some(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .with_context(|| format!("decode {}", path.display()))
}

/// The content of a file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}
