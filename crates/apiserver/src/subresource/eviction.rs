//! `eviction`: a deletion that disruption budgets may refuse.

use karve_api::resource::Table;
use karve_api::selector::LabelSelector;
use karve_api::status::{Cause, Status};
use karve_store::{Op, Range};
use serde_json::Value;

use crate::answer::{HttpResponse, Refusal};
use crate::call::Call;
use crate::delete::{self, Admission, Options};
use crate::object::{self, Meta};
use crate::server::Server;
use crate::write::{self, Committed, FieldValidation};
use crate::{admission, keys, respond};

/// How often a budget may meet another writer.
const ATTEMPTS: usize = 16;
const RETRY_SECONDS: u32 = 10;

/// Answers `POST pods/NAME/eviction`.
pub async fn evict(server: &Server, call: &mut Call, body: &[u8]) -> Result<HttpResponse, Refusal> {
    let mut dry_run = call.query.dry_run("CreateOptions")?;
    let validation = FieldValidation::parse(call, "CreateOptions")?;
    let kind = call.body_kind();
    let mut eviction = write::decode_body(call, body, &kind, validation)?;
    write::check_names(call, &eviction)?;
    admission::create(server, call, &mut eviction, dry_run).await?;
    let options = Options::from_value(&eviction["deleteOptions"])?;
    dry_run |= options.dry_run();
    let entry = server
        .store
        .get(&call.key())
        .ok_or_else(|| call.not_found())?;
    let pod = object::decode(entry.value(), &call.resource);
    if counts(&pod) && !dry_run {
        take_from_budget(server, call, &pod).await?;
    }
    let name = call.name().to_owned();
    delete::delete_one(server, call, &name, &options, Admission::Over).await?;
    Ok(respond::status_to(call, &Status::created()))
}

/// Pods that are over, or have not begun, or go already, may always be evicted.
fn counts(pod: &Value) -> bool {
    !pod.is_deleting()
        && !matches!(
            pod["status"]["phase"].as_str(),
            Some("Succeeded" | "Failed" | "Pending")
        )
}

async fn take_from_budget(server: &Server, call: &Call, pod: &Value) -> Result<(), Refusal> {
    let budgets = Table::builtin()
        .lookup("policy", "v1", "poddisruptionbudgets")
        .expect("built in");
    let prefix = keys::prefix(budgets, call.namespace());
    for _ in 0..ATTEMPTS {
        let page = server
            .store
            .range(&Range {
                prefix: &prefix,
                ..Range::default()
            })
            .map_err(|e| Status::internal(e.to_string()))?;
        let mut matching = page.entries.iter().filter_map(|entry| {
            let budget = object::decode(entry.value(), budgets);
            let selector = LabelSelector::from_object(budget["spec"].get("selector")).ok()?;
            selector.matches_object(pod).then_some((entry, budget))
        });
        let Some((entry, mut budget)) = matching.next() else {
            return Ok(());
        };
        if matching.next().is_some() {
            let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Status::internal(why).into());
        }
        take(&mut budget, pod)?;
        let op = Op::update(
            entry.key().clone(),
            entry.revision(),
            object::encode(&budget, budgets),
        );
        if let Committed::Done(_) = write::commit(server, vec![op]).await? {
            return Ok(());
        }
    }
    Err(
        Status::too_many_requests("Too many requests, please try again later.", RETRY_SECONDS)
            .into(),
    )
}

fn take(budget: &mut Value, pod: &Value) -> Result<(), Refusal> {
    const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
    let name = budget.meta("name").to_owned();
    let refused = |why: String| {
        let mut status = Status::too_many_requests(REFUSED, 0);
        if let Some(details) = &mut status.details {
            details.causes.push(Cause {
                reason: "DisruptionBudget".into(),
                message: why,
                field: String::new(),
            });
        }
        Err(Refusal::from(status))
    };
    let observed = object::number(&budget["status"]["observedGeneration"]);
    if observed < object::number(&budget["metadata"]["generation"]) {
        let mut status = Status::too_many_requests(REFUSED, RETRY_SECONDS);
        if let Some(details) = &mut status.details {
            let message =
                format!("The disruption budget {name} is still being processed by the server.");
            details.causes.push(Cause {
                reason: "DisruptionBudget".into(),
                message,
                field: String::new(),
            });
        }
        return Err(status.into());
    }
    let allowed = object::number(&budget["status"]["disruptionsAllowed"]);
    if allowed <= 0 {
        let (needed, healthy) = (
            object::number(&budget["status"]["desiredHealthy"]),
            object::number(&budget["status"]["currentHealthy"]),
        );
        return refused(format!(
            "The disruption budget {name} needs {needed} healthy pods and has {healthy} currently"
        ));
    }
    let status = object::member_mut(budget, "status");
    status.insert("disruptionsAllowed".into(), (allowed - 1).into());
    let disrupted = status
        .entry("disruptedPods")
        .or_insert(Value::Object(Default::default()));
    if !disrupted.is_object() {
        *disrupted = Value::Object(Default::default());
    }
    disrupted[pod.meta("name")] = write::now().into();
    Ok(())
}
