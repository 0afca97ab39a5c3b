//! Starts one container: image, environment, create, start, with the events of each stage.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, PodSpec, Secret};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use karve_runtime::images::Image;
use karve_runtime::{ContainerConfig, Mount, RuntimeError};
use karve_watch::ObjectName;
use kube::Api;
use tracing::Instrument;

use super::backoff::Backoff;
use super::env::{self, Objects, Reference};
use super::memory::Trouble;
use super::plan::{RUN_ERROR, Start};
use super::{Node, container, images, names, paths, services, volumes};
use crate::events::About;
use crate::request::text;
use crate::status::Waiting;

/// How long until a container whose config was wrong is tried again (upstream: with each sync).
const RETRY: SignedDuration = SignedDuration::from_secs(10);
/// How soon after a failed pull an event tells of the back-off.
const SOON: SignedDuration = SignedDuration::from_secs(1);
/// The longest that fetching an object may take.
const FETCH_MAX: Duration = Duration::from_secs(10);

/// How a start went.
#[derive(Debug)]
pub enum Started {
    /// It runs (or ran).
    Yes,
    /// It does not, for the reason that its status will show.
    No(Trouble),
    /// Its image could not be pulled: as `No`, and the image's back-off counts.
    NotPulled(Trouble),
    /// Its image's back-off is not over.
    NotPulledYet(Trouble),
    /// The pod is being ended instead.
    Superseded,
}

/// What a start needs to know.
pub struct Context<'a> {
    /// The node.
    pub node: &'a Node,
    /// The pod.
    pub pod: &'a Pod,
    /// Its spec.
    pub spec: &'a PodSpec,
    /// The pod's addresses.
    pub pod_ips: Vec<std::net::IpAddr>,
    /// Back-off of image pulls.
    pub pulls: &'a Backoff,
    /// Failed pulls, by image.
    pub pull_failures: &'a BTreeMap<String, images::PullFailure>,
}

/// Starts the container. The pull is given up when `superseded` ends; what the runtime does is always awaited.
pub async fn start(
    ctx: &Context<'_>,
    start: &Start,
    superseded: impl Future<Output = ()>,
) -> Started {
    let stage = |name| {
        tracing::debug_span!(
            "start",
            stage = name,
            pod = ctx.pod.metadata.name,
            container = start.name
        )
    };
    let Some(container) = find(ctx.spec, start) else {
        return Started::Yes;
    };
    let image = tokio::select! {
        image = image(ctx, container, start).instrument(stage("ensure image")) => image,
        () = superseded => return Started::Superseded,
    };
    let image = match image {
        Ok(image) => image,
        Err(not_started) => return not_started,
    };
    let config = match config(ctx, container, start, image)
        .instrument(stage("resolve config"))
        .await
    {
        Ok(config) => config,
        Err(message) => return fail(ctx, start, "CreateContainerConfigError", message),
    };
    let created = ctx
        .node
        .runtime
        .create_container(config)
        .instrument(stage("create container"));
    match created.await {
        Ok(id) => run(ctx, start, &id).await,
        Err(err @ RuntimeError::Config { .. }) => {
            fail(ctx, start, "CreateContainerConfigError", err.to_string())
        }
        Err(err) => fail(ctx, start, "CreateContainerError", err.chain()),
    }
}

async fn run(ctx: &Context<'_>, start: &Start, id: &str) -> Started {
    let about = || About::container(ctx.pod, &start.name, start.init);
    ctx.node
        .events
        .normal(about(), "Created", "Container created");
    let span = tracing::debug_span!("start container", container = id);
    match ctx.node.runtime.start_container(id).instrument(span).await {
        Ok(()) => {
            ctx.node
                .events
                .normal(about(), "Started", "Container started");
            Started::Yes
        }
        Err(err) => {
            let text = match &err {
                RuntimeError::Start { message } => message.clone(),
                other => other.chain(),
            };
            let mut failed = fail(ctx, start, RUN_ERROR, text);
            if let Started::No(trouble) = &mut failed {
                // Its end is on record: the back-off of restarts rules from here.
                trouble.retry_at = Timestamp::now();
            }
            failed
        }
    }
}

fn find<'a>(spec: &'a PodSpec, start: &Start) -> Option<&'a Container> {
    let list = if start.init {
        spec.init_containers.as_deref().unwrap_or_default()
    } else {
        &spec.containers
    };
    list.iter().find(|c| c.name == start.name)
}

/// A failure as the status will show it, with its event.
fn fail(ctx: &Context<'_>, start: &Start, reason: &str, message: String) -> Started {
    let about = About::container(ctx.pod, &start.name, start.init);
    ctx.node
        .events
        .warning(about, "Failed", format!("Error: {message}"));
    let waiting = Waiting {
        reason: reason.to_owned(),
        message,
    };
    Started::No(Trouble {
        waiting,
        retry_at: Timestamp::now() + RETRY,
    })
}

async fn image(ctx: &Context<'_>, container: &Container, start: &Start) -> Result<Image, Started> {
    let need = images::Need {
        pod: ctx.pod,
        container,
        init: start.init,
        pulls: ctx.pulls,
        last_failure: container
            .image
            .as_ref()
            .and_then(|i| ctx.pull_failures.get(i)),
        events: &ctx.node.events,
    };
    let failure = match images::ensure(&ctx.node.images, &need).await {
        Ok(image) => return Ok(image),
        Err(failure) => failure,
    };
    let failed = |waiting: &Waiting| {
        let about = About::container(ctx.pod, &start.name, start.init);
        let text = format!("Error: {}", waiting.reason);
        ctx.node.events.warning(about, "Failed", text);
    };
    let now = Timestamp::now();
    Err(match failure {
        images::Failure::Unusable(waiting) => {
            failed(&waiting);
            let retry_at = now + RETRY;
            Started::No(Trouble { waiting, retry_at })
        }
        images::Failure::NotPulled(waiting) => {
            failed(&waiting);
            // Soon the back-off is told of.
            let retry_at = now + SOON;
            Started::NotPulled(Trouble { waiting, retry_at })
        }
        images::Failure::BackOff { waiting, look_at } => {
            let retry_at = look_at;
            Started::NotPulledYet(Trouble { waiting, retry_at })
        }
    })
}

/// The runtime's config, or why there is none.
async fn config(
    ctx: &Context<'_>,
    container: &Container,
    start: &Start,
    image: Image,
) -> Result<ContainerConfig, String> {
    let objects = fetch(ctx, container).await?;
    let machine = &ctx.node.machine;
    let facts = env::Facts {
        pod: ctx.pod,
        pod_ips: &ctx.pod_ips,
        host_ips: &ctx.node.host_ips,
        allocatable: (machine.cpu_millis, machine.memory_bytes),
    };
    let service_vars = service_vars(ctx).await;
    let env =
        env::environment(container, facts, &objects, &service_vars).map_err(|e| e.to_string())?;
    let uid = ctx.pod.metadata.uid.as_deref().unwrap_or_default();
    let dir = paths::pod_dir(&ctx.node.data_dir, uid);
    let mut mounts = volumes::mounts(ctx.spec, container, &dir).map_err(|e| e.to_string())?;
    mounts.extend(termination_log(ctx, container, start.attempt)?);
    let named = names::names(
        ctx.pod,
        ctx.spec,
        &ctx.node.name,
        &ctx.node.resolver.cluster_domain,
    );
    let hostname = named.map_err(|e| e.to_string())?.hostname;
    let parts = container::Parts {
        pod: ctx.pod,
        container,
        attempt: start.attempt,
        image,
        env,
        hostname,
        mounts,
        log_path: paths::log(&ctx.node.data_dir, ctx.pod, &start.name, start.attempt),
        node_memory: machine.memory_bytes,
    };
    container::config(parts).map_err(|e| e.to_string())
}

/// The file that the container may write about its end to.
fn termination_log(
    ctx: &Context<'_>,
    container: &Container,
    attempt: u32,
) -> Result<Option<Mount>, String> {
    let path = container
        .termination_message_path
        .as_deref()
        .unwrap_or("/dev/termination-log");
    if path.is_empty() {
        return Ok(None);
    }
    let uid = ctx.pod.metadata.uid.as_deref().unwrap_or_default();
    let host_path = paths::termination_log(&ctx.node.data_dir, uid, &container.name, attempt);
    open_to_all(&host_path)
        .map_err(|err| format!("make termination log {}: {err}", host_path.display()))?;
    Ok(Some(Mount {
        host_path,
        container_path: PathBuf::from(path),
        read_only: false,
    }))
}

fn open_to_all(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let file = std::fs::File::create(path)?;
    // Whoever the container runs as; the pod's directory above is closed.
    file.set_permissions(std::fs::Permissions::from_mode(0o666))
}

/// The ConfigMaps and Secrets that the environment names; what is not there is left out.
async fn fetch(ctx: &Context<'_>, container: &Container) -> Result<Objects, String> {
    let mut objects = Objects::default();
    let namespace = ctx.pod.metadata.namespace.as_deref().unwrap_or_default();
    for reference in env::references(container) {
        let fetched = tokio::time::timeout(FETCH_MAX, async {
            match &reference {
                Reference::ConfigMap(name) => {
                    let api: Api<ConfigMap> = Api::namespaced(ctx.node.client.clone(), namespace);
                    objects
                        .config_maps
                        .extend(api.get_opt(name).await?.map(|o| (name.clone(), o)));
                }
                Reference::Secret(name) => {
                    let api: Api<Secret> = Api::namespaced(ctx.node.client.clone(), namespace);
                    objects
                        .secrets
                        .extend(api.get_opt(name).await?.map(|o| (name.clone(), o)));
                }
            }
            Ok::<(), kube::Error>(())
        });
        match fetched.await {
            Ok(Ok(())) => {}
            Ok(Err(err)) => {
                return Err(format!("failed to sync {reference} cache: {}", text(&err)));
            }
            Err(_) => {
                return Err(format!(
                    "failed to sync {reference} cache: timed out waiting for the condition"
                ));
            }
        }
    }
    Ok(objects)
}

/// Variables of the pod's namespace's Services and of the API itself.
async fn service_vars(ctx: &Context<'_>) -> BTreeMap<String, String> {
    let mut synced = ctx.node.services.synced.subscribe();
    // An error means that the agent stops.
    let _ = synced.wait_for(|synced| *synced).await;
    let namespace = ctx.pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = ctx.spec.enable_service_links != Some(false);
    let known = ctx.node.services.known.read();
    let of_namespace = known
        .range(ObjectName::new(namespace, "")..)
        .take_while(|(service, _)| links && &*service.namespace == namespace)
        .map(|(service, brief)| (&*service.name, brief));
    let api = known
        .get(&ObjectName::new("default", "kubernetes"))
        .map(|brief| ("kubernetes", brief));
    // A Service of the pod's own namespace called kubernetes wins.
    services::variables(api.into_iter().chain(of_namespace))
}
