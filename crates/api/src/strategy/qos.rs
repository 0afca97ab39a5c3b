//! The quality of service class of a Pod, from the requests and limits of cpu and memory.

use crate::quantity::Quantity;
use serde_json::Value;

/// A class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Every container's limits equal its requests.
    Guaranteed,
    /// Something is requested or limited.
    Burstable,
    /// Nothing is.
    BestEffort,
}

impl Class {
    /// As in `status.qosClass`.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Guaranteed => "Guaranteed",
            Class::Burstable => "Burstable",
            Class::BestEffort => "BestEffort",
        }
    }
}

const COUNTED: [&str; 2] = ["cpu", "memory"];

/// Sums for [`COUNTED`]; absent is zero.
#[derive(Default)]
struct Sums([Option<Quantity>; 2]);

impl Sums {
    /// Adds a list's amounts; tells whether it had all of them.
    fn add(&mut self, list: Option<&Value>) -> bool {
        let mut all = true;
        for (sum, name) in self.0.iter_mut().zip(COUNTED) {
            let amount = list
                .and_then(|l| l.get(name))
                .and_then(|v| Quantity::from_json(v).ok())
                .filter(|q| !q.is_zero() && !q.is_negative());
            all &= amount.is_some();
            *sum = match (sum.take(), amount) {
                (Some(sum), Some(amount)) => Some(sum.checked_add(&amount).unwrap_or(sum)),
                (sum, amount) => sum.or(amount),
            };
        }
        all
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

/// The class of a Pod.
pub fn class(pod: &Value) -> Class {
    let spec = &pod["spec"];
    let (mut requests, mut limits) = (Sums::default(), Sums::default());
    let mut limited = true;
    let mut count = |resources: &Value| {
        requests.add(resources.get("requests"));
        limited &= limits.add(resources.get("limits"));
    };
    match spec
        .get("resources")
        .filter(|r| r.get("requests").is_some() || r.get("limits").is_some())
    {
        Some(resources) => count(resources),
        None => {
            for list in ["containers", "initContainers"] {
                for container in spec[list].as_array().into_iter().flatten() {
                    count(&container["resources"]);
                }
            }
        }
    }
    if requests.is_empty() && limits.is_empty() {
        return Class::BestEffort;
    }
    match limited && requests.0 == limits.0 {
        true => Class::Guaranteed,
        false => Class::Burstable,
    }
}
