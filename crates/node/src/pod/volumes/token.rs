//! Tokens of a pod's ServiceAccount for its projected volumes: which are wanted, and when each is asked for.

use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, PodSpec, ServiceAccount, ServiceAccountTokenProjection};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::task::JoinSet;

use super::content::Place;
use crate::pod::memory::Retry;
use crate::request::{bounded, text};

/// As upstream, when the volume does not say.
const TOKEN_SECONDS: i64 = 3600;
/// A token is renewed once a day at the latest.
const RENEWED_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// A token of the API.
type Answer = (Place, Result<(String, Timestamp), String>);

/// The tokens of one pod.
pub struct Tokens {
    client: Client,
    known: BTreeMap<Place, Known>,
    requests: JoinSet<Answer>,
}

/// One of them.
#[derive(Debug, Default, PartialEq)]
struct Known {
    token: Option<String>,
    /// Why the last request came to nothing.
    failure: Option<(String, Retry)>,
    /// When it is asked for; nothing while it is.
    due: Option<Timestamp>,
}

impl Tokens {
    /// The tokens that a pod's volumes show, none of them asked for yet.
    pub fn of(client: Client, spec: &PodSpec) -> Tokens {
        let known = wanted(spec).map(|(place, _)| {
            let due = Some(Timestamp::MIN);
            (
                place,
                Known {
                    due,
                    ..Known::default()
                },
            )
        });
        Tokens {
            client,
            known: known.collect(),
            requests: JoinSet::new(),
        }
    }

    /// Asks for those that are due.
    pub fn ask(&mut self, pod: &Pod, spec: &PodSpec, now: Timestamp) {
        for (place, source) in wanted(spec) {
            let Some(known) = self.known.get_mut(&place) else {
                continue;
            };
            if known.due.is_none_or(|due| due > now) {
                continue;
            }
            known.due = None;
            let account = spec.service_account_name.as_deref();
            let account = account.filter(|n| !n.is_empty()).unwrap_or("default");
            let request = request(pod, source);
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
            let account = account.to_owned();
            self.requests.spawn(async move {
                let params = PostParams::default();
                let made = bounded(api.create_token_request(&account, &params, &request)).await;
                let made = made.map(|made| made.status.unwrap_or_default());
                let now = Timestamp::now();
                let answer = made.map(|status| {
                    let ends = status.expiration_timestamp.map_or(now, |ends| ends.0);
                    (status.token.unwrap_or_default(), renewal(now, ends))
                });
                (
                    place,
                    answer.map_err(|err| format!("failed to fetch token: {}", text(&err))),
                )
            });
        }
    }

    /// Waits for an answer.
    pub async fn answered(&mut self) {
        match self.requests.join_next().await {
            Some(Ok((place, answer))) => self.take(&place, answer, Timestamp::now()),
            Some(Err(err)) => {
                tracing::error!(err = &err as &dyn std::error::Error, "token request failed");
            }
            None => std::future::pending().await,
        }
    }

    fn take(&mut self, place: &Place, answer: Result<(String, Timestamp), String>, now: Timestamp) {
        let Some(known) = self.known.get_mut(place) else {
            return;
        };
        match answer {
            Ok((token, renew)) => {
                *known = Known {
                    token: Some(token),
                    failure: None,
                    due: Some(renew),
                };
            }
            Err(message) => {
                if known.token.is_some() {
                    // The old one is good for longer.
                    tracing::warn!(volume = place.0, err = message, "token not renewed");
                }
                let retry = Retry::after(known.failure.as_ref().map(|(_, retry)| retry), now);
                known.due = Some(retry.at);
                known.failure = Some((message, retry));
            }
        }
    }

    /// The tokens that there are, and why others are not.
    pub fn known(&self) -> BTreeMap<Place, Result<String, String>> {
        let known = self.known.iter().filter_map(|(place, known)| {
            let found = match (&known.token, &known.failure) {
                (Some(token), _) => Ok(token.clone()),
                (None, Some((message, _))) => Err(message.clone()),
                (None, None) => return None,
            };
            Some((place.clone(), found))
        });
        known.collect()
    }

    /// When the next is to be asked for.
    pub fn due(&self) -> Option<Timestamp> {
        self.known.values().filter_map(|known| known.due).min()
    }
}

/// The tokens that volumes show.
fn wanted(spec: &PodSpec) -> impl Iterator<Item = (Place, &ServiceAccountTokenProjection)> {
    let volumes = spec.volumes.iter().flatten();
    volumes.flat_map(|volume| {
        let sources = volume.projected.iter().flat_map(|p| &p.sources).flatten();
        sources.enumerate().filter_map(|(at, source)| {
            let token = source.service_account_token.as_ref()?;
            Some(((volume.name.clone(), at), token))
        })
    })
}

/// A token for this pod alone.
fn request(pod: &Pod, source: &ServiceAccountTokenProjection) -> TokenRequest {
    let audience = source.audience.clone().filter(|a| !a.is_empty());
    TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: audience.map(|audience| vec![audience]),
            expiration_seconds: Some(source.expiration_seconds.unwrap_or(TOKEN_SECONDS)),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            }),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    }
}

/// After four fifths of a token's life, as upstream.
fn renewal(now: Timestamp, ends: Timestamp) -> Timestamp {
    let life = ends.duration_since(now);
    now.saturating_add((life * 4 / 5).min(RENEWED_AFTER))
        .unwrap_or(ends)
}

#[cfg(test)]
mod tests {
    use karve_testkit::stub_api::StubApi;
    use serde_json::json;

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + secs).expect("small")
    }

    #[test]
    fn tokens_are_renewed_after_four_fifths_of_their_life_and_within_a_day() {
        let rows = [(3600, 2880), (600, 480), (40 * 3600, 24 * 3600)];
        for (life, want) in rows {
            assert_eq!(renewal(at(0), at(life)), at(want), "{life}");
        }
    }

    #[tokio::test]
    async fn an_old_token_is_kept_when_its_renewal_fails() {
        let spec = json!({"containers": [], "volumes": [{"name": "v", "projected": {"sources": [
            {"configMap": {"name": "m"}}, {"serviceAccountToken": {"path": "t"}}]}}]});
        let spec: PodSpec = serde_json::from_value(spec).expect("a spec");
        let (api, _writes) = StubApi::new();
        let mut tokens = Tokens::of(api.client(), &spec);
        let place = ("v".to_owned(), 1);
        let known = |tokens: &Tokens| tokens.known().get(&place).cloned();
        assert_eq!((known(&tokens), tokens.due()), (None, Some(Timestamp::MIN)));
        tokens.take(&place, Err("no".to_owned()), at(0));
        assert_eq!(known(&tokens), Some(Err("no".to_owned())));
        let soon = at(0) + SignedDuration::from_millis(500);
        assert_eq!(tokens.due(), Some(soon));
        tokens.take(&place, Ok(("one".to_owned(), at(100))), at(1));
        assert_eq!(
            (known(&tokens), tokens.due()),
            (Some(Ok("one".to_owned())), Some(at(100)))
        );
        tokens.take(&place, Err("away".to_owned()), at(100));
        assert_eq!(known(&tokens), Some(Ok("one".to_owned())));
        assert!(
            tokens
                .due()
                .is_some_and(|due| due > at(100) && due < at(101))
        );
    }
}
