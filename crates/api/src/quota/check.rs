//! Whether a request fits in the quotas of its namespace.

use jiff::Timestamp;
use serde_json::Value;

use super::Evaluator;
use super::pods;
use super::scopes;
use crate::amounts::{self, Amounts};
use crate::quantity::Quantity;

/// A create (without `old`) or an update.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Empty when it is about the object itself.
    pub subresource: &'a str,
    /// The object as it would be stored.
    pub object: &'a Value,
    /// The object as it is stored.
    pub old: Option<&'a Value>,
}

impl Evaluator {
    /// Whether a request could change what is used.
    pub fn handles(&self, request: Request<'_>) -> bool {
        let creates = request.old.is_none();
        match (self, request.subresource) {
            (Evaluator::Pods, "") => {
                let terminating = pods::is_terminating(request.object);
                request
                    .old
                    .is_none_or(|old| pods::is_terminating(old) != terminating)
            }
            (Evaluator::Pods, "resize") | (Evaluator::Claims, "status") => !creates,
            (Evaluator::Services | Evaluator::Claims | Evaluator::ResourceClaims, "") => true,
            (Evaluator::Count { .. }, "") => creates,
            _ => false,
        }
    }
}

/// What `used` of each changed quota (by its index) would be, or why the request doesn't fit.
///
/// Quotas are whole objects; only what their status says counts, so a quota that no controller has seen bounds nothing.
pub fn check(
    quotas: &[Value],
    evaluator: &Evaluator,
    request: Request<'_>,
    now: Timestamp,
) -> Result<Vec<(usize, Amounts)>, String> {
    let concerned = concerned(quotas, evaluator, request.object)?;
    if concerned.is_empty() {
        return Ok(Vec::new());
    }
    let usage = evaluator.usage(request.object, now);
    let negative: Vec<&str> = usage
        .iter()
        .filter(|(_, amount)| amount.is_negative())
        .map(|(name, _)| name.as_str())
        .collect();
    if !negative.is_empty() {
        let names = negative.join(",");
        return Err(format!("quota usage is negative for resource(s): {names}"));
    }
    let mut changed = Vec::new();
    for index in concerned {
        let quota = &quotas[index];
        // Whoever comes into the quota by the update counts whole.
        let before = request
            .old
            .filter(|old| covers(quota, evaluator, old))
            .map(|old| evaluator.usage(old, now))
            .unwrap_or_default();
        let delta = growth(&usage, &before);
        if let Some(used) = charge(quota, &delta, request.subresource)? {
            changed.push((index, used));
        }
    }
    Ok(changed)
}

fn hard(quota: &Value) -> impl Iterator<Item = &str> {
    let members = quota["status"]["hard"].as_object().into_iter().flatten();
    members.map(|(name, _)| name.as_str())
}

fn covers(quota: &Value, evaluator: &Evaluator, object: &Value) -> bool {
    !evaluator.names(hard(quota)).is_empty()
        && scopes::matches(quota, |scope| evaluator.in_scope(scope, object))
}

/// The quotas that the object counts in.
fn concerned(
    quotas: &[Value],
    evaluator: &Evaluator,
    object: &Value,
) -> Result<Vec<usize>, String> {
    let mut concerned = Vec::new();
    for (index, quota) in quotas.iter().enumerate() {
        if !covers(quota, evaluator, object) {
            continue;
        }
        let mut names = evaluator.names(hard(quota));
        let quota_name = quota["metadata"]["name"].as_str().unwrap_or_default();
        if let Some(why) = evaluator.missing(&names, object) {
            return Err(format!("failed quota: {quota_name}: {why}"));
        }
        let used = &quota["status"]["used"];
        if names.iter().any(|name| used.get(*name).is_none()) {
            names.sort_unstable();
            let names = names.join(",");
            return Err(format!(
                "status unknown for quota: {quota_name}, resources: {names}"
            ));
        }
        concerned.push(index);
    }
    Ok(concerned)
}

/// What is used more than before; what is used less is given back by the controller.
fn growth(usage: &Amounts, before: &Amounts) -> Amounts {
    let more = |name: &String, amount: &Quantity| match before.get(name) {
        Some(before) => amount.checked_sub(before),
        None => Some(amount.clone()),
    };
    usage
        .iter()
        .filter_map(|(name, amount)| Some((name.clone(), more(name, amount)?)))
        .filter(|(_, more)| !more.is_zero() && !more.is_negative())
        .collect()
}

/// The new `used`; `None` when the request does not change it.
fn charge(quota: &Value, delta: &Amounts, subresource: &str) -> Result<Option<Amounts>, String> {
    let status = &quota["status"];
    let (hard, used) = (
        amounts::read(&status["hard"]),
        amounts::read(&status["used"]),
    );
    let requested: Amounts = delta
        .iter()
        .filter(|(name, _)| hard.contains_key(*name))
        .map(|(name, amount)| (name.clone(), amount.clone()))
        .collect();
    if requested.is_empty() {
        return Ok(None);
    }
    let mut next = used.clone();
    amounts::add(&mut next, &requested);
    let exceeded: Vec<&String> = requested
        .keys()
        .filter(|name| next.get(*name) > hard.get(*name))
        .collect();
    // A status tells what is already so.
    if exceeded.is_empty() || subresource == "status" {
        return Ok(Some(next));
    }
    let only = |all: &Amounts| {
        let kept = all.iter().filter(|(name, _)| exceeded.contains(name));
        amounts::list(
            &kept
                .map(|(name, amount)| (name.clone(), amount.clone()))
                .collect(),
        )
    };
    Err(format!(
        "exceeded quota: {}, requested: {}, used: {}, limited: {}",
        quota["metadata"]["name"].as_str().unwrap_or_default(),
        only(&requested),
        only(&used),
        only(&hard),
    ))
}
