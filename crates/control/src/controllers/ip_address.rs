//! Repairs what ties Services and their addresses: each ClusterIP has an IPAddress that names its Service, and each
//! IPAddress of the allocator a Service that has it.
//!
//! The API server writes both in one commit, so that only somebody's hand breaks it. The two watches may show one commit
//! at different moments: what looks wrong is looked at again, and read from the server, before anything is said or done.
//! [`plan`] is upstream's `RepairIPAddress`. Node ports need none of it: their locks can't be reached from outside.

mod plan;

use std::{collections::HashSet, net::IpAddr, sync::Arc, time::Duration};

use k8s_openapi::{
    api::{
        core::v1::Service,
        networking::v1::{IPAddress, ServiceCIDR},
    },
    jiff::Timestamp,
};
use kube::api::DeleteParams;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use self::plan::{Finding, Repair};
use super::{Context, service_cidr::containing};
use crate::{
    event::{Kind, Recorder, reference},
    queue::{Outcome, Queue},
    watch::Key,
    write::{self, Writer},
};

/// What looks wrong is looked at again after this time.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// What is checked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Subject {
    Service(Key),
    Address(Key),
}

struct Controller {
    context: Context,
    addresses: Writer<IPAddress>,
    services: Writer<Service>,
    recorder: Recorder,
    /// What looked wrong once.
    suspects: Mutex<HashSet<Subject>>,
}

/// Runs the controller until shutdown.
pub(super) async fn run(context: Context, shutdown: CancellationToken) {
    let queue: Queue<Subject> = Queue::new();
    let changed = queue.clone();
    context.kinds.services.subscribe(move |change| {
        changed.add_all(change.new.map(|one| Subject::Service(Key::of(&**one))));
        // Its addresses, should they outlive it.
        let gone = change.old.filter(|_| change.new.is_none());
        let addresses = gone.map(|one| plan::addresses(one)).unwrap_or_default();
        changed.add_all(
            addresses
                .iter()
                .map(|one| Subject::Address(Key::new("", one))),
        );
    });
    let changed = queue.clone();
    context.kinds.ip_addresses.subscribe(move |change| {
        let Some(address) = change.latest() else {
            return;
        };
        changed.add(Subject::Address(Key::of(&**address)));
        changed.add_all(plan::parent(address).map(Subject::Service));
    });
    let controller = Arc::new(Controller {
        addresses: Writer::new(&context.client, &context.kinds.ip_addresses),
        services: Writer::new(&context.client, &context.kinds.services),
        recorder: context.recorder.component("ipallocator-repair-controller"),
        suspects: Mutex::default(),
        context,
    });
    let reconcile = move |subject| {
        let controller = Arc::clone(&controller);
        async move { controller.reconcile(subject).await }
    };
    queue.run("ip-address", 2, shutdown, reconcile).await;
}

impl Controller {
    async fn reconcile(&self, subject: Subject) -> Result<Outcome, write::Error> {
        let outcome = match &subject {
            Subject::Service(key) => self.check_service(&subject, key).await,
            Subject::Address(key) => self.check_address(&subject, key).await,
        };
        if matches!(outcome, Ok(Outcome::Settled)) {
            self.suspects.lock().remove(&subject);
        }
        outcome
    }

    /// True when it was a suspect already.
    fn suspect(&self, subject: &Subject) -> bool {
        !self.suspects.lock().insert(subject.clone())
    }

    fn has_range(&self, ranges: &[Arc<ServiceCIDR>], address: IpAddr) -> bool {
        containing(ranges, address).next().is_some()
    }

    async fn check_service(&self, subject: &Subject, key: &Key) -> Result<Outcome, write::Error> {
        let kinds = &self.context.kinds;
        let Some(service) = kinds.services.get(key) else {
            return Ok(Outcome::Settled);
        };
        let ranges = kinds.service_cidrs.all();
        for text in plan::addresses(&service) {
            let known = kinds.ip_addresses.get(&Key::new("", &text));
            let parent = |key: &Key| kinds.services.get(key);
            let in_range = |address| self.has_range(&ranges, address);
            if plan::service(&service, &text, known.as_deref(), &in_range, &parent).is_none() {
                continue;
            }
            if !self.suspect(subject) {
                return Ok(Outcome::After(SECOND_LOOK));
            }
            let Some(service) = self.services.read(key).await? else {
                return Ok(Outcome::Settled);
            };
            let known = self.addresses.read(&Key::new("", &text)).await?;
            let Some(finding) = plan::service(&service, &text, known.as_ref(), &in_range, &parent)
            else {
                continue;
            };
            self.tell(reference(&service), "ClusterIPAllocation", &finding);
            self.repair(&text, known.as_ref(), &service, finding.repair)
                .await?;
        }
        Ok(Outcome::Settled)
    }

    async fn check_address(&self, subject: &Subject, key: &Key) -> Result<Outcome, write::Error> {
        let kinds = &self.context.kinds;
        let Some(address) = kinds.ip_addresses.get(key) else {
            return Ok(Outcome::Settled);
        };
        let service = plan::parent(&address).and_then(|key| kinds.services.get(&key));
        if plan::address(&address, service.as_deref(), Timestamp::now()).is_settled() {
            return Ok(Outcome::Settled);
        }
        if !self.suspect(subject) {
            return Ok(Outcome::After(SECOND_LOOK));
        }
        let Some(address) = self.addresses.read(key).await? else {
            return Ok(Outcome::Settled);
        };
        let service = match plan::parent(&address) {
            Some(key) => self.services.read(&key).await?,
            None => None,
        };
        match plan::address(&address, service.as_ref(), Timestamp::now()) {
            plan::Verdict::Fine => Ok(Outcome::Settled),
            plan::Verdict::NotYet(wait) => Ok(Outcome::After(wait)),
            plan::Verdict::Wrong(finding) => {
                self.tell(reference(&address), "IPAddressAllocation", &finding);
                let uid = address.metadata.uid.as_deref();
                self.addresses
                    .delete(key, uid, DeleteParams::default())
                    .await?;
                Ok(Outcome::Settled)
            }
        }
    }

    fn tell(
        &self,
        regarding: k8s_openapi::api::core::v1::ObjectReference,
        action: &'static str,
        finding: &Finding,
    ) {
        if let Some((reason, message)) = &finding.event {
            self.recorder.send(
                regarding,
                Kind::Warning,
                reason,
                message.clone(),
                Some(action),
            );
        }
    }

    async fn repair(
        &self,
        text: &str,
        known: Option<&IPAddress>,
        service: &Service,
        repair: Repair,
    ) -> Result<(), write::Error> {
        if repair == Repair::Nothing {
            return Ok(());
        }
        if let Some(known) = known {
            let uid = known.metadata.uid.as_deref();
            self.addresses
                .delete(&Key::new("", text), uid, DeleteParams::default())
                .await?;
        }
        match self
            .addresses
            .create(&plan::new_address(text, service))
            .await
        {
            Err(err) if err.is_already_exists() => Ok(()),
            created => created.map(drop),
        }
    }
}
