//! What a cluster showed, compared with what a real one did, by the rules of the recordings' README. Pure.

mod events;
mod history;
mod objects;
mod texts;

use serde_json::Value;

pub use self::events::Event;
pub use self::objects::Shown;
use super::difference::{Difference, documents};

/// What a scenario came to, normalised.
#[derive(Default)]
pub struct Observed {
    /// Objects in the order of their creation.
    pub objects: Vec<Shown>,
    /// Different events in order of first appearance.
    pub events: Vec<Event>,
    /// Answers of kubectl, in the order of the actions.
    pub kubectl: Vec<Value>,
    /// Logs by `Pod/name` or `Pod/name/container`.
    pub logs: Vec<(String, String)>,
    /// Answers of requests that are shown.
    pub requests: Vec<Value>,
    /// Objects that are compared only where they were recorded.
    pub optional: Vec<String>,
}

/// All differences but the loose ones.
pub fn compare(recorded: &Value, loose: &[&str], observed: &Observed) -> Vec<Difference> {
    let mut out = objects::compare(recorded, loose, observed);
    out.extend(events::compare(&recorded["events"], &observed.events));
    out.extend(texts::kubectl(&recorded["kubectl"], &observed.kubectl));
    out.extend(texts::logs(&recorded["logs"], &observed.logs));
    out.extend(requests(&recorded["requests"], &observed.requests));
    strict(out, loose)
}

/// What no loose name covers.
fn strict(mut differences: Vec<Difference>, loose: &[&str]) -> Vec<Difference> {
    differences.retain(|difference| !loose.iter().any(|name| difference.is_covered_by(name)));
    differences
}

fn requests(recorded: &Value, have: &[Value]) -> Vec<Difference> {
    let want = recorded.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut out = Vec::new();
    for number in 0..want.len().max(have.len()) {
        let id = format!("request:{number}");
        match (want.get(number), have.get(number)) {
            (Some(want), Some(have)) => out.extend(documents(&id, want, have)),
            (Some(want), None) => out.push(Difference::new(id, format!("missing, want {want}"))),
            (None, Some(have)) => out.push(Difference::new(id, format!("not wanted: {have}"))),
            (None, None) => {}
        }
    }
    out
}
