//! Who asks: client certificates, bearer tokens of a file or of ServiceAccounts, or nobody.
//!
//! What a certificate is worth is found out once a connection ([`Authenticator::look_at`]). In upstream's order: the
//! headers of a trusted proxy, a certificate, a token, nobody. Who shows a certificate that nobody knows and nothing
//! better is refused. Deliberately absent: webhooks and OIDC providers (`--authentication-token-webhook-config-file`,
//! `--authentication-config`), which this server has no flags for.

mod bootstrap_token;
mod claims;
mod discovery;
mod front_proxy;
mod jwt;
mod key;
mod pem;
mod service_account;
mod token_file;

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderMap, header};
use karve_api::status::Status;
use karve_store::Store;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::answer::Refusal;
use crate::identity::Identity;
use crate::options::Authentication;
use front_proxy::FrontProxy;
use token_file::TokenFile;

pub use claims::Bound;
pub use service_account::{ServiceAccounts, bound, claimed};

/// Why credentials that were given with flags are none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is not there.
    #[error("read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        err: std::io::Error,
    },
    /// A file has no certificate of an authority.
    #[error("{path} is no authority: {why}")]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A line of the token file is none.
    #[error("token file '{path}': {why}")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A key file has no key that can be used.
    #[error("{path} has no usable key: {why}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// What a token says.
#[derive(Debug, Clone)]
pub struct Authenticated {
    /// The user.
    pub identity: Identity,
    /// For whom the token is, of those that were asked for.
    pub audiences: Vec<String>,
    /// What the client is to be told.
    pub warning: Option<&'static str>,
}

/// What the certificate of a connection is worth. In the extensions of its requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shown {
    /// It was shown, and nobody knows its authority.
    unknown: bool,
    /// It is the trusted proxy's.
    proxy: bool,
}

/// Tells who asks.
pub struct Authenticator {
    front_proxy: Option<FrontProxy>,
    anonymous: bool,
    tokens: TokenFile,
    store: Store,
    /// Absent without keys.
    accounts: Option<Arc<ServiceAccounts>>,
}

/// Upstream's word for a token that nobody knows.
const INVALID: &str = "invalid bearer token";
const SPACED: &str = "the provided Authorization header contains extra space before the bearer token, and is ignored";

impl Authenticator {
    /// Reads the files that the flags name.
    pub fn open(
        options: &Authentication,
        address: SocketAddrV4,
        store: Store,
    ) -> Result<Authenticator, Error> {
        let tokens = options.token_auth_file.as_deref().map(TokenFile::open);
        let front_proxy = options.request_header.as_ref().map(FrontProxy::open);
        Ok(Authenticator {
            front_proxy: front_proxy.transpose()?,
            anonymous: options.anonymous,
            tokens: tokens.transpose()?.unwrap_or_default(),
            accounts: ServiceAccounts::open(options, address, store.clone())?.map(Arc::new),
            store,
        })
    }

    /// Tokens of ServiceAccounts; absent without keys.
    pub fn accounts(&self) -> Option<&ServiceAccounts> {
        self.accounts.as_deref()
    }

    /// Whom the certificates of a connection speak for, and what they are worth beside that.
    pub fn look_at(
        &self,
        chain: &[CertificateDer<'_>],
        clients: &dyn ClientCertVerifier,
    ) -> (Identity, Shown) {
        let Some((own, others)) = chain.split_first() else {
            return (Identity::anonymous(), Shown::default());
        };
        let now = UnixTime::now();
        let known = clients.verify_client_cert(own, others, now).is_ok();
        let identity = known.then(|| Identity::from_certificate(own)).flatten();
        let shown = Shown {
            unknown: !known,
            proxy: self
                .front_proxy
                .as_ref()
                .is_some_and(|proxy| proxy.is(chain, now)),
        };
        (identity.unwrap_or_else(Identity::anonymous), shown)
    }

    /// Who asks, and what to warn them of. `known` is whom a certificate or the process itself vouches for. The headers
    /// of a proxy are taken away, whether they were believed or not.
    pub fn identify(
        &self,
        headers: &mut HeaderMap,
        known: Option<Identity>,
        shown: Shown,
    ) -> Result<(Identity, Option<&'static str>), Refusal> {
        if let Some(proxy) = &self.front_proxy {
            let spoken_for = shown.proxy.then(|| proxy.user(headers)).flatten();
            proxy.forget(headers);
            if let Some(identity) = spoken_for {
                return Ok((identity, None));
            }
        }
        if let Some(identity) = known {
            return Ok((identity, None));
        }
        match bearer(headers) {
            Bearer::Token(token) => match self.token(&token, None) {
                Ok(user) => Ok((user.identity, user.warning)),
                Err(_) => Err(Status::unauthorized().into()),
            },
            Bearer::None | Bearer::Spaced if shown.unknown => Err(Status::unauthorized().into()),
            Bearer::None if self.anonymous => Ok((Identity::anonymous(), None)),
            Bearer::Spaced if self.anonymous => Ok((Identity::anonymous(), Some(SPACED))),
            Bearer::None | Bearer::Spaced => Err(Status::unauthorized().into()),
        }
    }

    /// What a token says to somebody with these audiences; none: to the API server.
    ///
    /// # Errors
    /// Upstream's words.
    pub fn token(
        &self,
        token: &str,
        audiences: Option<&[String]>,
    ) -> Result<Authenticated, String> {
        let own = self
            .accounts()
            .map(ServiceAccounts::audiences)
            .unwrap_or_default();
        let common = |wanted: &[String]| {
            own.iter()
                .filter(|a| wanted.contains(a))
                .cloned()
                .collect::<Vec<_>>()
        };
        // Tokens of the file are for the API server only.
        let shared = audiences.map_or_else(|| own.to_vec(), common);
        if audiences.is_none() || !shared.is_empty() {
            let listed = self.tokens.get(token).cloned();
            let known = listed.or_else(|| bootstrap_token::identity(&self.store, token));
            if let Some(identity) = known {
                return Ok(Authenticated {
                    identity,
                    audiences: shared,
                    warning: None,
                });
            }
        }
        match self
            .accounts()
            .map(|accounts| accounts.verify(token, audiences))
        {
            Some(Ok(user)) => Ok(user),
            Some(Err(Some(why))) => Err(format!("[{INVALID}, {why}]")),
            Some(Err(None)) | None => Err(INVALID.to_owned()),
        }
    }
}

enum Bearer {
    None,
    /// A second blank before the token, which upstream ignores with a warning.
    Spaced,
    Token(String),
}

/// The token of a request: in its `Authorization`, or a WebSocket's list of protocols (browsers can't set headers).
fn bearer(headers: &HeaderMap) -> Bearer {
    let text = |name| {
        headers
            .get(name)
            .and_then(|v: &header::HeaderValue| v.to_str().ok())
            .unwrap_or_default()
    };
    let value = text(header::AUTHORIZATION).trim();
    let mut parts = value.splitn(3, ' ');
    let bearer = parts
        .next()
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer"));
    match (bearer, parts.next(), parts.next()) {
        (true, Some(""), Some(_)) => return Bearer::Spaced,
        (true, Some(token), _) if !token.is_empty() => return Bearer::Token(token.to_owned()),
        _ => {}
    }
    const PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";
    let protocols = text(header::SEC_WEBSOCKET_PROTOCOL)
        .split(',')
        .map(str::trim);
    let encoded = protocols.filter_map(|p| p.strip_prefix(PROTOCOL)).next();
    let token = encoded
        .and_then(jwt::decode_base64)
        .and_then(|bytes| String::from_utf8(bytes).ok());
    token.map_or(Bearer::None, Bearer::Token)
}

/// Compares by hash, so that the time that it takes says nothing of how much is right.
fn same_secret(one: &[u8], other: &[u8]) -> bool {
    let hash = |bytes| ring::digest::digest(&ring::digest::SHA256, bytes);
    hash(one).as_ref() == hash(other).as_ref()
}

#[cfg(test)]
mod tests;
