//! Which node answers for an address: MetalLB's speaker, in layer 2.
//!
//! Each agent watches Services, Nodes and the pools, and decides alone, by a function that gives the
//! same result on every node, whether it is the one that answers ARP requests for an address. No
//! leader, no lease: when a node is no longer Ready, all others know who is next.
//!
//! An address that some node has as its own is left to that node's kernel.

mod facts;
mod plan;
mod responder;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use futures::stream::{BoxStream, SelectAll};
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use karve_sys::link::{self, Netlink};
use karve_watch::{Notice, ObjectName, Outages, ServiceEvent, notices, record_service_event};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::facts::{Node, Service, SliceNodes};
use self::plan::{View, plan};
use self::responder::Responder;
use crate::pools;

/// Who writes the events.
const COMPONENT: &str = "metallb-speaker";
/// Most changes taken in before they are acted upon.
const CHANGES_MAX: usize = 1024;
/// Time between the first gratuitous answers for an address, in case one gets lost.
const REPEAT: Duration = Duration::from_secs(1);

/// What an announcer needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name of this node.
    pub node_name: String,
    /// The link on which it answers.
    pub interface: String,
}

/// Why an announcer can't run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The link can't be found.
    #[error("find interface to announce on")]
    Link(#[from] link::Error),
    /// The link is not one that speaks ARP.
    #[error("interface {0} has no Ethernet address")]
    NotEthernet(String),
}

/// Something that the API server said.
enum Change {
    Service(Notice<Service>),
    Node(Notice<Node>),
    Slice(Notice<SliceNodes>),
    Pools(Notice<String>),
}

/// Runs the announcer in the network namespace of this process until `shutdown`.
///
/// # Errors
/// When the interface is missing. Failures later on are logged and tried again at the next change.
pub async fn run(
    client: Client,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let Options {
        node_name,
        interface,
    } = options;
    let link = Netlink::open()?.link(&interface)?;
    let mac = link.mac.ok_or(Error::NotEthernet(interface))?;
    let mut announcer = Announcer {
        speaker: Speaker {
            client: client.clone(),
            node_name,
            index: link.index,
            mac,
        },
        responder: None,
        announced: BTreeMap::new(),
    };
    let mut view = View::default();
    let outages = Outages::default();
    let mut watching_slices = false;
    let mut changes = watches(&client, &outages);
    let mut due = None;
    loop {
        let next = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            next = changes.next() => next,
            () = announcer.answer() => None,
            () = at(due) => None,
        };
        take_changes(&mut view, &mut changes, next);
        // Endpoints matter only to Services that must be answered for where their endpoints are.
        if view.needs_slices() && !watching_slices {
            watching_slices = true;
            let (slices, config) = (Api::all(client.clone()), watcher::Config::default());
            let slices = notices(slices, config, &outages, SliceNodes::parse);
            changes.push(slices.map(Change::Slice).boxed());
        }
        if let Err(err) = view.configured.follow(&view.config_maps) {
            warn!(err = &err as &dyn StdError, "pools not understood");
        }
        if view.complete() {
            due = announcer.follow(&view, due).await;
        }
    }
}

type Changes = SelectAll<BoxStream<'static, Change>>;

fn watches(client: &Client, outages: &Outages) -> Changes {
    let config = watcher::Config::default();
    let services = Api::all(client.clone());
    let services = notices(services, config.clone(), outages, Service::parse);
    let nodes = Api::all(client.clone());
    let nodes = notices(nodes, config.clone(), outages, Node::parse);
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), "metallb-system");
    let ours = config.fields("metadata.name=config");
    let pools = notices(config_maps, ours, outages, pools::text);
    let changes = [
        services.map(Change::Service).boxed(),
        nodes.map(Change::Node).boxed(),
        pools.map(Change::Pools).boxed(),
    ];
    changes.into_iter().collect()
}

/// Takes in `next` and whatever else has come by now.
fn take_changes(view: &mut View, changes: &mut Changes, mut next: Option<Change>) {
    let mut taken = 0;
    while let Some(change) = next {
        match change {
            Change::Service(notice) => drop(view.services.take(notice)),
            Change::Node(notice) => drop(view.nodes.take(notice)),
            Change::Slice(notice) => drop(view.slices.take(notice)),
            Change::Pools(notice) => drop(view.config_maps.take(notice)),
        }
        taken += 1;
        next = if taken < CHANGES_MAX {
            changes.next().now_or_never().flatten()
        } else {
            None
        };
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// This node as a speaker.
struct Speaker {
    client: Client,
    node_name: String,
    index: u32,
    mac: link::MacAddress,
}

/// What this node announces.
struct Announcer {
    speaker: Speaker,
    /// None while there is nothing to answer for: then ARP traffic wakes nobody.
    responder: Option<Responder>,
    /// The Services that were told.
    announced: BTreeMap<Ipv4Addr, BTreeSet<ObjectName>>,
}

impl Announcer {
    /// Announces what is now this node's to announce, and repeats what is young when it is `due`;
    /// returns when that, or an attempt that failed, is to be repeated.
    async fn follow(&mut self, view: &View, due: Option<Instant>) -> Option<Instant> {
        let wanted = plan(view, &self.speaker.node_name);
        if wanted == self.announced {
            return match due {
                Some(due) if due <= Instant::now() => {
                    let more = self.responder.as_mut().is_some_and(Responder::repeat);
                    more.then(|| Instant::now() + REPEAT)
                }
                due => due,
            };
        }
        let new = match self.respond(&wanted) {
            Ok(new) => new,
            Err(err) => {
                warn!(err = &err as &dyn StdError, "addresses not announced");
                return Some(Instant::now() + REPEAT);
            }
        };
        for (ip, services) in &wanted {
            let known = self.announced.get(ip);
            for service in services
                .iter()
                .filter(|s| known.is_none_or(|k| !k.contains(*s)))
            {
                info!(%service, %ip, "announcing load balancer address");
                self.tell(view, service).await;
            }
        }
        for (ip, _) in self
            .announced
            .iter()
            .filter(|(ip, _)| !wanted.contains_key(ip))
        {
            info!(%ip, "no longer announcing load balancer address");
        }
        self.announced = wanted;
        if new {
            Some(Instant::now() + REPEAT)
        } else {
            due
        }
    }

    /// Answers for exactly the addresses in `wanted`; whether any is new.
    fn respond(&mut self, wanted: &BTreeMap<Ipv4Addr, BTreeSet<ObjectName>>) -> io::Result<bool> {
        if wanted.is_empty() {
            self.responder = None;
            return Ok(false);
        }
        let responder = match &mut self.responder {
            Some(responder) => responder,
            None => {
                let responder = Responder::open(self.speaker.index, self.speaker.mac)?;
                self.responder.insert(responder)
            }
        };
        Ok(responder.set(wanted.keys().copied().collect()))
    }

    async fn tell(&self, view: &View, service: &ObjectName) {
        let Speaker {
            client, node_name, ..
        } = &self.speaker;
        let event = ServiceEvent {
            service: service.clone(),
            uid: view
                .services
                .get(service)
                .map(|s| s.uid.clone())
                .unwrap_or_default(),
            warning: false,
            reason: "nodeAssigned",
            message: format!("announcing from node {node_name:?} with protocol \"layer2\""),
        };
        record_service_event(client, COMPONENT, Some(node_name), event).await;
    }

    /// Answers requests until that fails; then nothing is announced, and all has to be done anew.
    async fn answer(&mut self) {
        let Some(responder) = &mut self.responder else {
            return std::future::pending().await;
        };
        let err = responder.serve().await;
        warn!(err = &err as &dyn StdError, "answering arp failed");
        self.responder = None;
        self.announced.clear();
    }
}
