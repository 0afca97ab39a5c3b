//! The cluster's certificate authority and the certificates that it issues.
//!
//! The authority is made once and lives as long as the cluster; certificates are issued anew by every
//! `karve up` and `karve start`, so that none expires in use. Names and groups are those of kubeadm.
//! Keys are ECDSA P-256; files are mode 0600.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::{Span, Zoned};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use super::config::{CLUSTER_DOMAIN, ClusterConfig, KUBERNETES_IP};
use super::file::write_private;
use super::layout::create_private_dir;
use super::name::ClusterName;

/// Years that the authority and what it issues are valid for.
const YEARS: i64 = 10;

/// A certificate and its key, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPairFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// How the API server shows itself to servers of other groups of the API, as PEM.
///
/// An authority of its own, so that no other certificate of the cluster is taken for it. It is made for one run of
/// the server: its key is forgotten at once, and nothing of it is written down.
#[derive(Debug)]
pub struct FrontProxy {
    /// The authority's certificate.
    pub authority: String,
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl FrontProxy {
    /// The name that those servers expect.
    pub const NAME: &str = "front-proxy-client";

    /// Makes one.
    pub fn new() -> Result<Self> {
        let params = named_authority("front-proxy-ca")?;
        let authority_key = KeyPair::generate().context("make the front proxy's authority")?;
        let authority = params
            .self_signed(&authority_key)
            .context("sign the certificate of the front proxy's authority")?;
        let issuer = Issuer::new(params, authority_key);
        let mut params = CertificateParams::new(Vec::new()).context("describe the front proxy")?;
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, Self::NAME);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        set_validity(&mut params)?;
        let key = KeyPair::generate().context("make the front proxy's key")?;
        let certificate = params
            .signed_by(&key, &issuer)
            .context("sign the front proxy's certificate")?;
        Ok(Self {
            authority: authority.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// Where a cluster's certificates are.
#[derive(Debug, Clone)]
pub struct Pki {
    dir: PathBuf,
}

/// What a certificate says.
struct Subject {
    file: String,
    common_name: String,
    organization: Option<&'static str>,
    usage: ExtendedKeyUsagePurpose,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Pki {
    /// The certificates in `dir`.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// What the API server shows to its clients.
    pub fn api_server(&self) -> KeyPairFiles {
        self.pair("apiserver")
    }

    /// What the API server shows to kubelets.
    pub fn kubelet_client(&self) -> KeyPairFiles {
        self.pair("apiserver-kubelet-client")
    }

    /// The authority and its key.
    pub fn authority_pair(&self) -> KeyPairFiles {
        self.pair("ca")
    }

    /// The key that signs tokens of ServiceAccounts.
    pub fn service_accounts(&self) -> PathBuf {
        self.dir.join("sa.key")
    }

    /// The administrator, in the kubeconfig of users.
    pub fn admin(&self) -> KeyPairFiles {
        self.pair("admin")
    }

    /// What the agents' Service proxies show to the API server.
    pub fn proxy(&self) -> KeyPairFiles {
        self.pair("kube-proxy")
    }

    /// What the agents' DNS servers show to the API server.
    pub fn dns(&self) -> KeyPairFiles {
        self.pair("dns")
    }

    /// What the agents' announcers of addresses show to the API server.
    pub fn announcer(&self) -> KeyPairFiles {
        self.pair("announcer")
    }

    /// What a node's agent shows to the API server.
    pub fn node_client(&self, node: &str) -> KeyPairFiles {
        self.pair(&format!("{node}-client"))
    }

    /// What a node's agent shows to its own clients.
    pub fn node_serving(&self, node: &str) -> KeyPairFiles {
        self.pair(&format!("{node}-serving"))
    }

    fn pair(&self, name: &str) -> KeyPairFiles {
        KeyPairFiles {
            certificate: self.dir.join(format!("{name}.crt")),
            key: self.dir.join(format!("{name}.key")),
        }
    }

    /// Issues every certificate of the cluster, and makes the authority when there is none yet.
    pub fn issue(&self, name: &ClusterName, config: &ClusterConfig) -> Result<()> {
        create_private_dir(&self.dir)
            .with_context(|| format!("make directory {}", self.dir.display()))?;
        let issuer = self.authority(name)?;
        self.service_account_key()?;
        for subject in subjects(config) {
            self.issue_one(&subject, &issuer)
                .with_context(|| format!("issue certificate {}", subject.file))?;
        }
        Ok(())
    }

    fn authority(&self, name: &ClusterName) -> Result<Issuer<'static, KeyPair>> {
        let params = authority_params(name)?;
        let files = self.pair("ca");
        if files.certificate.exists() {
            let pem = fs::read_to_string(&files.key)
                .with_context(|| format!("read {}", files.key.display()))?;
            let key = KeyPair::from_pem(&pem)
                .with_context(|| format!("decode {}", files.key.display()))?;
            return Ok(Issuer::new(params, key));
        }
        let key = KeyPair::generate().context("make the authority's key")?;
        let certificate = params
            .self_signed(&key)
            .context("sign the authority's certificate")?;
        // The certificate last: it says that the key is there.
        write(&files.key, &key.serialize_pem())?;
        write(&files.certificate, &certificate.pem())?;
        Ok(Issuer::new(params, key))
    }

    /// Made once: tokens outlive restarts.
    fn service_account_key(&self) -> Result<()> {
        let file = self.service_accounts();
        if file.exists() {
            return Ok(());
        }
        let key = KeyPair::generate().context("make the key that signs tokens")?;
        write(&file, &key.serialize_pem())
    }

    fn issue_one(&self, subject: &Subject, issuer: &Issuer<'_, KeyPair>) -> Result<()> {
        let mut params = CertificateParams::new(subject.names.clone())?;
        params
            .subject_alt_names
            .extend(subject.addresses.iter().copied().map(SanType::IpAddress));
        params.distinguished_name = DistinguishedName::new();
        if let Some(organization) = subject.organization {
            params
                .distinguished_name
                .push(DnType::OrganizationName, organization);
        }
        params
            .distinguished_name
            .push(DnType::CommonName, subject.common_name.as_str());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![subject.usage.clone()];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params)?;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, issuer)?;
        let files = self.pair(&subject.file);
        write(&files.key, &key.serialize_pem())?;
        write(&files.certificate, &certificate.pem())
    }
}

fn authority_params(name: &ClusterName) -> Result<CertificateParams> {
    named_authority(&format!("karve-{name}-ca"))
}

fn named_authority(name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).context("describe the authority")?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyCertSign,
    ];
    set_validity(&mut params)?;
    Ok(params)
}

/// From yesterday, so that a clock that is set back a little does no harm.
fn set_validity(params: &mut CertificateParams) -> Result<()> {
    let now = Zoned::now();
    let day = |span: Span| -> Result<_> {
        let date = now
            .date()
            .checked_add(span)
            .context("count the days of validity")?;
        let month = date.month().unsigned_abs();
        Ok(rcgen::date_time_ymd(
            date.year().into(),
            month,
            date.day().unsigned_abs(),
        ))
    };
    params.not_before = day(Span::new().days(-1))?;
    params.not_after = day(Span::new().years(YEARS))?;
    Ok(())
}

fn subjects(config: &ClusterConfig) -> Vec<Subject> {
    let host = IpAddr::V4(config.subnet.host());
    let server_names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        .map(str::to_owned)
        .into_iter()
        .chain([
            format!("kubernetes.default.svc.{CLUSTER_DOMAIN}"),
            "localhost".to_owned(),
        ])
        .collect();
    let mut subjects = vec![
        Subject {
            file: "apiserver".to_owned(),
            common_name: "kube-apiserver".to_owned(),
            organization: None,
            usage: ExtendedKeyUsagePurpose::ServerAuth,
            names: server_names,
            addresses: vec![KUBERNETES_IP.into(), host, IpAddr::from([127, 0, 0, 1])],
        },
        client(
            "apiserver-kubelet-client",
            "kube-apiserver-kubelet-client",
            Some("kubeadm:cluster-admins"),
        ),
        client("admin", "kubernetes-admin", Some("system:masters")),
        client(
            "kube-proxy",
            "system:kube-proxy",
            Some("system:node-proxier"),
        ),
        client("dns", "karve:dns", None),
        client("announcer", "karve:announcer", None),
    ];
    for node in config.local_nodes() {
        let user = format!("system:node:{}", node.name);
        subjects.push(client(
            &format!("{}-client", node.name),
            &user,
            Some("system:nodes"),
        ));
        subjects.push(Subject {
            file: format!("{}-serving", node.name),
            common_name: user,
            organization: Some("system:nodes"),
            usage: ExtendedKeyUsagePurpose::ServerAuth,
            names: vec![node.name],
            addresses: vec![node.ip.into()],
        });
    }
    subjects
}

fn client(file: &str, user: &str, group: Option<&'static str>) -> Subject {
    Subject {
        file: file.to_owned(),
        common_name: user.to_owned(),
        organization: group,
        usage: ExtendedKeyUsagePurpose::ClientAuth,
        names: Vec::new(),
        addresses: Vec::new(),
    }
}

fn write(path: &Path, pem: &str) -> Result<()> {
    write_private(path, pem.as_bytes()).with_context(|| format!("write {}", path.display()))
}
