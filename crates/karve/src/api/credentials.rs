//! Keys and certificates that nobody gave: an authority, the server's certificate, the administrator's, the key that
//! signs tokens. They are made once in DIR/pki, mode 0600, and kept.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::{Span, Zoned};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use crate::cluster::file::write_private;
use crate::cluster::layout::create_private_dir;

/// Days that a certificate is valid, as upstream's self-signed one. Each start issues new ones.
const DAYS: i64 = 365;
const AUTHORITY_DAYS: i64 = 3650;

/// A certificate and its key, PEM.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// The authority of one data directory.
pub struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// The authority in `dir`, made when there is none.
    pub fn open(dir: &Path) -> Result<Authority> {
        create_private_dir(dir).with_context(|| format!("make directory {}", dir.display()))?;
        let (certificate, key) = (dir.join("ca.crt"), dir.join("ca.key"));
        let params = authority_params()?;
        let pair = if certificate.exists() {
            let pem = read(&key)?;
            KeyPair::from_pem(&pem).with_context(|| format!("decode {}", key.display()))?
        } else {
            let pair = KeyPair::generate().context("make the authority's key")?;
            let pem = params
                .self_signed(&pair)
                .context("sign the authority's certificate")?
                .pem();
            // The certificate last: it says that the key is there.
            write(&key, &pair.serialize_pem())?;
            write(&certificate, &pem)?;
            pair
        };
        Ok(Authority {
            dir: dir.to_owned(),
            issuer: Issuer::new(params, pair),
        })
    }

    /// The file with its certificate.
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// A certificate for a server with these names and addresses.
    pub fn server(&self, names: Vec<String>, addresses: &[IpAddr]) -> Result<Pair> {
        let mut params = CertificateParams::new(names).context("name the server")?;
        params
            .subject_alt_names
            .extend(addresses.iter().copied().map(SanType::IpAddress));
        self.issue(
            params,
            "kube-apiserver",
            None,
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    /// A certificate of a user in one group.
    pub fn client(&self, user: &str, group: &str) -> Result<Pair> {
        let params = CertificateParams::new(Vec::new()).context("name the user")?;
        self.issue(
            params,
            user,
            Some(group),
            ExtendedKeyUsagePurpose::ClientAuth,
        )
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        common_name: &str,
        organization: Option<&str>,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Pair> {
        params.distinguished_name = DistinguishedName::new();
        if let Some(organization) = organization {
            params
                .distinguished_name
                .push(DnType::OrganizationName, organization);
        }
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, DAYS)?;
        let key = KeyPair::generate().context("make a key")?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .with_context(|| format!("issue a certificate for {common_name}"))?;
        Ok(Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// The key in `file` that signs tokens, made when there is none: ECDSA P-256.
pub fn signing_key(file: &Path) -> Result<()> {
    if file.exists() {
        return Ok(());
    }
    let key = KeyPair::generate().context("make the key that signs tokens")?;
    write(file, &key.serialize_pem())
}

/// A kubeconfig of the administrator.
pub fn kubeconfig(url: &str, authority: &Path, admin: &Pair) -> Result<String> {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let authority = encode(&read(authority)?);
    let (certificate, key) = (encode(&admin.certificate), encode(&admin.key));
    Ok(format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: karve-api\n\
         clusters:\n- name: karve-api\n  cluster:\n    server: {url}\n    certificate-authority-data: {authority}\n\
         users:\n- name: admin\n  user:\n    client-certificate-data: {certificate}\n    client-key-data: {key}\n\
         contexts:\n- name: karve-api\n  context:\n    cluster: karve-api\n    user: admin\n"
    ))
}

fn authority_params() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).context("describe the authority")?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "karve-api-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyCertSign,
    ];
    set_validity(&mut params, AUTHORITY_DAYS)?;
    Ok(params)
}

/// From yesterday, so that a clock that is set back a little does no harm.
fn set_validity(params: &mut CertificateParams, days: i64) -> Result<()> {
    let now = Zoned::now();
    let day = |span: Span| -> Result<_> {
        let date = now
            .date()
            .checked_add(span)
            .context("count the days of validity")?;
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        Ok(rcgen::date_time_ymd(date.year().into(), month, day))
    };
    params.not_before = day(Span::new().days(-1))?;
    params.not_after = day(Span::new().days(days))?;
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

pub fn write(path: &Path, text: &str) -> Result<()> {
    write_private(path, text.as_bytes()).with_context(|| format!("write {}", path.display()))
}
