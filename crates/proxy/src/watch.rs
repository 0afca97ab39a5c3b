//! Services, EndpointSlices and this node's object from the API server.

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::Node;
use karve_watch::{Notice, ObjectName, Outages, notices};
use kube::runtime::watcher;
use kube::{Api, Client};

use crate::dataplane::Family;
use crate::objects::{Service, Site, Slice};
use crate::proxier::Proxier;

/// What a Service is in each family.
type ByFamily = [Option<Service>; 2];

/// Something that the API server said.
#[derive(Debug)]
pub(crate) enum Change {
    Service(Notice<ByFamily>),
    Slice(Notice<(ObjectName, Slice)>),
    Node(Notice<Site>),
}

/// All changes, from now on and without end, as seen from the node `node_name`.
pub(crate) fn changes(client: &Client, node_name: String) -> impl Stream<Item = Change> + use<> {
    let (config, outages) = (watcher::Config::default(), Outages::default());
    let services = Api::all(client.clone());
    let services = notices(services, config.clone(), &outages, |service| {
        let by_family = Family::BOTH.map(|family| Service::parse(service, family));
        by_family.iter().any(Option::is_some).then_some(by_family)
    });
    let this_node = config.clone().fields(&format!("metadata.name={node_name}"));
    let nodes: Api<Node> = Api::all(client.clone());
    let name = node_name.clone();
    let nodes = notices(nodes, this_node, &outages, move |node: &Node| {
        let site = Site::parse(node);
        (site.node == name).then_some(site)
    });
    let slices = Api::all(client.clone());
    let slices = notices(slices, config, &outages, move |slice| {
        Slice::parse(slice, &node_name)
    });
    let objects = stream::select(services.map(Change::Service), slices.map(Change::Slice));
    stream::select(objects, nodes.map(Change::Node))
}

/// Takes changes into the states of the families.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    all_services: bool,
    all_slices: bool,
    all_nodes: bool,
    /// This node, if it has an object.
    pub site: Option<Site>,
    /// How many changes of Services and of slices were taken in.
    pub services: u64,
    pub slices: u64,
    /// Somebody wants to know when Services are in the kernel.
    pub tells: bool,
    /// Services that have come or gone, of which nobody was told yet.
    pub changed_services: Vec<(ObjectName, bool)>,
}

impl Intake {
    /// Whether all kinds have been listed: before that, what is missing may merely not have come.
    pub(crate) fn complete(&self) -> bool {
        self.all_services && self.all_slices && self.all_nodes
    }

    /// Takes one change in.
    pub(crate) fn take(&mut self, proxiers: &mut [Proxier], change: Change) {
        match change {
            Change::Service(Notice::Changed(name, by_family)) => {
                self.services += 1;
                if self.tells {
                    let there = by_family.is_some();
                    self.changed_services.push((name.clone(), there));
                }
                let mut by_family = by_family.unwrap_or_default();
                for proxier in proxiers {
                    let service = by_family[proxier.family() as usize].take();
                    proxier.state.set_service(name.clone(), service);
                }
            }
            Change::Service(Notice::Complete) => self.all_services = true,
            Change::Slice(Notice::Changed(name, mut slice)) => {
                self.slices += 1;
                for proxier in proxiers {
                    let family = proxier.family();
                    let slice = slice.take_if(|(_, slice)| slice.family == family);
                    proxier.state.set_slice(name.clone(), slice);
                }
            }
            Change::Slice(Notice::Complete) => self.all_slices = true,
            Change::Node(Notice::Changed(_, site)) => {
                // A node whose object has gone keeps what it knew: only its health changes.
                if let Some(site) = &site {
                    let facts = |proxier: &mut Proxier| proxier.state.set_site(site.clone());
                    proxiers.iter_mut().for_each(facts);
                }
                self.site = site;
            }
            Change::Node(Notice::Complete) => self.all_nodes = true,
        }
    }
}
