//! What relying parties of ServiceAccount tokens read: OpenID Connect discovery and the keys (RFC 8414, 7517).

use bytes::Bytes;
use http::HeaderValue;
use serde_json::json;

use super::key::PublicKey;
use crate::answer::{self, HttpResponse};

/// As upstream.
const CACHE: &str = "public, max-age=3600";

/// The two documents.
#[derive(Debug)]
pub struct Documents {
    configuration: Bytes,
    keys: Bytes,
}

impl Documents {
    /// Of an issuer; `None` when it is no URL of https, as upstream.
    pub(super) fn of(issuer: &str, keys_url: &str, keys: &[PublicKey]) -> Option<Documents> {
        if !issuer.starts_with("https://")
            || issuer.contains(['?', '#'])
            || !keys_url.starts_with("https://")
        {
            return None;
        }
        let mut algorithms: Vec<&str> = keys.iter().map(|key| key.algorithm.as_str()).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        let configuration = json!({
            "issuer": issuer,
            "jwks_uri": keys_url,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
        });
        let keys: Vec<_> = keys.iter().map(PublicKey::jwk).collect();
        Some(Documents {
            configuration: configuration.to_string().into(),
            keys: json!({"keys": keys}).to_string().into(),
        })
    }

    /// `/.well-known/openid-configuration`.
    pub fn configuration(&self) -> HttpResponse {
        cached(answer::with_type(
            200,
            "application/json",
            self.configuration.clone(),
        ))
    }

    /// `/openid/v1/jwks`.
    pub fn keys(&self) -> HttpResponse {
        cached(answer::with_type(
            200,
            "application/jwk-set+json",
            self.keys.clone(),
        ))
    }
}

fn cached(mut response: HttpResponse) -> HttpResponse {
    let headers = response.headers_mut();
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static(CACHE));
    response
}
