//! What the sources of a projected volume need of the API.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, Pod, PodSpec, Secret, ServiceAccount, ServiceAccountTokenProjection, Volume,
    VolumeProjection,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::pod::volumes::Error;
use crate::request::{bounded, text};

/// As upstream, when the volume does not say.
const TOKEN_SECONDS: i64 = 3600;
/// A token is renewed once a day at the latest.
const RENEWED_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// What was fetched for one volume.
#[derive(Debug, Default)]
pub struct Fetched {
    /// By name.
    pub config_maps: BTreeMap<String, ConfigMap>,
    /// By name.
    pub secrets: BTreeMap<String, Secret>,
    /// By the place of their source.
    pub tokens: BTreeMap<usize, String>,
    /// When the first of the tokens is to be renewed.
    pub renew: Option<Timestamp>,
}

enum Found {
    ConfigMap(String, Option<ConfigMap>),
    Secret(String, Option<Secret>),
    Token(usize, String, Timestamp),
    Nothing,
}

/// Fetches all of it at once.
pub async fn fetch(
    client: &Client,
    pod: &Pod,
    spec: &PodSpec,
    volume: &Volume,
) -> Result<Fetched, Error> {
    let sources = volume
        .projected
        .iter()
        .flat_map(|p| p.sources.iter().flatten());
    let requests = sources
        .enumerate()
        .map(|(at, source)| one(client, pod, spec, at, source));
    let found = try_join_all(requests)
        .await
        .map_err(|message| Error::Type {
            volume: volume.name.clone(),
            message,
        })?;
    let mut fetched = Fetched::default();
    for one in found {
        match one {
            Found::ConfigMap(name, map) => fetched.config_maps.extend(map.map(|map| (name, map))),
            Found::Secret(name, secret) => {
                fetched.secrets.extend(secret.map(|secret| (name, secret)))
            }
            Found::Token(at, token, renew) => {
                fetched.tokens.insert(at, token);
                fetched.renew = [fetched.renew, Some(renew)].into_iter().flatten().min();
            }
            Found::Nothing => {}
        }
    }
    Ok(fetched)
}

async fn one(
    client: &Client,
    pod: &Pod,
    spec: &PodSpec,
    at: usize,
    source: &VolumeProjection,
) -> Result<Found, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(source) = &source.config_map {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let map = bounded(api.get_opt(&source.name))
            .await
            .map_err(|err| text(&err))?;
        return Ok(Found::ConfigMap(source.name.clone(), map));
    }
    if let Some(source) = &source.secret {
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let secret = bounded(api.get_opt(&source.name))
            .await
            .map_err(|err| text(&err))?;
        return Ok(Found::Secret(source.name.clone(), secret));
    }
    let Some(source) = &source.service_account_token else {
        return Ok(Found::Nothing);
    };
    let account = spec
        .service_account_name
        .as_deref()
        .filter(|n| !n.is_empty())
        .unwrap_or("default");
    let (token, renew) = token(client, pod, account, source)
        .await
        .map_err(|err| format!("failed to fetch token: {}", text(&err)))?;
    Ok(Found::Token(at, token, renew))
}

async fn token(
    client: &Client,
    pod: &Pod,
    account: &str,
    source: &ServiceAccountTokenProjection,
) -> kube::Result<(String, Timestamp)> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let seconds = source.expiration_seconds.unwrap_or(TOKEN_SECONDS);
    let audience = source.audience.clone().filter(|a| !a.is_empty());
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: audience.map(|audience| vec![audience]),
            expiration_seconds: Some(seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let params = PostParams::default();
    let made = bounded(api.create_token_request(account, &params, &request)).await?;
    let status = made.status.unwrap_or_default();
    let now = Timestamp::now();
    let ends = status.expiration_timestamp.map_or(now, |ends| ends.0);
    Ok((status.token.unwrap_or_default(), renewal(now, ends)))
}

/// After four fifths of a token's life, as upstream.
fn renewal(now: Timestamp, ends: Timestamp) -> Timestamp {
    let life = ends.duration_since(now);
    now.saturating_add((life * 4 / 5).min(RENEWED_AFTER))
        .unwrap_or(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_after_four_fifths_of_their_life_and_within_a_day() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let rows = [(3600, 2880), (600, 480), (40 * 3600, 24 * 3600)];
        for (life, want) in rows {
            let ends = now + SignedDuration::from_secs(life);
            assert_eq!(
                renewal(now, ends).duration_since(now).as_secs(),
                want,
                "{life}"
            );
        }
    }
}
