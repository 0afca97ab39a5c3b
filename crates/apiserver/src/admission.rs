//! Admission: what the rest of the cluster says about a write.
//!
//! One ordered chain, as upstream has it: [`mutate`] before a strategy prepares the object, [`validate`] when it is whole
//! and valid, again for each attempt to store it. A plugin is a file with `mutate` or `validate`, which begins with the
//! question whether the request concerns it; only webhooks wait for anything. What a plugin needs of other objects it reads
//! from the store, or from a [`crate::snapshot::Snapshot`].
//!
//! Invariant: without webhooks, policies and quotas the chain copies nothing. Deliberately absent: which objects are
//! valid (`karve-api`), and who may ask (`authorize`).

mod attributes;
mod claim_resize;
mod default_class;
mod limit_ranger;
pub mod lookup;
mod namespace_lifecycle;
mod node_restriction;
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

use crate::answer::Refusal;
use crate::call::Call;
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
    namespace_lifecycle::mutate(server, attributes)?;
    limit_ranger::mutate(server, attributes)?;
    service_account::mutate(server, attributes)?;
    node_restriction::mutate(server, attributes)?;
    taint_nodes::mutate(attributes);
    priority::mutate(server, attributes)?;
    tolerations::mutate(attributes);
    default_class::mutate_claim(server, attributes);
    storage_protection::mutate(attributes);
    // Upstream's PodGroupProtection is about a kind that is not served by default.
    runtime_class::mutate(server, attributes)?;
    default_class::mutate_ingress(server, attributes);
    pod_topology::mutate(server, attributes);
    // Here: MutatingAdmissionPolicy.
    webhook::mutate(server, attributes, notes).await
}

/// The validating half.
async fn validate_with(
    server: &Server,
    attributes: &Attributes<'_>,
    notes: &mut Notes,
) -> Result<Admitted, Refusal> {
    limit_ranger::validate(server, attributes)?;
    service_account::validate(server, attributes)?;
    pod_security::validate(server, attributes, notes)?;
    priority::validate(server, attributes)?;
    claim_resize::validate(server, attributes)?;
    runtime_class::validate(server, attributes)?;
    // Here: CertificateApproval, CertificateSigning, ClusterTrustBundleAttest, CertificateSubjectRestriction.
    // No feature that nodes declare (KEP-5328) is one that an update of a Pod could need.
    pod_resize::validate(server, attributes)?;
    // Here: ValidatingAdmissionPolicy.
    webhook::validate(server, attributes, notes).await?;
    let mut admitted = Admitted::default();
    quota::validate(server, attributes, &mut admitted).await?;
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
