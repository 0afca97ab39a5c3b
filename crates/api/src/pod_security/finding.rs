//! What a check found, in upstream's words.

use std::collections::BTreeSet;
use std::fmt;

/// Why a check forbids a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) reason: &'static str,
    pub(crate) detail: String,
}

/// All that a level forbids in a Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings(pub(crate) Vec<Finding>);

impl Findings {
    /// Whether the level allows the Pod.
    pub fn is_allowed(&self) -> bool {
        self.0.is_empty()
    }

    /// The reasons without their details.
    pub fn reasons(&self) -> String {
        let reasons: Vec<&str> = self.0.iter().map(|f| f.reason).collect();
        reasons.join(", ")
    }
}

impl fmt::Display for Findings {
    /// `privileged (container "c" must not …), hostPort (…)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, finding) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            f.write_str(finding.reason)?;
            if !finding.detail.is_empty() {
                write!(f, " ({})", finding.detail)?;
            }
        }
        Ok(())
    }
}

/// Names between quotes, with commas.
pub(crate) fn quoted<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names
        .into_iter()
        .map(|name| format!("\"{}\"", name.as_ref()))
        .collect();
    names.join(", ")
}

/// The word for one, or for several.
pub(crate) fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    match count {
        1 => one,
        _ => many,
    }
}

/// `container "a"`, `containers "a", "b"`
pub(crate) fn containers<T: AsRef<str>>(names: &[T]) -> String {
    format!(
        "{} {}",
        plural("container", "containers", names.len()),
        quoted(names)
    )
}

/// `pod and container "a"`: who sets what they must not.
pub(crate) fn setters(pod: bool, names: &[&str]) -> String {
    let containers = (!names.is_empty()).then(|| containers(names));
    let all: Vec<String> = pod
        .then(|| "pod".to_owned())
        .into_iter()
        .chain(containers)
        .collect();
    all.join(" and ")
}

/// Words, sorted and each once.
pub(crate) type Words<'a> = BTreeSet<&'a str>;
