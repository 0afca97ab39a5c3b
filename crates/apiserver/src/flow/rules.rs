//! Which FlowSchema a request belongs to: the rules of KEP-1040. Pure.

use serde_json::Value;

use crate::identity::Identity;

/// A request, as rules see it.
#[derive(Debug, Clone, Copy)]
pub struct Digest<'a> {
    /// Who asks.
    pub identity: &'a Identity,
    /// The verb: those of the API, or the method in lower case.
    pub verb: &'a str,
    /// What is asked for.
    pub target: Target<'a>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// A resource.
    Resource {
        group: &'a str,
        /// `RESOURCE` or `RESOURCE/SUBRESOURCE`.
        resource: &'a str,
        /// Empty at the cluster scope, and for all namespaces.
        namespace: &'a str,
    },
    /// A path that is no resource.
    Path(&'a str),
}

/// The rules of one FlowSchema.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

#[derive(Debug, PartialEq, Eq)]
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

#[derive(Debug, PartialEq, Eq)]
enum Subject {
    User(String),
    Group(String),
    ServiceAccount { namespace: String, name: String },
}

#[derive(Debug, PartialEq, Eq)]
struct ResourceRule {
    verbs: Names,
    groups: Names,
    resources: Names,
    namespaces: Names,
    cluster_scope: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct PathRule {
    verbs: Names,
    paths: Vec<String>,
}

/// Names, or `*` alone.
#[derive(Debug, PartialEq, Eq)]
struct Names(Vec<String>);

impl Names {
    fn read(value: &Value) -> Names {
        Names(texts(value))
    }

    fn contain(&self, name: &str) -> bool {
        matches!(&self.0[..], [all] if all == "*") || self.0.iter().any(|n| n == name)
    }
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().into_iter().flatten();
    items
        .filter_map(|v| v.as_str().map(str::to_owned))
        .collect()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

impl Rules {
    /// Reads `spec.rules`.
    pub fn read(rules: &Value) -> Rules {
        Rules(items(rules).map(Rule::read).collect())
    }

    /// Whether a request belongs here.
    pub fn match_request(&self, digest: &Digest<'_>) -> bool {
        self.0.iter().any(|rule| rule.matches(digest))
    }
}

impl Rule {
    fn read(rule: &Value) -> Rule {
        Rule {
            subjects: items(&rule["subjects"]).filter_map(Subject::read).collect(),
            resources: items(&rule["resourceRules"])
                .map(ResourceRule::read)
                .collect(),
            paths: items(&rule["nonResourceRules"])
                .map(PathRule::read)
                .collect(),
        }
    }

    fn matches(&self, digest: &Digest<'_>) -> bool {
        if !self.subjects.iter().any(|s| s.is(digest.identity)) {
            return false;
        }
        match digest.target {
            Target::Resource {
                group,
                resource,
                namespace,
            } => self.resources.iter().any(|rule| {
                let scope = match namespace.is_empty() {
                    true => rule.cluster_scope,
                    false => rule.namespaces.contain(namespace),
                };
                scope
                    && rule.verbs.contain(digest.verb)
                    && rule.resources.contain(resource)
                    && rule.groups.contain(group)
            }),
            Target::Path(path) => self
                .paths
                .iter()
                .any(|rule| rule.verbs.contain(digest.verb) && rule.covers(path)),
        }
    }
}

impl Subject {
    fn read(subject: &Value) -> Option<Subject> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        match subject["kind"].as_str()? {
            "User" => text(&subject["user"]["name"]).map(Subject::User),
            "Group" => text(&subject["group"]["name"]).map(Subject::Group),
            "ServiceAccount" => Some(Subject::ServiceAccount {
                namespace: text(&subject["serviceAccount"]["namespace"])?,
                name: text(&subject["serviceAccount"]["name"])?,
            }),
            _ => None,
        }
    }

    fn is(&self, identity: &Identity) -> bool {
        match self {
            Subject::User(name) => name == "*" || **name == *identity.user,
            Subject::Group(name) => name == "*" || identity.in_group(name),
            Subject::ServiceAccount { namespace, name } => {
                let account = identity.user.strip_prefix("system:serviceaccount:");
                let own = account
                    .and_then(|a| a.strip_prefix(namespace.as_str()))
                    .and_then(|a| a.strip_prefix(':'));
                own.is_some_and(|own| name == "*" || own == name)
            }
        }
    }
}

impl ResourceRule {
    fn read(rule: &Value) -> ResourceRule {
        ResourceRule {
            verbs: Names::read(&rule["verbs"]),
            groups: Names::read(&rule["apiGroups"]),
            resources: Names::read(&rule["resources"]),
            namespaces: Names::read(&rule["namespaces"]),
            cluster_scope: rule["clusterScope"] == true,
        }
    }
}

impl PathRule {
    fn read(rule: &Value) -> PathRule {
        PathRule {
            verbs: Names::read(&rule["verbs"]),
            paths: texts(&rule["nonResourceURLs"]),
        }
    }

    /// A path covers itself and, with or without a `*` at its end, what is below it.
    fn covers(&self, path: &str) -> bool {
        self.paths.iter().any(|rule| {
            let root = rule.strip_suffix('*').unwrap_or(rule);
            let root = root.strip_suffix('/').unwrap_or(root);
            let below = path
                .strip_prefix(root)
                .is_some_and(|rest| rest.starts_with('/'));
            rule == "*" || rule == path || below
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_match_as_upstream() {
        let rules = json!([{
            "subjects": [
                {"kind": "Group", "group": {"name": "dev"}},
                {"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}},
            ],
            "resourceRules": [
                {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["*"]},
                {"verbs": ["*"], "apiGroups": ["*"], "resources": ["nodes/status"], "namespaces": ["a"], "clusterScope": true},
            ],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/logs/*"]}],
        }]);
        let rules = Rules::read(&rules);
        let dev = Identity::authenticated("u", ["dev".to_owned()]);
        let account = Identity::authenticated("system:serviceaccount:kube-system:x", []);
        let other = Identity::authenticated("system:serviceaccount:kube-system2:x", []);
        let resource = |group, resource, namespace| Target::Resource {
            group,
            resource,
            namespace,
        };
        let rows = [
            (&dev, "get", resource("", "pods", "a"), true),
            (&account, "get", resource("", "pods", "a"), true),
            (&other, "get", resource("", "pods", "a"), false),
            (&dev, "list", resource("", "pods", "a"), false),
            (&dev, "get", resource("", "pods", ""), false),
            (&dev, "get", resource("", "pods/log", "a"), false),
            (&dev, "patch", resource("x", "nodes/status", ""), true),
            (&dev, "patch", resource("x", "nodes/status", "b"), false),
            (&dev, "get", Target::Path("/healthz/ping"), true),
            (&dev, "get", Target::Path("/healthzz"), false),
            (&dev, "get", Target::Path("/logs/x"), true),
            (&dev, "post", Target::Path("/healthz"), false),
        ];
        for (identity, verb, target, want) in rows {
            let digest = Digest {
                identity,
                verb,
                target,
            };
            assert_eq!(rules.match_request(&digest), want, "{verb} {target:?}");
        }
    }
}
