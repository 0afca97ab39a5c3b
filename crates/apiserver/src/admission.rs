//! Admission: what the rest of the cluster says about a write.
//!
//! One ordered chain, as upstream has it: [`mutate`] before a strategy prepares the object, [`validate`] when it is whole
//! and valid, again for each attempt to store it. A plugin is a file with `mutate` or `validate`, which begins with the
//! question whether the request concerns it; only webhooks wait for anything. What a plugin needs of other objects it reads
//! from the store, or from a [`crate::follow::Follow`].
//!
//! Invariant: without webhooks, policies and quotas the chain copies nothing. Deliberately absent: which objects are
//! valid (`karve-api`), and who may ask (`authorize`).

mod attributes;
mod certificates;
mod claim_resize;
mod default_class;
mod limit_ranger;
pub mod lookup;
mod namespace_lifecycle;
mod node_restriction;
mod plugins;
mod pod_resize;
mod pod_security;
mod pod_topology;
mod priority;
pub mod quota;
mod runtime_class;
mod service_account;
mod storage_protection;
mod taint_nodes;
mod tolerations;

use karve_store::Op;
use serde_json::Value;

pub use attributes::{Attributes, Notes, Operation, Options, Reinvocation};
pub use plugins::{Plugin, Plugins};

use crate::answer::Refusal;
use crate::call::Call;
use crate::policy;
use crate::server::Server;
use crate::webhook;

/// What a validated request brings along.
#[derive(Default)]
pub struct Admitted {
    /// What belongs to the commit of the object: usage of quotas.
    pub ops: Vec<Op>,
    /// Held until the commit.
    pub turn: Option<quota::Turn>,
}

/// The mutating half.
async fn mutate_with(
    server: &Server,
    attributes: &mut Attributes<'_>,
    notes: &mut Notes,
) -> Result<(), Refusal> {
    round(server, attributes, notes).await?;
    if !std::mem::take(&mut attributes.reinvocation.wanted) {
        return Ok(());
    }
    // Whoever came before a change may have more to say; there is no third round.
    attributes.reinvocation.second = true;
    round(server, attributes, notes).await
}

/// All mutating plugins, once.
async fn round(
    server: &Server,
    attributes: &mut Attributes<'_>,
    notes: &mut Notes,
) -> Result<(), Refusal> {
    let on = |plugin| server.plugins.run(plugin);
    if on(Plugin::NamespaceLifecycle) {
        namespace_lifecycle::mutate(server, attributes)?;
    }
    if on(Plugin::LimitRanger) {
        limit_ranger::mutate(server, attributes)?;
    }
    if on(Plugin::ServiceAccount) {
        service_account::mutate(server, attributes)?;
    }
    if on(Plugin::NodeRestriction) {
        node_restriction::mutate(server, attributes)?;
    }
    if on(Plugin::TaintNodesByCondition) {
        taint_nodes::mutate(attributes);
    }
    if on(Plugin::Priority) {
        priority::mutate(server, attributes)?;
    }
    if on(Plugin::DefaultTolerationSeconds) {
        tolerations::mutate(attributes);
    }
    if on(Plugin::DefaultStorageClass) {
        default_class::mutate_claim(server, attributes);
    }
    if on(Plugin::StorageObjectInUseProtection) {
        storage_protection::mutate(attributes);
    }
    // Upstream's PodGroupProtection is about a kind that is not served by default.
    if on(Plugin::RuntimeClass) {
        runtime_class::mutate(server, attributes)?;
    }
    if on(Plugin::DefaultIngressClass) {
        default_class::mutate_ingress(server, attributes);
    }
    if on(Plugin::PodTopologyLabels) {
        pod_topology::mutate(server, attributes);
    }
    if on(Plugin::MutatingAdmissionPolicy) {
        policy::mutate(server, attributes).await?;
    }
    if on(Plugin::MutatingAdmissionWebhook) {
        webhook::mutate(server, attributes, notes).await?;
    }
    Ok(())
}

/// The validating half.
async fn validate_with(
    server: &Server,
    attributes: &Attributes<'_>,
    notes: &mut Notes,
) -> Result<Admitted, Refusal> {
    let on = |plugin| server.plugins.run(plugin);
    if on(Plugin::LimitRanger) {
        limit_ranger::validate(server, attributes)?;
    }
    if on(Plugin::ServiceAccount) {
        service_account::validate(server, attributes)?;
    }
    if on(Plugin::PodSecurity) {
        pod_security::validate(server, attributes, notes)?;
    }
    if on(Plugin::Priority) {
        priority::validate(server, attributes)?;
    }
    if on(Plugin::PersistentVolumeClaimResize) {
        claim_resize::validate(server, attributes)?;
    }
    if on(Plugin::RuntimeClass) {
        runtime_class::validate(server, attributes)?;
    }
    certificates::validate(server, attributes, &on)?;
    // No feature that nodes declare (KEP-5328) is one that an update of a Pod could need.
    if on(Plugin::PodResizeValidator) {
        pod_resize::validate(server, attributes)?;
    }
    if on(Plugin::ValidatingAdmissionPolicy) {
        policy::validate(server, attributes, notes).await?;
    }
    if on(Plugin::ValidatingAdmissionWebhook) {
        webhook::validate(server, attributes, notes).await?;
    }
    let mut admitted = Admitted::default();
    if on(Plugin::ResourceQuota) {
        quota::validate(server, attributes, &mut admitted).await?;
    }
    Ok(admitted)
}

/// Lets the cluster change a new or changed object, or refuse it. `old` is the stored object of an update.
pub async fn mutate(
    server: &Server,
    call: &mut Call,
    object: &mut Value,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<(), Refusal> {
    let mut notes = Notes::default();
    let mut attributes = Attributes::of_write(call, object, old, dry_run);
    let outcome = mutate_with(server, &mut attributes, &mut notes).await;
    call.note(notes);
    outcome
}

/// Lets the cluster refuse a whole and valid object.
pub async fn validate(
    server: &Server,
    call: &mut Call,
    object: &mut Value,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<Admitted, Refusal> {
    let mut notes = Notes::default();
    let attributes = Attributes::of_write(call, object, old, dry_run);
    let outcome = validate_with(server, &attributes, &mut notes).await;
    call.note(notes);
    outcome
}

/// Both halves for what is made and not stored: bindings, evictions, tokens, reviews.
pub async fn create(
    server: &Server,
    call: &mut Call,
    object: &mut Value,
    dry_run: bool,
) -> Result<(), Refusal> {
    mutate(server, call, object, None, dry_run).await?;
    validate(server, call, object, None, dry_run)
        .await
        .map(|_| ())
}

/// Both halves for the deletion of `old`. `options` is the DeleteOptions.
pub async fn delete(
    server: &Server,
    call: &mut Call,
    old: &Value,
    options: Value,
    dry_run: bool,
) -> Result<(), Refusal> {
    let mut notes = Notes::default();
    let mut attributes = Attributes {
        operation: Operation::Delete,
        call,
        object: None,
        old: Some(old),
        dry_run,
        options: Options::Given(options),
        reinvocation: Reinvocation::default(),
    };
    let outcome = both(server, &mut attributes, &mut notes).await;
    call.note(notes);
    outcome
}

/// Both halves for a connection to `exec`, `attach`, `portforward` or `proxy`, whose options are its object.
pub async fn connect(server: &Server, call: &mut Call) -> Result<(), Refusal> {
    let mut options = attributes::connect_options(call);
    let mut notes = Notes::default();
    let mut attributes = Attributes {
        operation: Operation::Connect,
        call,
        object: Some(&mut options),
        old: None,
        dry_run: false,
        options: Options::None,
        reinvocation: Reinvocation::default(),
    };
    let outcome = both(server, &mut attributes, &mut notes).await;
    call.note(notes);
    outcome
}

async fn both(
    server: &Server,
    attributes: &mut Attributes<'_>,
    notes: &mut Notes,
) -> Result<(), Refusal> {
    mutate_with(server, attributes, notes).await?;
    validate_with(server, attributes, notes).await.map(|_| ())
}
