//! CertificateSigningRequests of Kubernetes' own signers: those of nodes are approved when a role says so, approved ones
//! are signed by the cluster's authority, old ones are removed.

mod issue;
mod request;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::{
    ByteString,
    api::{
        authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
        certificates::v1::CertificateSigningRequest,
    },
    jiff::{SignedDuration, Timestamp},
};
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::{
    queue::{Outcome, Queue},
    watch::Key,
    write::{self, Part, Writer},
};
pub use issue::Authority;
use request::{Asked, Signer};

const PARALLEL: usize = 2;
const SETTLED_KEPT: SignedDuration = SignedDuration::from_hours(1);
const PENDING_KEPT: SignedDuration = SignedDuration::from_hours(24);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("ask whether {user} may have a certificate")]
    Review {
        user: String,
        #[source]
        source: kube::Error,
    },
    #[error(transparent)]
    Write(#[from] write::Error),
    #[error("sign CertificateSigningRequest {key}")]
    Sign {
        key: Key,
        #[source]
        source: issue::Error,
    },
}

/// Runs the controller until shutdown. Keys are CertificateSigningRequests.
pub(super) async fn run(
    context: Context,
    authority: Option<Arc<Authority>>,
    shutdown: CancellationToken,
) {
    let queue: Queue<Key> = Queue::new();
    let changed = queue.clone();
    let requests = Arc::clone(&context.kinds.signing_requests);
    requests.subscribe(move |change| changed.add_all(change.new.map(|new| Key::of(&**new))));
    let controller = Arc::new(Controller {
        writer: Writer::new(&context.client, &requests),
        context,
        authority,
    });
    let reconcile = move |key: Key| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(key).await }
    };
    queue
        .run("certificate", PARALLEL, shutdown, reconcile)
        .await;
}

struct Controller {
    context: Context,
    writer: Writer<CertificateSigningRequest>,
    authority: Option<Arc<Authority>>,
}

impl Controller {
    async fn reconcile(&self, key: Key) -> Result<Outcome, Error> {
        let Some(request) = self.context.kinds.signing_requests.get(&key) else {
            return Ok(Outcome::Settled);
        };
        let now = Timestamp::now();
        let left = left(&request, now);
        if left.is_zero() {
            let uid = request.metadata.uid.as_deref();
            self.writer
                .delete(&key, uid, DeleteParams::default())
                .await?;
            return Ok(Outcome::Settled);
        }
        // What can't be read was refused by the API; another signer may take it.
        if let Ok(asked) = Asked::parse(&request) {
            self.approve(&key, &request, &asked).await?;
            self.sign(&key, &request, &asked, now).await?;
        }
        Ok(Outcome::After(left))
    }

    async fn approve(
        &self,
        key: &Key,
        request: &CertificateSigningRequest,
        asked: &Asked,
    ) -> Result<(), Error> {
        let decided =
            has(request, "Approved") || has(request, "Denied") || certificate(request).is_some();
        if decided || asked.signer != Some(Signer::KubeletClient) || asked.check().is_err() {
            return Ok(());
        }
        let own = request.spec.username.as_deref() == Some(asked.common_name.as_str());
        let questions = [
            (
                "selfnodeclient",
                "Auto approving self kubelet client certificate after SubjectAccessReview.",
            ),
            (
                "nodeclient",
                "Auto approving kubelet client certificate after SubjectAccessReview.",
            ),
        ];
        for (subresource, message) in &questions[usize::from(!own)..] {
            if !self.may(request, subresource).await? {
                continue;
            }
            let condition = json!({"type": "Approved", "status": "True", "reason": "AutoApproved", "message": message});
            return self.condition(key, request, "approval", condition).await;
        }
        Ok(())
    }

    async fn may(
        &self,
        request: &CertificateSigningRequest,
        subresource: &str,
    ) -> Result<bool, Error> {
        let spec = &request.spec;
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: spec.username.clone(),
                uid: spec.uid.clone(),
                groups: spec.groups.clone(),
                extra: spec.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    group: Some("certificates.k8s.io".into()),
                    resource: Some("certificatesigningrequests".into()),
                    verb: Some("create".into()),
                    subresource: Some(subresource.into()),
                    version: Some("*".into()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: kube::Api<SubjectAccessReview> = kube::Api::all(self.context.client.clone());
        let params = PostParams::default();
        let answer = api
            .create(&params, &review)
            .await
            .map_err(|source| Error::Review {
                user: spec.username.clone().unwrap_or_default(),
                source,
            })?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    async fn sign(
        &self,
        key: &Key,
        request: &CertificateSigningRequest,
        asked: &Asked,
        now: Timestamp,
    ) -> Result<(), Error> {
        let waits =
            has(request, "Approved") && !has(request, "Failed") && certificate(request).is_none();
        let (Some(authority), true, Some(_)) = (&self.authority, waits, asked.signer) else {
            return Ok(());
        };
        if let Err(why) = asked.check() {
            let condition = json!({"type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": why});
            return self.condition(key, request, "status", condition).await;
        }
        let pem = authority.issue(asked, request.spec.expiration_seconds, now);
        let pem = pem.map_err(|source| Error::Sign {
            key: key.clone(),
            source,
        })?;
        let patch = json!({"status": {"certificate": ByteString(pem.into_bytes())}});
        Ok(self
            .writer
            .merge(key, Part::Status, patch)
            .await
            .map(drop)?)
    }

    /// Adds a condition through a subresource.
    async fn condition(
        &self,
        key: &Key,
        request: &CertificateSigningRequest,
        subresource: &str,
        condition: Value,
    ) -> Result<(), Error> {
        let mut conditions: Vec<Value> = Vec::new();
        let status = request.status.as_ref();
        let known = status.and_then(|status| status.conditions.as_ref());
        conditions.extend(known.into_iter().flatten().map(|c| json!(c)));
        conditions.push(condition);
        let patch = json!({
            "metadata": {"resourceVersion": request.metadata.resource_version},
            "status": {"conditions": conditions},
        });
        self.writer.merge_part(key, subresource, patch).await?;
        Ok(())
    }
}

fn has(request: &CertificateSigningRequest, kind: &str) -> bool {
    let conditions = request
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == kind)
}

fn certificate(request: &CertificateSigningRequest) -> Option<&ByteString> {
    let status = request.status.as_ref()?;
    status.certificate.as_ref().filter(|pem| !pem.0.is_empty())
}

/// How much longer a request is kept.
fn left(request: &CertificateSigningRequest, now: Timestamp) -> Duration {
    let conditions = request
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let verdicts = conditions.into_iter().flatten();
    let settled = verdicts
        .filter_map(|c| c.last_update_time.as_ref())
        .map(|time| time.0 + SETTLED_KEPT);
    let made = request
        .metadata
        .creation_timestamp
        .as_ref()
        .map(|time| time.0 + PENDING_KEPT);
    let ends = settled.min().or(made).unwrap_or(now);
    ends.duration_since(now)
        .max(SignedDuration::ZERO)
        .unsigned_abs()
}
