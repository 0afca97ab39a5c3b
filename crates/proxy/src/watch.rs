//! Services and EndpointSlices from the API server.

use futures::{Stream, StreamExt, stream};
use karve_watch::{Notice, ObjectName, Outages, notices};
use kube::runtime::watcher;
use kube::{Api, Client};

use crate::objects::{Service, Slice};
use crate::state::State;

/// Something that the API server said.
#[derive(Debug)]
pub(crate) enum Change {
    Service(Notice<Service>),
    Slice(Notice<(ObjectName, Slice)>),
}

/// All changes, from now on and without end, as seen from the node `node_name`.
pub(crate) fn changes(client: &Client, node_name: String) -> impl Stream<Item = Change> + use<> {
    let (config, outages) = (watcher::Config::default(), Outages::default());
    let services = Api::all(client.clone());
    let services = notices(services, config.clone(), &outages, Service::parse);
    let slices = Api::all(client.clone());
    let slices = notices(slices, config, &outages, move |slice| {
        Slice::parse(slice, &node_name)
    });
    stream::select(services.map(Change::Service), slices.map(Change::Slice))
}

/// Takes changes into the state.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    all_services: bool,
    all_slices: bool,
}

impl Intake {
    /// Whether both kinds have been listed: before that, what is missing may merely not have come.
    pub(crate) fn complete(&self) -> bool {
        self.all_services && self.all_slices
    }

    /// Takes one change in.
    pub(crate) fn take(&mut self, state: &mut State, change: Change) {
        match change {
            Change::Service(Notice::Changed(name, service)) => state.set_service(name, service),
            Change::Service(Notice::Complete) => self.all_services = true,
            Change::Slice(Notice::Changed(name, slice)) => state.set_slice(name, slice),
            Change::Slice(Notice::Complete) => self.all_slices = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn services_come_and_go() {
        let (mut intake, mut state) = (Intake::default(), State::default());
        let service = Service {
            cluster_ip: Ipv4Addr::new(10, 96, 0, 50),
            external_ips: Vec::new(),
            ports: Vec::new(),
            internal_local: false,
            external_local: false,
            affinity: None,
        };
        for (service, changes) in [(Some(service), true), (None, true), (None, false)] {
            let name = ObjectName::new("default", "a");
            intake.take(&mut state, Change::Service(Notice::Changed(name, service)));
            assert_eq!(state.is_changed(), changes);
            state.replan();
        }
    }

    #[test]
    fn nothing_is_complete_before_both_kinds_are() {
        let (mut intake, mut state) = (Intake::default(), State::default());
        assert!(!intake.complete());
        intake.take(&mut state, Change::Service(Notice::Complete));
        assert!(!intake.complete());
        intake.take(&mut state, Change::Slice(Notice::Complete));
        assert!(intake.complete());
    }
}
