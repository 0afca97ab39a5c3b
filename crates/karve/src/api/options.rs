//! From flags to the options of the API server.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use karve_apiserver::{
    Admission, AuditOptions, Authentication, Limits, LogOptions, Options, ProxyClient,
    RequestHeader,
};
use tokio_util::sync::CancellationToken;

use super::flags::Flags;
use super::tls;

/// The options of a server that listens at `address`.
pub fn of(
    flags: &Flags,
    address: SocketAddr,
    signing_key: PathBuf,
    terminating: CancellationToken,
    shutdown: CancellationToken,
) -> Result<Options> {
    let (service_cidr, secondary_service_cidr) = match flags.cluster.service_cluster_ip_range[..] {
        [IpNet::V4(only)] => (only, None),
        [IpNet::V4(first), IpNet::V6(second)] => (first, Some(second)),
        _ => bail!("--service-cluster-ip-range takes an IPv4 range, and an IPv6 range after it"),
    };
    Ok(Options {
        advertise: advertise(flags, address)?,
        publish_endpoints: flags.cluster.endpoint_reconciler_type != "none",
        service_cidr: service_cidr.trunc(),
        secondary_service_cidr: secondary_service_cidr.map(|net| net.trunc()),
        service_account_tokens: true,
        authentication: authentication(flags, signing_key),
        admission: Admission {
            enable: flags.authorization.enable_admission_plugins.clone(),
            disable: flags.authorization.disable_admission_plugins.clone(),
        },
        limits: Limits {
            requests_in_flight: flags.limits.max_requests_inflight,
            mutating_in_flight: flags.limits.max_mutating_requests_inflight,
            priority_and_fairness: flags.limits.enable_priority_and_fairness,
            request_timeout: flags.limits.request_timeout,
            min_request_timeout: Duration::from_secs(flags.limits.min_request_timeout),
            event_ttl: flags.limits.event_ttl,
            goaway_chance: goaway_chance(flags)?,
            streams_per_connection: match flags.limits.http2_max_streams_per_connection {
                0 => Limits::default().streams_per_connection,
                given => given,
            },
            // As upstream, which waits for what runs.
            drain: flags.limits.request_timeout,
        },
        audit: audit(flags),
        kubelet_tls: tls::kubelet_client(flags)?,
        proxy_client: proxy_client(flags)?,
        extension_authentication: extension_authentication(flags)?,
        terminating,
        shutdown,
        ..Options::default()
    })
}

/// Upstream's bound, and its words.
fn goaway_chance(flags: &Flags) -> Result<f64> {
    match flags.limits.goaway_chance {
        chance if (0.0..=0.02).contains(&chance) => Ok(chance),
        _ => bail!("--goaway-chance can not be less than 0 or greater than 0.02"),
    }
}

fn advertise(flags: &Flags, address: SocketAddr) -> Result<SocketAddrV4> {
    match flags.serving.advertise_address.unwrap_or(address.ip()) {
        IpAddr::V4(ip) if ip.is_unspecified() => {
            Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, address.port()))
        }
        IpAddr::V4(ip) => Ok(SocketAddrV4::new(ip, address.port())),
        IpAddr::V6(ip) if ip.is_unspecified() => {
            Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, address.port()))
        }
        IpAddr::V6(ip) => bail!("--advertise-address: {ip} is not an IPv4 address"),
    }
}

fn authentication(flags: &Flags, signing_key: PathBuf) -> Authentication {
    let (accounts, own) = (&flags.accounts, &flags.authentication);
    let key_files = match accounts.service_account_key_file.is_empty() {
        true => vec![signing_key.clone()],
        false => accounts.service_account_key_file.clone(),
    };
    Authentication {
        token_auth_file: own.token_auth_file.clone(),
        anonymous: own.anonymous_auth,
        service_account_issuers: accounts.service_account_issuer.clone(),
        service_account_key_files: key_files,
        service_account_signing_key_file: Some(signing_key),
        service_account_jwks_uri: accounts.service_account_jwks_uri.clone(),
        service_account_max_token_expiration: accounts.service_account_max_token_expiration,
        api_audiences: own.api_audiences.clone(),
        request_header: request_header(flags),
    }
}

fn request_header(flags: &Flags) -> Option<RequestHeader> {
    let proxy = &flags.proxy;
    Some(RequestHeader {
        client_ca_file: proxy.requestheader_client_ca_file.clone()?,
        allowed_names: proxy.requestheader_allowed_names.clone(),
        username_headers: proxy.requestheader_username_headers.clone(),
        uid_headers: proxy.requestheader_uid_headers.clone(),
        group_headers: proxy.requestheader_group_headers.clone(),
        extra_headers_prefix: proxy.requestheader_extra_headers_prefix.clone(),
    })
}

fn audit(flags: &Flags) -> Option<AuditOptions> {
    let audit = &flags.audit;
    Some(AuditOptions {
        policy_file: audit.audit_policy_file.clone()?,
        log: LogOptions {
            path: audit.audit_log_path.clone()?,
            max_size: audit.audit_log_maxsize,
            max_backups: audit.audit_log_maxbackup,
            max_age: audit.audit_log_maxage,
        },
    })
}

/// How the server shows itself to the servers of other groups of the API.
fn proxy_client(flags: &Flags) -> Result<Option<ProxyClient>> {
    let proxy = &flags.proxy;
    let files = proxy
        .proxy_client_cert_file
        .as_ref()
        .zip(proxy.proxy_client_key_file.as_ref());
    let Some((certificate, key)) = files else {
        return Ok(None);
    };
    Ok(Some(ProxyClient {
        certificate: tls::read(certificate)?,
        key: tls::read(key)?,
    }))
}

/// Whom those servers may believe.
fn extension_authentication(flags: &Flags) -> Result<BTreeMap<String, String>> {
    let text = |file: &PathBuf| {
        String::from_utf8(tls::read(file)?)
            .with_context(|| format!("read {} as text", file.display()))
    };
    let mut data = BTreeMap::new();
    if let Some(file) = &flags.authentication.client_ca_file {
        data.insert("client-ca-file".to_owned(), text(file)?);
    }
    let proxy = &flags.proxy;
    if let Some(file) = &proxy.requestheader_client_ca_file {
        data.insert("requestheader-client-ca-file".to_owned(), text(file)?);
        for (name, list) in [
            ("allowed-names", &proxy.requestheader_allowed_names),
            (
                "extra-headers-prefix",
                &proxy.requestheader_extra_headers_prefix,
            ),
            ("group-headers", &proxy.requestheader_group_headers),
            ("uid-headers", &proxy.requestheader_uid_headers),
            ("username-headers", &proxy.requestheader_username_headers),
        ] {
            let list = serde_json::to_string(list).context("write a list as JSON")?;
            data.insert(format!("requestheader-{name}"), list);
        }
    }
    Ok(data)
}
