//! Projected volumes: tokens of the pod's ServiceAccount, ConfigMaps, Secrets and facts of the pod in one directory.
//!
//! What a volume holds is a pure function of the pod and what was fetched ([`content`]); it is written at once
//! ([`write`]) and a token is replaced after four fifths of its life ([`keep`]). Deliberately absent: the arrival of
//! later versions of ConfigMaps and Secrets in pods that run, trust bundles and pod certificates.

mod content;
mod fetch;
mod keep;
mod write;

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Pod, PodSpec, Volume};
use k8s_openapi::jiff::Timestamp;

use super::Node;
use super::volumes::Error;

pub use keep::keep;

/// Where a projected volume is in a pod's directory.
pub fn path(volume: &str, dir: &Path) -> PathBuf {
    dir.join("volumes/kubernetes.io~projected").join(volume)
}

/// The projected volumes of a pod.
fn volumes(spec: &PodSpec) -> impl Iterator<Item = &Volume> {
    let all = spec.volumes.iter().flatten();
    all.filter(|volume| volume.projected.is_some())
}

/// Whether the pod has volumes of this kind, and they were made before.
pub fn is_made(spec: &PodSpec, dir: &Path) -> bool {
    volumes(spec).any(|volume| path(&volume.name, dir).exists())
}

/// Refuses sources that are not built.
pub fn check(volume: &Volume) -> Result<(), Error> {
    let sources = volume
        .projected
        .iter()
        .flat_map(|p| p.sources.iter().flatten());
    for source in sources {
        let kind = match () {
            () if source.cluster_trust_bundle.is_some() => "projected clusterTrustBundle",
            () if source.pod_certificate.is_some() => "projected podCertificate",
            () => continue,
        };
        return Err(Error::Unsupported {
            volume: volume.name.clone(),
            kind,
        });
    }
    Ok(())
}

/// Makes or renews the pod's projected volumes below `dir`; answers when its tokens are to be renewed.
pub async fn set_up(
    node: &Node,
    pod: &Pod,
    spec: &PodSpec,
    dir: &Path,
) -> Result<Option<Timestamp>, Error> {
    let mut renew: Option<Timestamp> = None;
    for volume in volumes(spec) {
        let fetched = fetch::fetch(&node.client, pod, spec, volume).await?;
        let files = content::files(volume, pod, spec, &fetched)?;
        let target = path(&volume.name, dir);
        write::replace(&target, &files, content::owner(spec)).map_err(
            |(action, path, source)| Error::Io {
                volume: volume.name.clone(),
                action,
                path,
                source,
            },
        )?;
        renew = [renew, fetched.renew].into_iter().flatten().min();
    }
    Ok(renew)
}
