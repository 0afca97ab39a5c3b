//! One rule of a role: what it allows, and whether it covers another one.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::authorize::Attributes;

type Texts = Vec<Box<str>>;

/// A rule as a role has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    #[serde(deserialize_with = "list")]
    pub verbs: Texts,
    #[serde(deserialize_with = "list")]
    pub api_groups: Texts,
    #[serde(deserialize_with = "list")]
    pub resources: Texts,
    #[serde(deserialize_with = "list")]
    pub resource_names: Texts,
    #[serde(rename = "nonResourceURLs", deserialize_with = "list")]
    pub urls: Texts,
}

/// A list that may be null.
fn list<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Texts, D::Error> {
    Ok(Option::<Texts>::deserialize(deserializer)?.unwrap_or_default())
}

fn has(set: &[Box<str>], wanted: &str) -> bool {
    set.iter().any(|one| &**one == wanted)
}

fn has_or_all(set: &[Box<str>], wanted: &str) -> bool {
    set.iter()
        .any(|one| matches!(&**one, "*") || &**one == wanted)
}

impl Rule {
    /// Whether what is asked is allowed.
    pub fn allows(&self, asked: &Attributes<'_>) -> bool {
        if !has_or_all(&self.verbs, asked.verb) {
            return false;
        }
        if !asked.resource_request {
            return self.urls.iter().any(|url| url_covers(url, asked.path));
        }
        has_or_all(&self.api_groups, asked.group)
            && (self.resources.iter())
                .any(|r| resource_covers(r, asked.resource, asked.subresource))
            && (self.resource_names.is_empty() || has(&self.resource_names, asked.name))
    }

    /// Whether it allows all that an atom (see [`Rule::atoms`]) allows.
    fn covers(&self, atom: &Rule) -> bool {
        let all = |own: &[Box<str>], theirs: &[Box<str>]| {
            has(own, "*") || theirs.iter().all(|t| has(own, t))
        };
        let resources = (atom.resources.iter()).all(|theirs| {
            let (resource, subresource) = theirs.split_once('/').unwrap_or((theirs, ""));
            (self.resources.iter()).any(|own| resource_covers(own, resource, subresource))
        });
        let names = match atom.resource_names.is_empty() {
            true => self.resource_names.is_empty(),
            false => {
                self.resource_names.is_empty()
                    || (atom.resource_names.iter()).all(|n| has(&self.resource_names, n))
            }
        };
        let urls = (atom.urls.iter()).all(|theirs| {
            (self.urls.iter())
                .any(|own| own == theirs || own.ends_with('*') && url_covers(own, theirs))
        });
        names
            && resources
            && urls
            && all(&self.verbs, &atom.verbs)
            && all(&self.api_groups, &atom.api_groups)
    }

    /// The rules with one verb, one resource and one name at most that make up this one.
    fn atoms(&self) -> Vec<Rule> {
        let one = |text: &str| vec![Box::from(text)];
        let mut atoms = Vec::new();
        for (group, resource) in pairs(&self.api_groups, &self.resources) {
            for verb in &self.verbs {
                let atom = Rule {
                    verbs: one(verb),
                    api_groups: one(group),
                    resources: one(resource),
                    ..Rule::default()
                };
                if self.resource_names.is_empty() {
                    atoms.push(atom);
                    continue;
                }
                atoms.extend(self.resource_names.iter().map(|name| Rule {
                    resource_names: one(name),
                    ..atom.clone()
                }));
            }
        }
        atoms.extend(pairs(&self.urls, &self.verbs).map(|(url, verb)| Rule {
            verbs: one(verb),
            urls: one(url),
            ..Rule::default()
        }));
        atoms
    }

    /// As upstream writes it in refusals.
    fn text(&self) -> String {
        let parts = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let shown = parts.iter().filter(|(_, list)| !list.is_empty());
        let shown: Vec<String> = shown
            .map(|(name, list)| format!("{name}:{}", quoted(list)))
            .collect();
        format!("{{{}}}", shown.join(", "))
    }

    /// As reviews list it; a rule for resources or for paths.
    pub fn shown(&self) -> Value {
        let mut rule = Map::new();
        let mut put = |name: &str, list: &Texts| {
            if !list.is_empty() {
                rule.insert(
                    name.into(),
                    list.iter().map(|t| Value::from(&**t)).collect(),
                );
            }
        };
        put("verbs", &self.verbs);
        match self.resources.is_empty() {
            true => put("nonResourceURLs", &self.urls),
            false => {
                put("apiGroups", &self.api_groups);
                put("resources", &self.resources);
                put("resourceNames", &self.resource_names);
            }
        }
        Value::Object(rule)
    }
}

fn pairs<'a>(
    first: &'a [Box<str>],
    second: &'a [Box<str>],
) -> impl Iterator<Item = (&'a str, &'a str)> {
    first
        .iter()
        .flat_map(move |f| second.iter().map(move |s| (&**f, &**s)))
}

fn resource_covers(own: &str, resource: &str, subresource: &str) -> bool {
    if own == "*" {
        return true;
    }
    match (own.split_once('/'), subresource) {
        (None, "") => own == resource,
        (Some(_), "") | (None, _) => false,
        (Some((of, sub)), _) => sub == subresource && (of == "*" || of == resource),
    }
}

fn url_covers(own: &str, path: &str) -> bool {
    own == "*" || own == path || own.ends_with('*') && path.starts_with(own.trim_end_matches('*'))
}

/// Go's `%q` of a list of texts.
pub fn quoted<T: AsRef<str>>(list: &[T]) -> String {
    let mut out = String::from("[");
    for (i, text) in list.iter().enumerate() {
        let space = if i == 0 { "" } else { " " };
        let _ = write!(out, "{space}{}", karve_api::field::quote(text.as_ref()));
    }
    out.push(']');
    out
}

/// What `wanted` allows and `owned` does not, as atoms.
pub fn missing<'a>(owned: &'a [&Rule], wanted: &'a [Rule]) -> impl Iterator<Item = Rule> + 'a {
    let atoms = wanted.iter().flat_map(Rule::atoms);
    atoms.filter(|atom| !owned.iter().any(|own| own.covers(atom)))
}

/// The same in upstream's words, sorted; empty when all is covered.
pub fn uncovered(owned: &[&Rule], wanted: &[Rule]) -> Vec<String> {
    let mut compact: Vec<Rule> = Vec::new();
    for rule in missing(owned, wanted) {
        let same = |other: &&mut Rule| {
            let key = |r: &Rule| {
                (
                    r.api_groups.clone(),
                    r.resources.clone(),
                    r.resource_names.clone(),
                )
            };
            other.urls.is_empty() && rule.urls.is_empty() && key(other) == key(&rule)
        };
        match compact.iter_mut().find(same) {
            Some(other) => other.verbs.extend(rule.verbs),
            None => compact.push(rule),
        }
    }
    let mut texts: Vec<String> = compact.iter().map(Rule::text).collect();
    texts.sort();
    texts.dedup();
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(value: Value) -> Rule {
        serde_json::from_value(value).expect("a rule")
    }

    #[test]
    fn rules_cover_what_upstream_says() {
        let everything = rule(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        let urls = rule(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
        let scale = rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["*/scale"]}));
        let named = rule(
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}),
        );
        let pods =
            rule(json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}));
        let rows: [(&[&Rule], &Rule, &[&str]); 7] = [
            (&[&everything], &pods, &[]),
            (
                &[],
                &pods,
                &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}"#],
            ),
            (
                &[&named],
                &pods,
                &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}"#],
            ),
            (&[&pods], &named, &[]),
            (
                &[&pods],
                &everything,
                &[r#"{APIGroups:["*"], Resources:["*"], Verbs:["*"]}"#],
            ),
            (
                &[&urls],
                &rule(json!({"verbs": ["get"], "nonResourceURLs": ["/x/*"]})),
                &[],
            ),
            (
                &[&scale],
                &rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods/scale"]})),
                &[],
            ),
        ];
        for (owned, wanted, want) in rows {
            assert_eq!(
                uncovered(owned, std::slice::from_ref(wanted)),
                want,
                "{owned:?} {wanted:?}"
            );
        }
    }
}
