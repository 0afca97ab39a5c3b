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
pub struct Failure {
    /// The waiting state.
    pub waiting: Waiting,
    /// When a back-off ends that must be waited for.
    pub until: Option<Timestamp>,
    /// Whether a pull was tried and failed: the back-off counts it.
    pub pulled: bool,
}

impl Failure {
    fn new(reason: &str, message: String) -> Failure {
        let waiting = Waiting {
            reason: reason.to_owned(),
            message,
        };
        Failure {
            waiting,
            until: None,
            pulled: false,
        }
    }
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
    /// The last failed pull of this image in this pod: when, and its text.
    pub last_failure: Option<&'a (Timestamp, String)>,
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
        Failure::new("InvalidImageName", message)
    })?;
    let present = local(&images.local, &reference).await.map_err(|err| {
        let message = format!("Failed to inspect image \"{name}\": {err}");
        need.events
            .warning(about(), "InspectFailed", message.clone());
        Failure::new("ImageInspectError", message)
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
            Err(Failure::new("ErrImageNeverPull", message))
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

async fn pull(
    images: &Images,
    need: &Need<'_>,
    name: &str,
    reference: &ImageRef,
) -> Result<Image, Failure> {
    let about = || About::container(need.pod, &need.container.name, need.init);
    if let Some((at, error)) = need.last_failure {
        if let Some(until) = need
            .pulls
            .until(name, *at)
            .filter(|until| *until > Timestamp::now())
        {
            let message = format!("Back-off pulling image \"{name}\"");
            need.events.normal(about(), "BackOff", message.clone());
            let mut failure = Failure::new(
                "ImagePullBackOff",
                format!("{message}: ErrImagePull: {error}"),
            );
            failure.until = Some(until);
            return Err(failure);
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
            let mut failure = Failure::new("ErrImagePull", text);
            failure.pulled = true;
            Err(failure)
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
