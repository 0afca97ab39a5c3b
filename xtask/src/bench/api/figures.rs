//! The figures of the API server, each beside what is aimed at and what upstream needs for the same work.
//!
//! Goals and upstream's figures are data here, so that the table for people and the one for programs agree.
//! Deliberately absent: measuring.

use serde_json::{Value, json};

/// What a figure is compared with: the goal, and upstream's.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    goal: f64,
    upstream: f64,
    more_is_better: bool,
}

/// At most `goal` is wanted.
pub const fn below(goal: f64, upstream: f64) -> Option<Peer> {
    Some(Peer {
        goal,
        upstream,
        more_is_better: false,
    })
}

/// At least `goal` is wanted.
pub const fn above(goal: f64, upstream: f64) -> Option<Peer> {
    Some(Peer {
        goal,
        upstream,
        more_is_better: true,
    })
}

/// One figure.
#[derive(Debug)]
pub struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    peer: Option<Peer>,
}

impl Figure {
    /// A figure; what the load generator did not say is shown as missing.
    pub fn new(
        name: impl Into<String>,
        value: &Value,
        unit: &'static str,
        peer: Option<Peer>,
    ) -> Self {
        Self {
            name: name.into(),
            value: value.as_f64().unwrap_or(f64::NAN),
            unit,
            peer,
        }
    }

    fn meets(&self) -> Option<bool> {
        let peer = self.peer?;
        Some(match peer.more_is_better {
            true => self.value >= peer.goal,
            false => self.value <= peer.goal,
        })
    }

    /// A line of the table for people.
    pub fn line(&self) -> String {
        let own = format!("{} {}", number(self.value), self.unit);
        let line = format!("{:<50} {own:>16}", self.name);
        match (self.peer, self.meets()) {
            (Some(peer), Some(meets)) => {
                let verdict = if meets { "met" } else { "missed" };
                let (goal, upstream) = (number(peer.goal), number(peer.upstream));
                format!("{line}   goal {goal:>9} {verdict:<7} upstream {upstream:>9}")
            }
            _ => line,
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "goal": self.peer.map(|p| p.goal),
            "upstream": self.peer.map(|p| p.upstream),
            "met": self.meets(),
        })
    }
}

/// Three digits that matter, and no more after the point than they need.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figure_is_judged_by_its_goal() {
        for (value, peer, meets) in [
            (json!(49.0), below(50.0, 3100.0), Some(true)),
            (json!(51), below(50.0, 3100.0), Some(false)),
            (json!(14_500), above(14_500.0, 1450.0), Some(true)),
            (json!(14_499), above(14_500.0, 1450.0), Some(false)),
            (Value::Null, below(1.0, 10.0), Some(false)),
            (json!(1), None, None),
        ] {
            assert_eq!(
                Figure::new("it", &value, "ms", peer).meets(),
                meets,
                "{value}"
            );
        }
    }
}
