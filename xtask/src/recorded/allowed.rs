//! Differences that are meant: `recorded-allowed.txt`, a line each with scenario, step and reason.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// A scenario, as `topic/name`, and a step of it, counted from 0.
type Place = (String, usize);

/// The list, and which of it was needed.
pub struct Allowed {
    reasons: BTreeMap<Place, String>,
    used: RefCell<BTreeSet<Place>>,
}

impl Allowed {
    /// Reads the list.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("read {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut reasons = BTreeMap::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.splitn(3, char::is_whitespace);
            let (Some(scenario), Some(step), Some(reason)) =
                (words.next(), words.next(), words.next())
            else {
                bail!("`{line}` is not scenario, step and reason");
            };
            let step = step
                .parse()
                .with_context(|| format!("read the step of `{line}`"))?;
            reasons.insert((scenario.to_owned(), step), reason.trim().to_owned());
        }
        Ok(Self {
            reasons,
            used: RefCell::default(),
        })
    }

    /// Why this step may differ. Asking means that it does.
    pub fn reason(&self, scenario: &str, step: usize) -> Option<&str> {
        let place = (scenario.to_owned(), step);
        let reason = self.reasons.get(&place)?;
        self.used.borrow_mut().insert(place);
        Some(reason)
    }

    /// What was never asked for.
    pub fn unused(&self) -> Vec<String> {
        let used = self.used.borrow();
        let unused = self.reasons.keys().filter(|place| !used.contains(*place));
        unused
            .map(|(scenario, step)| format!("{scenario} {step}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_that_no_longer_differs_is_reported() {
        let list =
            "# scenario step reason\n\nkinds/pod 3 ours is shorter\nkinds/pod 4 so is this\n";
        let allowed = Allowed::parse(list).unwrap();
        assert_eq!(allowed.reason("kinds/pod", 3), Some("ours is shorter"));
        assert_eq!(allowed.reason("kinds/pod", 5), None);
        assert_eq!(allowed.unused(), ["kinds/pod 4"]);
    }

    #[test]
    fn entry_needs_a_reason() {
        assert!(Allowed::parse("kinds/pod 3").is_err());
        assert!(Allowed::parse("kinds/pod x because").is_err());
    }
}
