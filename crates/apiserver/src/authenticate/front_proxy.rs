//! A proxy in front of the server that says in headers who asks (`--requestheader-*`).
//!
//! It is believed when it shows a certificate of its own authority and, if names are given, has one of them. Deliberately
//! absent: a ConfigMap with these facts that changes while the server runs; files are read at the start.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Error;
use crate::identity::Identity;
use crate::options::RequestHeader;
use crate::path::percent_decode;
use crate::tls;

/// The proxy that is believed.
pub struct FrontProxy {
    verifier: Arc<dyn ClientCertVerifier>,
    options: RequestHeader,
}

impl FrontProxy {
    pub(super) fn open(options: &RequestHeader) -> Result<FrontProxy, Error> {
        let path = &options.client_ca_file;
        let authority = std::fs::read(path).map_err(|err| Error::Read {
            path: path.clone(),
            err,
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = tls::verifier(&authority, &provider).map_err(|err| Error::Authority {
            path: path.clone(),
            why: err.to_string(),
        })?;
        Ok(FrontProxy {
            verifier,
            options: options.clone(),
        })
    }

    /// Whether a chain of certificates is the proxy's.
    pub(super) fn is(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
        let Some((own, others)) = chain.split_first() else {
            return false;
        };
        let names = &self.options.allowed_names;
        let named = || {
            let (_, certificate) = X509Certificate::from_der(own).ok()?;
            // Go's `pkix.Name` has the last one.
            let name = certificate.subject().iter_common_name().last()?;
            let name = name.as_str().ok()?.to_owned();
            Some(names.contains(&name))
        };
        self.verifier.verify_client_cert(own, others, now).is_ok()
            && (names.is_empty() || named() == Some(true))
    }

    /// Whom the proxy speaks for; `None` when it does not say.
    pub(super) fn user(&self, headers: &HeaderMap) -> Option<Identity> {
        let all = |names: &[String]| -> Vec<String> {
            let values = names.iter().flat_map(|name| headers.get_all(name));
            let texts = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            texts.filter(|text| !text.is_empty()).collect()
        };
        // Of a header that comes twice the first one counts, and an empty one is as good as none.
        let first = |names: &[String]| {
            let values = names.iter().filter_map(|name| headers.get(name));
            let mut texts = values.map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
            texts.find(|text| !text.is_empty())
        };
        let user = first(&self.options.username_headers)?;
        let uid = first(&self.options.uid_headers).unwrap_or_default();
        let groups = all(&self.options.group_headers);
        Some(Identity::claimed(&user, &uid, groups, self.extra(headers)))
    }

    fn extra(&self, headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for prefix in &self.options.extra_headers_prefix {
            for (name, value) in headers {
                let Some(key) = after(name, prefix) else {
                    continue;
                };
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                let key = percent_decode(key, false);
                extra.entry(key).or_default().push(value);
            }
        }
        extra
    }

    /// Takes the headers away: nobody behind this is to believe them.
    pub(super) fn forget(&self, headers: &mut HeaderMap) {
        let RequestHeader {
            username_headers,
            uid_headers,
            group_headers,
            extra_headers_prefix,
            ..
        } = &self.options;
        for name in username_headers
            .iter()
            .chain(uid_headers)
            .chain(group_headers)
        {
            headers.remove(name);
        }
        let extra: Vec<HeaderName> = headers
            .keys()
            .filter(|name| {
                extra_headers_prefix
                    .iter()
                    .any(|p| after(name, p).is_some())
            })
            .cloned()
            .collect();
        for name in extra {
            headers.remove(name);
        }
    }
}

/// What follows a prefix in a header's name, whatever its case.
fn after<'n>(name: &'n HeaderName, prefix: &str) -> Option<&'n str> {
    let (start, rest) = name.as_str().split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}
