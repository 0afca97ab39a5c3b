//! The flags of `karve api`: upstream's names, forms and defaults.
//!
//! A flag that upstream has and that means nothing here is accepted and said so (see [`super::without_effect`]); one
//! that upstream does not have is refused, as is one whose meaning would be lost without a word.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;

use super::without_effect::{ApiServer, WithoutEffect};

/// Longer help of `karve api --help`.
pub const EXAMPLES: &str = "\
Examples:
  karve api --data /tmp/api                              listens at 127.0.0.1:6443
  kubectl --kubeconfig /tmp/api/admin.kubeconfig get ns  as its administrator
  karve api --data /tmp/api --listen 127.0.0.1:0 --token-auth-file users.csv
                                                         at a free port; users.csv has lines like
                                                         secret,alice,alice-uid,\"dev,ops\"

There are no controllers, no scheduler and no nodes: what is written stays as it was written. Flags
have the names and forms of kube-apiserver's. SIGTERM ends it; nothing acknowledged is ever lost.";

/// What `karve api` is told.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Flags {
    /// The directory of the objects, and of keys and certificates that are not given. Made when missing.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where to listen, as ADDRESS:PORT. Port 0 is a free one. Stands for --bind-address and --secure-port.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    #[command(flatten)]
    pub serving: Serving,
    #[command(flatten)]
    pub authentication: Authentication,
    #[command(flatten)]
    pub accounts: ServiceAccounts,
    #[command(flatten)]
    pub authorization: Authorization,
    #[command(flatten)]
    pub proxy: RequestHeader,
    #[command(flatten)]
    pub cluster: Cluster,
    #[command(flatten)]
    pub kubelet: Kubelet,
    #[command(flatten)]
    pub limits: Limits,
    #[command(flatten)]
    pub audit: Audit,
    #[command(flatten)]
    pub without_effect: WithoutEffect<ApiServer>,
}

/// Sockets and TLS.
#[derive(Debug, Args)]
#[command(next_help_heading = "Serving")]
pub struct Serving {
    /// The address to listen at.
    #[arg(
        long,
        value_name = "IP",
        default_value = "127.0.0.1",
        conflicts_with = "listen"
    )]
    pub bind_address: IpAddr,
    /// The port to listen at; 0 is a free one.
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 6443,
        conflicts_with = "listen"
    )]
    pub secure_port: u16,
    /// Where others reach the server: the endpoint of the Service `kubernetes`. Default: where it listens.
    #[arg(long, value_name = "IP")]
    pub advertise_address: Option<IpAddr>,
    /// The server's certificate (PEM, with its intermediates). Default: one of an authority in DIR/pki.
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// The key of --tls-cert-file.
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// A directory with apiserver.crt and apiserver.key, or in which they are made.
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// The oldest version of TLS that is spoken. Older ones than 1.2 mean 1.2.
    #[arg(long, value_name = "VERSION", default_value = "VersionTLS12",
          value_parser = ["VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13"])]
    pub tls_min_version: String,
    /// Cipher suites of TLS 1.2, by their IANA names. Default: all that there are.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub tls_cipher_suites: Vec<String>,
    /// One more name of the server in a certificate that is made.
    #[arg(long, value_name = "NAME")]
    pub external_hostname: Option<String>,
}

/// Who clients are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Authentication")]
pub struct Authentication {
    /// Bearer tokens of users: a CSV file of lines `token,user,uid,"group1,group2"`.
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,
    /// Authorities of client certificates: CN is the user, O are groups. Default: one in DIR/pki, which has
    /// issued DIR/admin.kubeconfig.
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// Whether who shows nothing is system:anonymous, and not refused at once.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    pub anonymous_auth: bool,
    /// Audiences of tokens for this API. Default: the issuers.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub api_audiences: Vec<String>,
}

/// Tokens of ServiceAccounts.
#[derive(Debug, Args)]
#[command(next_help_heading = "ServiceAccounts")]
pub struct ServiceAccounts {
    /// Who issues tokens; more of them are accepted, the first one issues.
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://kubernetes.default.svc.cluster.local"
    )]
    pub service_account_issuer: Vec<String>,
    /// Keys that verify tokens. May be given more than once. Default: the signing key.
    #[arg(long, value_name = "FILE")]
    pub service_account_key_file: Vec<PathBuf>,
    /// The private key that signs tokens. Default: one that is made in DIR/pki.
    #[arg(long, value_name = "FILE")]
    pub service_account_signing_key_file: Option<PathBuf>,
    /// Where others find the keys, if not at this server's /openid/v1/jwks.
    #[arg(long, value_name = "URL")]
    pub service_account_jwks_uri: Option<String>,
    /// The longest life of a token that may be asked for.
    #[arg(long, value_name = "DURATION", value_parser = karve_apiserver::parse_duration)]
    pub service_account_max_token_expiration: Option<Duration>,
}

/// Who may do what.
#[derive(Debug, Args)]
#[command(next_help_heading = "Authorization and admission")]
pub struct Authorization {
    /// Of Node and RBAC. Both are always asked, and there is no AlwaysAllow.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "Node,RBAC", value_parser = ["Node", "RBAC"])]
    pub authorization_mode: Vec<String>,
    /// Admission plugins to switch on.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub enable_admission_plugins: Vec<String>,
    /// Admission plugins to switch off.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub disable_admission_plugins: Vec<String>,
}

/// A proxy in front that authenticates.
#[derive(Debug, Args)]
#[command(next_help_heading = "Authenticating proxy")]
pub struct RequestHeader {
    /// Authorities of the certificate of a proxy that says in headers who asks.
    #[arg(long, value_name = "FILE")]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of the proxy. Default: any.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub requestheader_allowed_names: Vec<String>,
    /// Headers with the user's name, such as X-Remote-User.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub requestheader_username_headers: Vec<String>,
    /// Headers with the user's uid.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub requestheader_uid_headers: Vec<String>,
    /// Headers with the user's groups, such as X-Remote-Group.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub requestheader_group_headers: Vec<String>,
    /// Beginnings of headers with what else is known of the user, such as X-Remote-Extra-.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub requestheader_extra_headers_prefix: Vec<String>,
    /// The certificate that this server shows to the servers of other groups of the API, which it is a proxy for.
    #[arg(long, value_name = "FILE", requires = "proxy_client_key_file")]
    pub proxy_client_cert_file: Option<PathBuf>,
    /// The key of that certificate.
    #[arg(long, value_name = "FILE", requires = "proxy_client_cert_file")]
    pub proxy_client_key_file: Option<PathBuf>,
}

/// The cluster.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub struct Cluster {
    /// Addresses of Services: an IPv4 range and, in a cluster of two families, an IPv6 range after it.
    #[arg(
        long,
        value_name = "CIDR[,CIDR]",
        value_delimiter = ',',
        default_value = "10.96.0.0/16"
    )]
    pub service_cluster_ip_range: Vec<IpNet>,
    /// `none`: the Service `kubernetes` gets no endpoints.
    #[arg(long, value_name = "TYPE", default_value = "lease", value_parser = ["lease", "master-count", "none"])]
    pub endpoint_reconciler_type: String,
    /// The process that holds the objects instead of --data: the URL of the `etcd` that `karve envtest` makes.
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    pub etcd_servers: Option<String>,
}

/// The way to kubelets, for logs and exec.
#[derive(Debug, Args)]
#[command(next_help_heading = "Kubelets")]
pub struct Kubelet {
    /// Authorities of the certificates of kubelets.
    #[arg(long, value_name = "FILE")]
    pub kubelet_certificate_authority: Option<PathBuf>,
    /// What the server shows to kubelets.
    #[arg(long, value_name = "FILE", requires = "kubelet_client_key")]
    pub kubelet_client_certificate: Option<PathBuf>,
    /// The key of --kubelet-client-certificate.
    #[arg(long, value_name = "FILE", requires = "kubelet_client_certificate")]
    pub kubelet_client_key: Option<PathBuf>,
}

/// What the server takes upon itself.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Requests at once. Together with the next, the seats that priority levels share.
    #[arg(long, value_name = "N", default_value_t = 400)]
    pub max_requests_inflight: usize,
    /// Requests that write, at once.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub max_mutating_requests_inflight: usize,
    /// Whether FlowSchemas and PriorityLevelConfigurations share the server between its users.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    pub enable_priority_and_fairness: bool,
    /// Requests at once in one HTTP/2 connection; 0: 1000.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub http2_max_streams_per_connection: u32,
    /// How often, of 1, an HTTP/2 client is told to connect anew, for a load balancer in front; at most 0.02.
    #[arg(long, value_name = "CHANCE", default_value_t = 0.0)]
    pub goaway_chance: f64,
    /// Seconds that a watch lasts at least which says nothing of its time; it lasts up to twice as long.
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    pub min_request_timeout: u64,
    /// How long events are kept.
    #[arg(long, value_name = "DURATION", default_value = "1h0m0s", value_parser = karve_apiserver::parse_duration)]
    pub event_ttl: Duration,
    /// How long the server still serves when it was told to end, while /readyz says so already.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = karve_apiserver::parse_duration)]
    pub shutdown_delay_duration: Duration,
    /// The longest time for a request that is no watch.
    #[arg(long, value_name = "DURATION", default_value = "1m0s", value_parser = karve_apiserver::parse_duration)]
    pub request_timeout: Duration,
}

/// Who did what.
#[derive(Debug, Args)]
#[command(next_help_heading = "Audit log")]
pub struct Audit {
    /// What is logged: a Policy of audit.k8s.io/v1.
    #[arg(long, value_name = "FILE", requires = "audit_log_path")]
    pub audit_policy_file: Option<PathBuf>,
    /// The log, a line of JSON per event; `-` is standard output.
    #[arg(long, value_name = "FILE", requires = "audit_policy_file")]
    pub audit_log_path: Option<PathBuf>,
    /// Megabytes after which the log is turned over; 0: 100.
    #[arg(long, value_name = "MB", default_value_t = 0)]
    pub audit_log_maxsize: u64,
    /// Logs that are kept beside it; 0: all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub audit_log_maxbackup: usize,
    /// Days that they are kept; 0: for ever.
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    pub audit_log_maxage: u64,
    /// The form of the log.
    #[arg(long, value_name = "FORMAT", default_value = "json", value_parser = ["json"])]
    pub audit_log_format: String,
}
