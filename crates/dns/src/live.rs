//! The configuration as it changes: the `coredns` ConfigMap, or a file, and the node's `resolv.conf`.
//!
//! A Corefile that is not understood changes nothing: the one before it stays in force, and an Event on the ConfigMap
//! says which line is at fault.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use karve_sys::readiness;
use karve_watch::{Notice, Outages, notices};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::watcher::Config as WatchConfig;
use kube::{Api, Resource};
use tokio::io::Interest;
use tokio::sync::watch;

use crate::corefile::{self, Plan};

/// Where CoreDNS' ConfigMap is.
const NAMESPACE: &str = "kube-system";
const NAME: &str = "coredns";
/// Its key, and where Pods of CoreDNS have it mounted.
const KEY: &str = "Corefile";
const MOUNTED: &str = "/etc/coredns/";

/// A plan, and the files that came with it.
#[derive(Clone, Debug)]
pub struct Current {
    /// The servers.
    pub plan: Arc<Plan>,
    /// The ConfigMap's other keys, which its Corefile sees under `/etc/coredns`.
    pub files: Arc<BTreeMap<String, String>>,
}

impl Current {
    /// A plan by itself.
    pub fn new(plan: Plan) -> Current {
        Current {
            plan: Arc::new(plan),
            files: Arc::default(),
        }
    }

    /// The text of a file that the plan names.
    pub fn file(&self, path: &Path) -> Option<String> {
        let key = path.to_str().and_then(|path| path.strip_prefix(MOUNTED));
        let carried = key.and_then(|key| self.files.get(key)).cloned();
        carried.or_else(|| std::fs::read_to_string(path).ok())
    }
}

/// The plan that karve serves with when nobody says otherwise, for the cluster's own domain.
pub fn default_plan(domain: &str) -> Option<Plan> {
    let text = corefile::DEFAULT.replace("cluster.local", domain);
    corefile::read(&text, &|_| None).ok()
}

/// Follows the ConfigMap; what it says comes by `current`. Without one, `fallback` is in force.
pub async fn follow_config_map(
    client: kube::Client,
    fallback: Current,
    current: watch::Sender<Current>,
    failed: impl Fn(),
) {
    let outages = Outages::default();
    let api = Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE);
    let config = WatchConfig::default().fields(&format!("metadata.name={NAME}"));
    let mut maps = pin!(notices(api, config, &outages, |map| Some(map.clone())));
    let reporter = Reporter {
        controller: "karve-dns".to_owned(),
        instance: None,
    };
    let recorder = Recorder::new(client, reporter);
    while let Some(notice) = maps.next().await {
        let Notice::Changed(_, map) = notice else {
            continue;
        };
        let text = map.as_ref().and_then(|map| map.data.as_ref()?.get(KEY));
        let (Some(map), Some(text)) = (&map, text) else {
            if map.is_some() {
                tracing::warn!("ConfigMap coredns has no Corefile");
            }
            current.send_replace(fallback.clone());
            continue;
        };
        match corefile::read(text, &|name| std::env::var(name).ok()) {
            Ok(plan) => {
                tracing::info!(servers = plan.servers.len(), "Corefile is in force");
                current.send_replace(Current {
                    plan: Arc::new(plan),
                    files: Arc::new(map.data.clone().unwrap_or_default()),
                });
            }
            Err(err) => {
                failed();
                tracing::warn!(err = %err, "Corefile is refused, the one before stays in force");
                tell(&recorder, map, &err).await;
            }
        }
    }
}

async fn tell(recorder: &Recorder, map: &ConfigMap, err: &corefile::Error) {
    let event = Event {
        type_: EventType::Warning,
        reason: "CorefileRefused".to_owned(),
        note: Some(format!(
            "Corefile is refused, the one before stays in force: {err}"
        )),
        action: "Reload".to_owned(),
        secondary: None,
    };
    if let Err(err) = recorder.publish(&event, &map.object_ref(&())).await {
        tracing::debug!(%err, "event was not written");
    }
}

/// The name servers that a resolv.conf names (resolv.conf(5)), on port 53, at most three as in glibc.
pub fn resolvers(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter(|rest| rest.starts_with([' ', '\t']))
        .filter_map(|rest| rest.split_whitespace().next())
        // A zone index names a link of this host (fe80::1%eth0), which no other process shares.
        .filter_map(|address| address.parse().ok())
        .map(|address| SocketAddr::new(address, 53))
        .take(3)
        .collect()
}

/// Tells when a file is replaced or written, by its directory. Ends when that can't be told.
pub async fn changed(path: PathBuf, tell: impl Fn()) {
    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return;
    };
    let Ok(inotify) = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC) else {
        return;
    };
    let flags =
        AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CREATE;
    if inotify.add_watch(directory, flags).is_err() {
        return;
    }
    let Ok(duplicate) = inotify.as_fd().try_clone_to_owned() else {
        return;
    };
    let Ok(events) = readiness::register(duplicate, Interest::READABLE) else {
        return;
    };
    loop {
        let Ok(mut ready) = events.readable().await else {
            return;
        };
        let read = inotify.read_events();
        ready.clear_ready();
        // A ConfigMap's volume replaces a link of its own, which names all its files.
        let concerned = read.into_iter().flatten().any(|event| {
            let named = event.name.as_deref();
            named == Some(name) || named.is_some_and(|name| name == "..data")
        });
        if concerned {
            tell();
        }
    }
}
