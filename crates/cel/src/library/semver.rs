//! Semantic versions (semver.org 2.0.0), in the strict reading and in a lenient one.

use std::cmp::Ordering;
use std::fmt;
use std::rc::Rc;

use super::opaque::Opaque;
use super::{Native, failed, ok, quantity};
use crate::cost::Meter;
use crate::value::{Evaluated, Value};

/// A version.
#[derive(Debug, Clone)]
pub struct Version {
    numbers: [u64; 3],
    pre: Vec<String>,
    build: Vec<String>,
}

impl Version {
    /// Reads a version.
    pub fn parse(text: &str) -> Result<Version, String> {
        if text.is_empty() {
            return Err("Version string empty".to_owned());
        }
        let mut parts = text.splitn(3, '.');
        let (Some(major), Some(minor), Some(rest)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err("No Major.Minor.Patch elements found".to_owned());
        };
        let (rest, build) = match rest.split_once('+') {
            Some((rest, build)) => (rest, Some(build)),
            None => (rest, None),
        };
        let (patch, pre) = match rest.split_once('-') {
            Some((patch, pre)) => (patch, Some(pre)),
            None => (rest, None),
        };
        let numbers = [
            number(major, "Major")?,
            number(minor, "Minor")?,
            number(patch, "Patch")?,
        ];
        let pre = pre
            .map(|pre| pre.split('.').map(str::to_owned).collect::<Vec<_>>())
            .unwrap_or_default();
        for part in &pre {
            if part.is_empty() {
                return Err("Prerelease is empty".to_owned());
            }
            if !alphanumeric(part) {
                return Err(format!("Invalid character(s) found in prerelease {part:?}"));
            }
            if numeric(part) && part.len() > 1 && part.starts_with('0') {
                return Err(format!(
                    "Numeric PreRelease version must not contain leading zeroes {part:?}"
                ));
            }
        }
        let build = build
            .map(|build| build.split('.').map(str::to_owned).collect::<Vec<_>>())
            .unwrap_or_default();
        for part in &build {
            if part.is_empty() {
                return Err("Build meta data is empty".to_owned());
            }
            if !alphanumeric(part) {
                return Err(format!(
                    "Invalid character(s) found in build meta data {part:?}"
                ));
            }
        }
        Ok(Version {
            numbers,
            pre,
            build,
        })
    }

    /// Reads a version that may begin with `v`, lack numbers, and have leading zeros.
    pub fn parse_lenient(text: &str) -> Result<Version, String> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let mut parts: Vec<String> = text.splitn(3, '.').map(str::to_owned).collect();
        for part in &mut parts {
            if part.len() > 1 {
                let bare = part.trim_start_matches('0');
                let digit = bare.starts_with(|c: char| c.is_ascii_digit());
                *part = if digit {
                    bare.to_owned()
                } else {
                    format!("0{bare}")
                };
            }
        }
        if parts.len() < 3 {
            if parts.last().is_some_and(|last| last.contains(['+', '-'])) {
                return Err("short version cannot contain PreRelease/Build meta data".to_owned());
            }
            parts.resize(3, "0".to_owned());
        }
        Version::parse(&parts.join("."))
    }
}

fn numeric(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

fn alphanumeric(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn number(text: &str, name: &str) -> Result<u64, String> {
    if !numeric(text) {
        return Err(format!(
            "Invalid character(s) found in {} number {text:?}",
            name.to_lowercase()
        ));
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(format!(
            "{name} number must not contain leading zeroes {text:?}"
        ));
    }
    text.parse()
        .map_err(|_| format!("strconv.ParseUint: parsing {text:?}: invalid syntax"))
}

impl PartialEq for Version {
    fn eq(&self, other: &Version) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Version) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| {
            match (self.pre.is_empty(), other.pre.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => {
                    let parts = self.pre.iter().zip(&other.pre);
                    let different = parts
                        .map(|(one, two)| pre_order(one, two))
                        .find(|order| order.is_ne());
                    different.unwrap_or_else(|| self.pre.len().cmp(&other.pre.len()))
                }
            }
        })
    }
}

fn pre_order(one: &str, two: &str) -> Ordering {
    match (numeric(one), numeric(two)) {
        (true, true) => one.len().cmp(&two.len()).then_with(|| one.cmp(two)),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => one.cmp(two),
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre.join("."))?;
        }
        if !self.build.is_empty() {
            write!(f, "+{}", self.build.join("."))?;
        }
        Ok(())
    }
}

fn of<'v>(value: &'v Value<'_>) -> Option<&'v Version> {
    match value {
        Value::Opaque(opaque) => match &**opaque {
            Opaque::Semver(version) => Some(version),
            _ => None,
        },
        _ => None,
    }
}

fn read(args: &[Value<'_>]) -> Option<Result<Version, String>> {
    match args {
        [Value::String(text)] | [Value::String(text), Value::Bool(false)] => {
            Some(Version::parse(text))
        }
        [Value::String(text), Value::Bool(true)] => Some(Version::parse_lenient(text)),
        _ => None,
    }
}

/// A function of this module.
pub fn native(name: &str) -> Option<Native> {
    Some(match name {
        "semver" => |_, args| match read(args)? {
            Ok(version) => ok(Value::Opaque(Rc::new(Opaque::Semver(version)))),
            Err(error) => failed(error),
        },
        "isSemver" => |_, args| ok(Value::Bool(read(args)?.is_ok())),
        "major" => |_, args| number_of(args, 0),
        "minor" => |_, args| number_of(args, 1),
        "patch" => |_, args| number_of(args, 2),
        _ => return None,
    })
}

fn number_of<'a>(args: &[Value<'a>], index: usize) -> Option<Evaluated<'a>> {
    ok(Value::Int(of(args.first()?)?.numbers[index] as i64))
}

fn order(args: &[Value<'_>]) -> Option<Ordering> {
    let [one, two] = args else { return None };
    Some(of(one)?.cmp(of(two)?))
}

fn either(args: &[Value<'_>]) -> Option<Ordering> {
    quantity::order(args).or_else(|| order(args))
}

/// A comparison of two quantities or two versions.
pub fn comparison(name: &str) -> Option<Native> {
    Some(match name {
        "isGreaterThan" => |_: &mut Meter, args| ok(Value::Bool(either(args)?.is_gt())),
        "isLessThan" => |_, args| ok(Value::Bool(either(args)?.is_lt())),
        _ => |_, args| ok(Value::Int(either(args)? as i64)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered() {
        let ordered = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0",
            "1.0.1",
            "2.0.0+x",
        ];
        for pair in ordered.windows(2) {
            assert!(
                Version::parse(pair[0]) < Version::parse(pair[1]),
                "{pair:?}"
            );
        }
        for text in ["", "1", "1.2", "01.2.3", "v1.2.3", "1.2.3-", "1.2.x"] {
            assert!(Version::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            Version::parse_lenient("v01.2").map(|v| v.to_string()),
            Ok("1.2.0".to_owned())
        );
    }
}
