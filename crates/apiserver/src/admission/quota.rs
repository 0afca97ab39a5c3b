//! ResourceQuota: what a namespace uses stays within its quotas, however many write at once.
//!
//! The new usage is committed together with the object, on the condition that the quota is still the one that was
//! checked. So usage never says less than there is, and nothing is charged for what was not made. Writers of a namespace
//! with quotas go one after another, in the order in which they came, or most of them would meet a quota that changed.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use karve_api::amounts;
use karve_api::quota::{Evaluator, Request, check};
use karve_api::resource::Table;
use karve_store::{Op, Range};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Admitted, Attributes, Operation, lookup};
use crate::answer::Refusal;
use crate::server::Server;
use crate::{keys, object, own};

/// Who writes next, for each namespace in which somebody wants to.
#[derive(Default)]
pub struct Turns(Arc<Mutex<HashMap<String, Arc<Semaphore>>>>);

/// The right to write in a namespace with quotas.
pub struct Turn {
    namespace: String,
    waiting: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Turns {
    async fn take(&self, namespace: &str) -> Turn {
        let queue = {
            let mut waiting = self.0.lock();
            let queue = waiting.entry(namespace.to_owned());
            queue.or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
        };
        // Nobody closes it.
        let permit = queue.acquire_owned().await.ok();
        Turn {
            namespace: namespace.to_owned(),
            waiting: self.0.clone(),
            permit,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        self.permit = None;
        // Whoever waits, or is about to, holds it, too.
        let unused = |queue: &Arc<Semaphore>| Arc::strong_count(queue) == 1;
        if waiting.get(&self.namespace).is_some_and(unused) {
            waiting.remove(&self.namespace);
        }
    }
}

/// Charges the request, or refuses it.
pub async fn validate(
    server: &Server,
    attributes: &Attributes<'_>,
    admitted: &mut Admitted,
) -> Result<(), Refusal> {
    let (resource, namespace) = (&attributes.call.resource, attributes.namespace());
    let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
    if namespace.is_empty() || !writes || !has_quotas(server, namespace) {
        return Ok(());
    }
    let request = Request {
        subresource: &attributes.call.path.subresource,
        object: attributes.object(),
        old: attributes.old,
    };
    let Some(evaluator) = Evaluator::of(&resource.group, &resource.plural)
        .filter(|evaluator| evaluator.handles(request))
    else {
        return Ok(());
    };
    let turn = server.quota_turns.take(namespace).await;
    let (entries, quotas): (Vec<_>, Vec<Value>) =
        lookup::list(server, "", "resourcequotas", namespace)
            .into_iter()
            .unzip();
    let changed = check(&quotas, &evaluator, request, Timestamp::now())
        .map_err(|why| attributes.forbidden(&why))?;
    if changed.is_empty() || attributes.dry_run {
        return Ok(());
    }
    let kind = Table::builtin()
        .by_kind("", "v1", "ResourceQuota")
        .expect("built in");
    for (index, used) in changed {
        let (entry, mut quota) = (&entries[index], quotas[index].clone());
        object::member_mut(&mut quota, "status").insert("used".into(), amounts::to_value(&used));
        own::record(kind, "status", Some(&quotas[index]), &mut quota);
        admitted.ops.push(Op::update(
            entry.key().clone(),
            entry.revision(),
            object::encode(&quota, kind),
        ));
    }
    admitted.turn = Some(turn);
    Ok(())
}

fn has_quotas(server: &Server, namespace: &str) -> bool {
    let prefix = keys::core("resourcequotas", namespace, "");
    let range = Range {
        prefix: &prefix,
        limit: Some(1),
        ..Range::default()
    };
    server
        .store
        .range(&range)
        .is_ok_and(|page| !page.entries.is_empty())
}
