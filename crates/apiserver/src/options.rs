//! How a server is set up.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tokio_util::sync::CancellationToken;

use crate::allocate::Family;
use crate::audit::AuditOptions;
use crate::webhook::client::ProxyClient;

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where Pods reach the API: the endpoint of the Service `kubernetes`.
    pub advertise: SocketAddrV4,
    /// Whether the server writes its address into the endpoints of the Service `kubernetes`
    /// (`--endpoint-reconciler-type`).
    pub publish_endpoints: bool,
    /// Addresses of Services.
    pub service_cidr: Ipv4Net,
    /// Addresses of Services of the second family, in a cluster that has two.
    pub secondary_service_cidr: Option<Ipv6Net>,
    /// The address of the DNS Service, from the static part of `service_cidr`; without it there is no such Service.
    pub cluster_dns: Option<Ipv4Addr>,
    /// Whether Pods get a volume with a token of their ServiceAccount. Off while no tokens are issued.
    pub service_account_tokens: bool,
    /// How clients prove who they are.
    pub authentication: Authentication,
    /// Which admission plugins run, beside those that are on by default.
    pub admission: Admission,
    /// How the server shows itself to the servers of other groups of the API (`--proxy-client-cert-file`).
    pub proxy_client: Option<ProxyClient>,
    /// How much the server takes upon itself.
    pub limits: Limits,
    /// Who did what is written down.
    pub audit: Option<AuditOptions>,
    /// Whom servers of other groups may believe: what the ConfigMap `kube-system/extension-apiserver-authentication`
    /// says. `client-ca-file`, `requestheader-client-ca-file` and others, as upstream names them.
    pub extension_authentication: BTreeMap<String, String>,
    /// The server is about to end, and says so at `/readyz`; it serves on until `shutdown`.
    pub terminating: CancellationToken,
    /// Ends what runs in the background.
    pub shutdown: CancellationToken,
    /// How the server shows itself to the kubelet API of nodes (for logs). Absent: logs answer 503.
    pub kubelet_tls: Option<Arc<rustls::ClientConfig>>,
}

/// How clients prove who they are, beside client certificates, which TLS verifies. Fields are named as upstream's
/// flags.
#[derive(Debug, Clone)]
pub struct Authentication {
    /// `token,user,uid,"group1,group2"`, a line each.
    pub token_auth_file: Option<PathBuf>,
    /// Whether who proves nothing is `system:anonymous` and not refused.
    pub anonymous: bool,
    /// Issuers of ServiceAccount tokens that are accepted; the first one issues.
    pub service_account_issuers: Vec<String>,
    /// Public (or private) keys that verify tokens.
    pub service_account_key_files: Vec<PathBuf>,
    /// The private key that signs tokens; without it none are issued.
    pub service_account_signing_key_file: Option<PathBuf>,
    /// Where relying parties find the keys, when not at the server itself.
    pub service_account_jwks_uri: Option<String>,
    /// The longest time that a token may be asked for.
    pub service_account_max_token_expiration: Option<Duration>,
    /// Audiences of the API; empty: the issuers.
    pub api_audiences: Vec<String>,
    /// Whether requests with a trusted proxy's certificate say in headers who asks.
    pub request_header: Option<RequestHeader>,
}

impl Default for Authentication {
    fn default() -> Authentication {
        Authentication {
            token_auth_file: None,
            anonymous: true,
            service_account_issuers: Vec::new(),
            service_account_key_files: Vec::new(),
            service_account_signing_key_file: None,
            service_account_jwks_uri: None,
            service_account_max_token_expiration: None,
            api_audiences: Vec::new(),
            request_header: None,
        }
    }
}

/// The proxy that is believed (`--requestheader-*`).
#[derive(Debug, Clone, Default)]
pub struct RequestHeader {
    /// Authorities of the proxy's certificate, PEM.
    pub client_ca_file: PathBuf,
    /// Common names of the proxy; empty: any.
    pub allowed_names: Vec<String>,
    /// Headers with the user's name.
    pub username_headers: Vec<String>,
    /// Headers with the user's uid.
    pub uid_headers: Vec<String>,
    /// Headers with the user's groups.
    pub group_headers: Vec<String>,
    /// Beginnings of headers with what else is known of the user.
    pub extra_headers_prefix: Vec<String>,
}

/// How much a server takes upon itself.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Requests at once (`--max-requests-inflight`).
    pub requests_in_flight: usize,
    /// Requests that write, beside these (`--max-mutating-requests-inflight`).
    pub mutating_in_flight: usize,
    /// Whether users share the sum of both fairly, and not only the number of requests counts.
    pub priority_and_fairness: bool,
    /// A request that is no watch ends after this time.
    pub request_timeout: Duration,
    /// A watch that says nothing of its time lasts this long, up to twice as long (`--min-request-timeout`); zero: without
    /// an end.
    pub min_request_timeout: Duration,
    /// How long events are kept (`--event-ttl`).
    pub event_ttl: Duration,
    /// How often, of 1, an HTTP/2 connection is told to come again after a request (`--goaway-chance`), so that a load
    /// balancer in front may choose anew.
    pub goaway_chance: f64,
    /// Requests at once in one HTTP/2 connection (`--http2-max-streams-per-connection`): a controller watches many kinds
    /// over one.
    pub streams_per_connection: u32,
    /// How long requests that run may take when the server ends; watches end at once.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            requests_in_flight: 400,
            mutating_in_flight: 200,
            priority_and_fairness: true,
            request_timeout: Duration::from_secs(60),
            min_request_timeout: Duration::from_secs(1800),
            event_ttl: Duration::from_secs(3600),
            goaway_chance: 0.0,
            streams_per_connection: 1000,
            drain: Duration::from_millis(500),
        }
    }
}

/// Which admission plugins run, by name.
#[derive(Debug, Clone)]
pub struct Admission {
    /// On, although off by default.
    pub enable: Vec<String>,
    /// Off, although on by default.
    pub disable: Vec<String>,
}

impl Default for Admission {
    /// Upstream's plugins, and what keeps nodes to themselves.
    fn default() -> Admission {
        Admission {
            enable: vec!["NodeRestriction".to_owned()],
            disable: Vec::new(),
        }
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            advertise: SocketAddrV4::new(Ipv4Addr::new(192, 168, 64, 1), 6443),
            publish_endpoints: true,
            service_cidr: Ipv4Net::new(Ipv4Addr::new(10, 96, 0, 0), 16)
                .expect("16 is a prefix length"),
            secondary_service_cidr: None,
            cluster_dns: None,
            service_account_tokens: false,
            authentication: Authentication::default(),
            admission: Admission::default(),
            proxy_client: None,
            limits: Limits::default(),
            audit: None,
            extension_authentication: BTreeMap::new(),
            terminating: CancellationToken::new(),
            shutdown: CancellationToken::new(),
            kubelet_tls: None,
        }
    }
}

impl Options {
    /// The ranges of Services, the primary one first.
    pub(crate) fn service_cidrs(&self) -> Vec<IpNet> {
        let second = self.secondary_service_cidr.map(IpNet::V6);
        std::iter::once(IpNet::V4(self.service_cidr))
            .chain(second)
            .collect()
    }

    /// The families of the cluster, the primary one first.
    pub(crate) fn families(&self) -> Vec<Family> {
        self.service_cidrs()
            .iter()
            .map(|net| Family::of(net.network()))
            .collect()
    }
}
