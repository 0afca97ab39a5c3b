//! What the labels of a namespace ask for.

use std::fmt;

use serde_json::Value;

use crate::field;

/// How much a Pod may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Anything.
    Privileged,
    /// Nothing that is known to give privileges.
    Baseline,
    /// What is good practice.
    Restricted,
}

/// Of the standards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Whatever the server has.
    Latest,
    /// `v1.N`
    Minor(u32),
}

/// A level as one version of the standards has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelVersion {
    /// The level.
    pub level: Level,
    /// The version.
    pub version: Version,
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        })?;
        match self.version {
            Version::Latest => f.write_str(":latest"),
            Version::Minor(minor) => write!(f, ":v1.{minor}"),
        }
    }
}

const PRIVILEGED: LevelVersion = LevelVersion {
    level: Level::Privileged,
    version: Version::Latest,
};

/// What a namespace asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What is refused.
    pub enforce: LevelVersion,
    /// What is noted in the audit log.
    pub audit: LevelVersion,
    /// What is warned of.
    pub warn: LevelVersion,
}

/// Labels begin with it, and annotations of the audit log.
pub const PREFIX: &str = "pod-security.kubernetes.io/";

fn parse_level(text: &str) -> Option<Level> {
    Some(match text {
        "privileged" => Level::Privileged,
        "baseline" => Level::Baseline,
        "restricted" => Level::Restricted,
        _ => return None,
    })
}

fn parse_version(text: &str) -> Option<Version> {
    if text == "latest" {
        return Some(Version::Latest);
    }
    let digits = text.strip_prefix("v1.")?;
    let canonical = digits == "0" || !digits.starts_with('0');
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    (canonical && plain)
        .then(|| digits.parse().ok())
        .flatten()
        .map(Version::Minor)
}

impl Policy {
    /// Reads the labels. There is always a policy: what is wrong counts as strict for refusals, as lax otherwise.
    pub fn of(labels: &Value) -> (Policy, Vec<field::Error>) {
        let mut errors = Vec::new();
        let mut level = |name: &str, otherwise: Level| {
            let text = labels.get(format!("{PREFIX}{name}"))?.as_str()?;
            Some(parse_level(text).ok_or_else(|| {
                errors.push(wrong(
                    name,
                    text,
                    "must be one of privileged, baseline, restricted",
                ));
                otherwise
            }))
        };
        let enforce_level = level("enforce", Level::Restricted);
        let audit_level = level("audit", Level::Privileged);
        let warn_level = level("warn", Level::Privileged);
        let mut level_errors = errors;
        let mut errors = Vec::new();
        let mut version = |name: &str| {
            let text = labels.get(format!("{PREFIX}{name}"))?.as_str()?;
            Some(parse_version(text).unwrap_or_else(|| {
                errors.push(wrong(name, text, "must be \"latest\" or \"v1.x\""));
                Version::Latest
            }))
        };
        let [enforce_version, audit_version, warn_version] =
            ["enforce-version", "audit-version", "warn-version"].map(&mut version);
        level_errors.extend(errors);
        level_errors.sort_by_key(position);
        let both = |level: Option<Result<Level, Level>>, version: Option<Version>| LevelVersion {
            level: level.map_or(Level::Privileged, |l| {
                l.unwrap_or_else(|otherwise| otherwise)
            }),
            version: version.unwrap_or(Version::Latest),
        };
        let mut policy = Policy {
            enforce: both(enforce_level, enforce_version),
            audit: both(audit_level, audit_version),
            warn: both(warn_level, warn_version),
        };
        // Who enforces and does not speak of warnings is warned of the same, in templates.
        if warn_level.is_none() && matches!(enforce_level, Some(Ok(l)) if l > policy.warn.level) {
            policy.warn.level = policy.enforce.level;
            policy.warn.version = warn_version.unwrap_or(policy.enforce.version);
        }
        (policy, level_errors)
    }

    /// Whether it allows anything and notes nothing.
    pub fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn]
            .iter()
            .all(|lv| lv.level == Level::Privileged)
    }
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            enforce: PRIVILEGED,
            audit: PRIVILEGED,
            warn: PRIVILEGED,
        }
    }
}

fn wrong(name: &str, value: &str, why: &str) -> field::Error {
    let metadata = field::Path::root("metadata");
    let (labels, key) = (metadata.field("labels"), format!("{PREFIX}{name}"));
    field::Error::invalid(&labels.key(&key), value, why)
}

/// Upstream reads level and version of one mode before the next mode.
fn position(error: &field::Error) -> (usize, bool) {
    let path = error.field.as_str();
    let modes = ["enforce", "audit", "warn"];
    let mode = modes
        .iter()
        .position(|mode| path.contains(&format!("{PREFIX}{mode}")));
    (mode.unwrap_or_default(), path.contains("-version"))
}
