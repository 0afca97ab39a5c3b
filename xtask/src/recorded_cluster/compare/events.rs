//! Events: the same set, and for each object the same order.

use serde_json::Value;

use super::Difference;

/// Extra events of these reasons are let pass.
const LET_PASS: [&str; 4] = [
    "SandboxChanged",
    "NodeNotReady",
    "FailedToUpdateEndpoint",
    "FailedToUpdateEndpointSlices",
];

/// An event, whose repetitions are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `Pod/a`
    pub involved: String,
    /// `spec.containers{c}`
    pub field: String,
    pub kind: String,
    pub reason: String,
    pub message: String,
    /// Who reported it.
    pub from: String,
}

impl Event {
    fn recorded(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        Self {
            involved: text("involved"),
            field: text("field"),
            kind: text("type"),
            reason: text("reason"),
            message: text("message"),
            from: text("from"),
        }
    }

    fn id(&self) -> String {
        let Self {
            involved,
            field,
            kind,
            reason,
            message,
            from,
        } = self;
        format!("event:{involved}|{field}|{kind}|{reason}|{message}|{from}")
    }

    fn of_generated_name(&self) -> bool {
        self.involved.contains("<rand>") || self.involved.contains("<minute>")
    }
}

/// What differs from the recorded ones.
pub fn compare(recorded: &Value, have: &[Event]) -> Vec<Difference> {
    let want: Vec<Event> = recorded
        .as_array()
        .into_iter()
        .flatten()
        .map(Event::recorded)
        .collect();
    let mut out = Vec::new();
    for event in want.iter().filter(|event| !have.contains(event)) {
        out.push(Difference::new(event.id(), "missing"));
    }
    let extra = |event: &&Event| !want.contains(event) && !LET_PASS.contains(&&*event.reason);
    for event in have.iter().filter(extra) {
        out.push(Difference::new(event.id(), "not wanted"));
    }
    let mut objects: Vec<&str> = Vec::new();
    for event in want.iter().filter(|event| !event.of_generated_name()) {
        if !objects.contains(&&*event.involved) {
            objects.push(&event.involved);
        }
    }
    for object in objects {
        let of = |events: &[Event], others: &[Event]| -> Vec<String> {
            let both = events
                .iter()
                .filter(|one| one.involved == object && others.contains(one));
            both.map(|event| format!("{} ({})", event.reason, event.message))
                .collect()
        };
        let (want, have) = (of(&want, have), of(have, &want));
        if want != have {
            let text = format!("want {}, have {}", want.join(", "), have.join(", "));
            out.push(Difference::new(format!("event-order:{object}"), text));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(involved: &str, reason: &str) -> Event {
        Event {
            involved: involved.into(),
            field: String::new(),
            kind: "Normal".into(),
            reason: reason.into(),
            message: "m".into(),
            from: "f".into(),
        }
    }

    #[test]
    fn set_and_order() {
        let one = |involved: &str, reason: &str| json!({"involved": involved, "type": "Normal", "reason": reason, "message": "m", "from": "f", "count": 3});
        let recorded = json!([
            one("Pod/a", "A"),
            one("Pod/a", "B"),
            one("Pod/a-<rand>", "A"),
            one("Pod/a-<rand>", "B")
        ]);
        let ids = |have: &[Event]| -> Vec<String> {
            compare(&recorded, have)
                .into_iter()
                .map(|difference| difference.id)
                .collect()
        };
        let (a, b) = (event("Pod/a", "A"), event("Pod/a", "B"));
        let (c, d) = (event("Pod/a-<rand>", "A"), event("Pod/a-<rand>", "B"));
        let none: [&str; 0] = [];
        assert_eq!(ids(&[a.clone(), b.clone(), c.clone(), d.clone()]), none);
        assert_eq!(
            ids(&[a.clone(), b.clone(), d.clone(), c.clone()]),
            none,
            "names that were generated have no order"
        );
        assert_eq!(
            ids(&[b.clone(), a.clone(), c.clone(), d.clone()]),
            ["event-order:Pod/a"]
        );
        assert_eq!(
            ids(&[a.clone(), b.clone(), c.clone()]),
            ["event:Pod/a-<rand>||Normal|B|m|f"]
        );
        let pass = event("Pod/a", "SandboxChanged");
        assert_eq!(
            ids(&[a.clone(), b.clone(), c.clone(), d.clone(), pass]),
            none
        );
        assert_eq!(
            ids(&[a, b, c, d, event("Pod/a", "X")]),
            ["event:Pod/a||Normal|X|m|f"]
        );
    }
}
