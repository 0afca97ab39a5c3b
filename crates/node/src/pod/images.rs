//! Getting the image of a container: the pull policy, back-off and the events that tell of it.
//!
//! DEVIATION (docs/deviations.md): an image that was loaded from an archive belongs to no registry, so `Always` takes
//! it as it is, where upstream would ask a registry for it and fail.

use std::time::Instant;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use karve_runtime::images::{Client, Image, ImageError, ImageRef, Store};

use super::backoff::Backoff;
use crate::events::{About, Recorder};
use crate::status::Waiting;

/// How long the error of a pull is shown before the back-off takes its place.
const ERROR_SHOWN: SignedDuration = SignedDuration::from_secs(5);

/// How a node reaches images.
#[derive(Clone, Debug)]
pub struct Images {
    /// The content store on this machine: what is here.
    pub local: Store,
    /// Where pulls are made: in the process that reaches registries.
    pub remote: Client,
}

/// Why a container has no image.
#[derive(Debug)]
pub enum Failure {
    /// The image cannot be used; nothing was pulled.
    Unusable(Waiting),
    /// A pull was tried and failed.
    NotPulled(Waiting),
    /// It is too early for another pull.
    BackOff {
        /// What the status shows.
        waiting: Waiting,
        /// When to look again.
        look_at: Timestamp,
    },
}

impl Failure {
    fn unusable(reason: &str, message: String) -> Failure {
        Failure::Unusable(waiting(reason, message))
    }
}

fn waiting(reason: &str, message: String) -> Waiting {
    Waiting {
        reason: reason.to_owned(),
        message,
    }
}

/// The last failed pull of an image in a pod.
#[derive(Clone, Debug)]
pub struct PullFailure {
    /// When.
    pub at: Timestamp,
    /// The error's text.
    pub error: String,
    /// Whether an event told of the back-off that followed.
    pub announced: bool,
}

/// One container's need for its image.
pub struct Need<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The container.
    pub container: &'a Container,
    /// Whether it is an init container.
    pub init: bool,
    /// Back-off of this pod's pulls, by image.
    pub pulls: &'a Backoff,
    /// The last failed pull of this image in this pod.
    pub last_failure: Option<&'a PullFailure>,
    /// Where events go.
    pub events: &'a Recorder,
}

/// What the policy says about an image that is here or not.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Use,
    Pull,
    Never,
}

fn decide(policy: &str, present: Option<&Image>) -> Decision {
    match (policy, present) {
        ("Always", Some(image)) if image.repo_digests.is_empty() => Decision::Use,
        ("Always", _) => Decision::Pull,
        (_, Some(_)) => Decision::Use,
        ("Never", None) => Decision::Never,
        (_, None) => Decision::Pull,
    }
}

/// The image of a container, pulled if need be.
pub async fn ensure(images: &Images, need: &Need<'_>) -> Result<Image, Failure> {
    let name = need.container.image.as_deref().unwrap_or_default();
    let about = || About::container(need.pod, &need.container.name, need.init);
    let reference: ImageRef = name.parse().map_err(|err: ImageError| {
        let message = format!("Failed to apply default image tag \"{name}\": couldn't parse image name \"{name}\": {err}");
        need.events.warning(about(), "InspectFailed", message.clone());
        Failure::unusable("InvalidImageName", message)
    })?;
    let present = local(&images.local, &reference).await.map_err(|err| {
        let message = format!("Failed to inspect image \"{name}\": {err}");
        need.events
            .warning(about(), "InspectFailed", message.clone());
        Failure::unusable("ImageInspectError", message)
    })?;
    let policy = need
        .container
        .image_pull_policy
        .as_deref()
        .unwrap_or("IfNotPresent");
    match (decide(policy, present.as_ref()), present) {
        (Decision::Use, Some(image)) => {
            let message = format!(
                "Container image \"{name}\" already present on machine and can be accessed by the pod"
            );
            need.events.normal(about(), "Pulled", message);
            Ok(image)
        }
        (Decision::Never, _) => {
            let message =
                format!("Container image \"{name}\" is not present with pull policy of Never");
            need.events
                .warning(about(), "ErrImageNeverPull", message.clone());
            Err(Failure::unusable("ErrImageNeverPull", message))
        }
        _ => pull(images, need, name, &reference).await,
    }
}

/// The image in the content store; its manifest is read from disk.
async fn local(store: &Store, reference: &ImageRef) -> Result<Option<Image>, String> {
    let (store, reference) = (store.clone(), reference.clone());
    match tokio::task::spawn_blocking(move || store.image(&reference)).await {
        Ok(found) => found.map_err(|err| err.to_string()),
        Err(err) => Err(err.to_string()),
    }
}

/// What is shown between two pulls: the error for a while, as upstream's kubelet does until its next sync.
fn back_off(
    name: &str,
    failure: &PullFailure,
    until: Timestamp,
    now: Timestamp,
) -> Option<Failure> {
    if now >= until {
        return None;
    }
    let error_until = (failure.at + ERROR_SHOWN).min(until);
    if now < error_until {
        let waiting = waiting("ErrImagePull", failure.error.clone());
        return Some(Failure::BackOff {
            waiting,
            look_at: error_until,
        });
    }
    let message = format!(
        "Back-off pulling image \"{name}\": ErrImagePull: {}",
        failure.error
    );
    Some(Failure::BackOff {
        waiting: waiting("ImagePullBackOff", message),
        look_at: until,
    })
}

async fn pull(
    images: &Images,
    need: &Need<'_>,
    name: &str,
    reference: &ImageRef,
) -> Result<Image, Failure> {
    let about = || About::container(need.pod, &need.container.name, need.init);
    if let Some(failure) = need.last_failure {
        let until = need.pulls.until(name, failure.at);
        if let Some(early) =
            until.and_then(|until| back_off(name, failure, until, Timestamp::now()))
        {
            if !failure.announced {
                let text = format!("Back-off pulling image \"{name}\"");
                need.events.normal(about(), "BackOff", text);
                need.events
                    .warning(about(), "Failed", "Error: ImagePullBackOff");
            }
            return Err(early);
        }
    }
    need.events
        .normal(about(), "Pulling", format!("Pulling image \"{name}\""));
    let begun = Instant::now();
    match images.remote.pull(reference).await {
        Ok(image) => {
            let took = go_precise(begun.elapsed());
            let size = image.size;
            let message = format!(
                "Successfully pulled image \"{name}\" in {took} ({took} including waiting). Image size: {size} bytes."
            );
            need.events.normal(about(), "Pulled", message);
            Ok(image)
        }
        Err(err) => {
            let text = err.to_string();
            need.events.warning(
                about(),
                "Failed",
                format!("Failed to pull image \"{name}\": {text}"),
            );
            Err(Failure::NotPulled(waiting("ErrImagePull", text)))
        }
    }
}

/// A short duration as Go prints it, in milliseconds: `950ms`, `1.234s`.
fn go_precise(d: std::time::Duration) -> String {
    let millis = d.as_millis();
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let whole = SignedDuration::try_from(d).unwrap_or_default();
    if whole.as_secs() >= 60 {
        return super::backoff::go_duration(whole);
    }
    let text = format!("{}.{:03}", millis / 1000, millis % 1000);
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_pull_is_shown_then_its_back_off_then_it_is_tried_again() {
        let at = |secs: i64| Timestamp::from_second(1_000_000 + secs).expect("small");
        let failure = PullFailure {
            at: at(0),
            error: "no".to_owned(),
            announced: false,
        };
        let rows = [
            (1, Some(("ErrImagePull", "no", 5))),
            (
                5,
                Some((
                    "ImagePullBackOff",
                    "Back-off pulling image \"x\": ErrImagePull: no",
                    10,
                )),
            ),
            (10, None),
        ];
        for (now, want) in rows {
            let got = back_off("x", &failure, at(10), at(now));
            let got = got.map(|failure| match failure {
                Failure::BackOff { waiting, look_at } => (waiting.reason, waiting.message, look_at),
                other => panic!("{other:?}"),
            });
            assert_eq!(
                got,
                want.map(|(r, m, l)| (r.to_owned(), m.to_owned(), at(l))),
                "{now}"
            );
        }
    }

    #[test]
    fn short_durations_read_as_go_prints_them() {
        for (millis, want) in [
            (950, "950ms"),
            (1000, "1s"),
            (1234, "1.234s"),
            (2500, "2.5s"),
            (61_000, "1m1s"),
        ] {
            assert_eq!(go_precise(std::time::Duration::from_millis(millis)), want);
        }
    }
}
