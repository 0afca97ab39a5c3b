//! The audit policy: upstream's file format (`audit.k8s.io/v1`, kind `Policy`) and its rules. Pure.

use karve_api::field;
use serde_json::Value;

use crate::identity::Identity;
use crate::seen::Seen;

/// How much is written of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    None,
    /// Who, what, when.
    Metadata,
    /// And the object that was sent.
    Request,
    /// And the one that was answered.
    RequestResponse,
}

/// When something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before anything is done.
    RequestReceived,
    /// When the head of a long answer is sent.
    ResponseStarted,
    /// At the end.
    ResponseComplete,
    /// When the server met a defect.
    Panic,
}

const LEVELS: [(&str, Level); 4] = [
    ("None", Level::None),
    ("Metadata", Level::Metadata),
    ("Request", Level::Request),
    ("RequestResponse", Level::RequestResponse),
];
const STAGES: [(&str, Stage); 4] = [
    ("RequestReceived", Stage::RequestReceived),
    ("ResponseStarted", Stage::ResponseStarted),
    ("ResponseComplete", Stage::ResponseComplete),
    ("Panic", Stage::Panic),
];

impl Level {
    /// As in the file.
    pub fn as_str(self) -> &'static str {
        LEVELS[self as usize].0
    }
}

impl Stage {
    /// As in the file.
    pub fn as_str(self) -> &'static str {
        STAGES[self as usize].0
    }
}

/// What the policy says of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// How much is written.
    pub level: Level,
    omit_stages: Vec<Stage>,
    /// Whether objects are written without their managed fields.
    pub omit_managed_fields: bool,
}

impl Scope {
    /// Whether something is written at this stage.
    pub fn covers(&self, stage: Stage) -> bool {
        self.level > Level::None && !self.omit_stages.contains(&stage)
    }
}

/// A policy.
#[derive(Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    scope: Scope,
    users: Vec<String>,
    groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<Resources>,
    namespaces: Vec<String>,
    paths: Vec<String>,
}

#[derive(Debug)]
struct Resources {
    group: String,
    resources: Vec<String>,
    names: Vec<String>,
}

/// Why a file is no policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It is not YAML.
    #[error("decode the audit policy")]
    Yaml(#[from] serde_saphyr::Error),
    /// It is something else.
    #[error("the audit policy is no Policy of audit.k8s.io/v1")]
    Kind,
    /// Upstream's texts, joined.
    #[error("the audit policy is invalid: {0}")]
    Invalid(String),
}

impl Policy {
    /// Reads a policy from YAML or JSON.
    pub fn parse(text: &str) -> Result<Policy, PolicyError> {
        let file: Value = serde_saphyr::from_str(text)?;
        if file["kind"] != "Policy" || file["apiVersion"] != "audit.k8s.io/v1" {
            return Err(PolicyError::Kind);
        }
        let mut problems = Vec::new();
        let omitted = stages(
            &file["omitStages"],
            &field::Path::root("omitStages"),
            &mut problems,
        );
        let no_managed_fields = file["omitManagedFields"] == true;
        let rules = items(&file["rules"])
            .enumerate()
            .map(|(i, rule)| {
                let root = field::Path::root("rules");
                let at = root.index(i);
                let mut rule = Rule::read(rule, &at, no_managed_fields, &mut problems);
                rule.scope.omit_stages.extend(&omitted);
                rule
            })
            .collect();
        match problems.is_empty() {
            true => Ok(Policy { rules }),
            false => {
                let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
                Err(PolicyError::Invalid(texts.join(", ")))
            }
        }
    }

    /// What is written of a request: the first rule that fits says; without one, nothing.
    pub fn scope(&self, user: Option<&Identity>, seen: &Seen) -> Scope {
        let rule = self.rules.iter().find(|rule| rule.fits(user, seen));
        rule.map_or(
            Scope {
                level: Level::None,
                omit_stages: Vec::new(),
                omit_managed_fields: false,
            },
            |rule| rule.scope.clone(),
        )
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn texts(value: &Value) -> Vec<String> {
    items(value)
        .filter_map(|v| v.as_str().map(str::to_owned))
        .collect()
}

fn stages(value: &Value, at: &field::Path, problems: &mut Vec<field::Error>) -> Vec<Stage> {
    let mut found = Vec::new();
    for (i, name) in texts(value).iter().enumerate() {
        match STAGES.iter().find(|(known, _)| known == name) {
            Some((_, stage)) => found.push(*stage),
            None => problems.push(field::Error::invalid(
                &at.index(i),
                name.as_str(),
                "allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic",
            )),
        }
    }
    found
}

impl Rule {
    fn read(rule: &Value, at: &field::Path, bare: bool, problems: &mut Vec<field::Error>) -> Rule {
        let level_at = at.field("level");
        let name = rule["level"].as_str().unwrap_or_default();
        let level = LEVELS.iter().find(|(known, _)| *known == name);
        match level {
            Some(_) => {}
            None if name.is_empty() => problems.push(field::Error::required(&level_at, "")),
            None => problems.push(field::Error::not_supported(
                &level_at,
                name,
                &LEVELS.map(|(name, _)| name),
            )),
        }
        let paths = texts(&rule["nonResourceURLs"]);
        check_paths(&paths, &at.field("nonResourceURLs"), problems);
        let resources: Vec<Resources> = items(&rule["resources"]).map(Resources::read).collect();
        let namespaces = texts(&rule["namespaces"]);
        let both = !paths.is_empty() && (!resources.is_empty() || !namespaces.is_empty());
        if both {
            problems.push(field::Error::invalid(
                &at.field("nonResourceURLs"),
                Value::from(paths.clone()),
                "rules cannot apply to both regular resources and non-resource URLs",
            ));
        }
        if let Some(nameless) = resources
            .iter()
            .find(|r| r.resources.is_empty() && !r.names.is_empty())
        {
            problems.push(field::Error::invalid(
                &at.field("resources").field("resourceNames"),
                Value::from(nameless.names.clone()),
                "using resourceNames requires at least one resource",
            ));
        }
        Rule {
            scope: Scope {
                level: level.map_or(Level::None, |(_, level)| *level),
                omit_stages: stages(&rule["omitStages"], &at.field("omitStages"), problems),
                omit_managed_fields: rule["omitManagedFields"].as_bool().unwrap_or(bare),
            },
            users: texts(&rule["users"]),
            groups: texts(&rule["userGroups"]),
            verbs: texts(&rule["verbs"]),
            resources,
            namespaces,
            paths,
        }
    }

    fn fits(&self, user: Option<&Identity>, seen: &Seen) -> bool {
        let named = |names: &[String], name: &str| names.iter().any(|n| n == name);
        let by_name = user.is_some_and(|user| named(&self.users, &user.user));
        let by_group = user.is_some_and(|user| user.groups.iter().any(|g| named(&self.groups, g)));
        if !self.users.is_empty() && !by_name
            || !self.groups.is_empty() && !by_group
            || !self.verbs.is_empty() && !named(&self.verbs, &seen.verb())
        {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return self.fits_resource(seen);
        }
        self.paths.is_empty() || self.fits_path(seen)
    }

    fn fits_resource(&self, seen: &Seen) -> bool {
        let Some(path) = seen.resource() else {
            return false;
        };
        if !self.namespaces.is_empty() && !self.namespaces.iter().any(|n| n == seen.namespace()) {
            return false;
        }
        let (resource, subresource) = (path.resource.as_str(), path.subresource.as_str());
        let fits = |wanted: &String| {
            let (parent, child) = wanted.split_once('/').unwrap_or((wanted, ""));
            wanted == "*"
                || parent == resource && child == subresource
                || child == "*" && parent == resource
                || parent == "*" && !subresource.is_empty() && child == subresource
        };
        self.resources.is_empty()
            || self.resources.iter().any(|r| {
                (r.group == path.group || r.group == "*")
                    && (r.resources.is_empty()
                        || (r.names.is_empty() || r.names.contains(&path.name))
                            && r.resources.iter().any(fits))
            })
    }

    fn fits_path(&self, seen: &Seen) -> bool {
        let crate::path::Target::Other(path) = &seen.target else {
            return false;
        };
        self.paths.iter().any(|rule| match rule.strip_suffix('*') {
            Some(root) => path.starts_with(root),
            None => rule == path,
        })
    }
}

impl Resources {
    fn read(value: &Value) -> Resources {
        Resources {
            group: value["group"].as_str().unwrap_or_default().to_owned(),
            resources: texts(&value["resources"]),
            names: texts(&value["resourceNames"]),
        }
    }
}

fn check_paths(paths: &[String], at: &field::Path, problems: &mut Vec<field::Error>) {
    for (i, path) in paths.iter().enumerate().filter(|(_, path)| *path != "*") {
        if !path.starts_with('/') {
            let why = "non-resource URL rules must begin with a '/' character";
            problems.push(field::Error::invalid(&at.index(i), path.as_str(), why));
        }
        if path.strip_suffix('*').unwrap_or(path).contains('*') {
            let why = "non-resource URL wildcards '*' must be the final character of the rule";
            problems.push(field::Error::invalid(&at.index(i), path.as_str(), why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(policy: &Policy, user: &str, method: &str, uri: &str) -> Level {
        let request = http::Request::builder().method(method).uri(uri).body(());
        let (parts, ()) = request.expect("request").into_parts();
        let user = Identity::authenticated(user, ["dev".to_owned()]);
        policy.scope(Some(&user), &Seen::of(&parts)).level
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let policy = Policy::parse(
            r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, users: [system:kube-proxy], verbs: [watch], resources: [{group: "", resources: [endpoints, services]}]}
- {level: None, nonResourceURLs: ["/api*", /version]}
- {level: Request, resources: [{group: "", resources: [configmaps], resourceNames: [a]}], namespaces: [kube-system]}
- {level: RequestResponse, resources: [{group: "", resources: ["pods/*"]}]}
- {level: Metadata, userGroups: [dev], resources: [{group: "", resources: [secrets]}, {group: apps}], omitStages: [Panic]}
"#,
        )
        .expect("a policy");
        let rows = [
            (
                "system:kube-proxy",
                "GET",
                "/api/v1/services?watch=1",
                Level::None,
            ),
            ("u", "GET", "/api/v1", Level::None),
            (
                "u",
                "GET",
                "/api/v1/namespaces/kube-system/configmaps/a",
                Level::Request,
            ),
            (
                "u",
                "GET",
                "/api/v1/namespaces/kube-system/configmaps/b",
                Level::None,
            ),
            (
                "u",
                "GET",
                "/api/v1/namespaces/x/pods/p",
                Level::RequestResponse,
            ),
            (
                "u",
                "GET",
                "/api/v1/namespaces/x/pods/p/log",
                Level::RequestResponse,
            ),
            ("u", "POST", "/api/v1/namespaces/x/secrets", Level::Metadata),
            (
                "u",
                "PATCH",
                "/apis/apps/v1/namespaces/x/deployments/d/scale",
                Level::Metadata,
            ),
            ("u", "GET", "/api/v1/nodes", Level::None),
        ];
        for (user, method, uri, want) in rows {
            assert_eq!(level(&policy, user, method, uri), want, "{method} {uri}");
        }
        let scope = &policy.rules[4].scope;
        assert!(scope.covers(Stage::ResponseComplete));
        assert!(!scope.covers(Stage::Panic) && !scope.covers(Stage::RequestReceived));
    }

    #[test]
    fn wrong_policies_are_refused_with_all_that_is_wrong() {
        let text = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [Never]
rules: [{level: All}, {}, {level: None, nonResourceURLs: [x, '/a*b']}]";
        let error = Policy::parse(text).expect_err("wrong").to_string();
        for part in [
            "omitStages[0]: Invalid value: \"Never\": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic",
            "rules[0].level: Unsupported value: \"All\": supported values: \"None\", \"Metadata\", \"Request\", \"RequestResponse\"",
            "rules[1].level: Required value",
            "rules[2].nonResourceURLs[0]: Invalid value: \"x\": non-resource URL rules must begin with a '/' character",
            "rules[2].nonResourceURLs[1]: Invalid value: \"/a*b\": non-resource URL wildcards '*' must be the final character of the rule",
        ] {
            assert!(error.contains(part), "{part}\nis not in\n{error}");
        }
        assert!(Policy::parse("kind: Pod").is_err());
    }
}
