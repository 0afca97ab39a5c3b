//! Role based access control: roles and bindings, indexed by whom they are for.
//!
//! A question costs what the bindings of its user and groups hold, whatever else there is. Deliberately absent: how the
//! index learns of changes (`follow`), and what a new cluster has (`policy`).

mod escalation;
mod policy;
mod rule;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use karve_api::field::quote;
use serde::Deserialize;

use super::{Attributes, Outcome};
use crate::follow::Index;
use crate::identity::Identity;

pub use escalation::check as check_escalation;
pub use policy::{reconciled, wanted as bootstrap_policy};
pub use rule::Rule;

/// All roles and bindings of the cluster.
#[derive(Debug, Default)]
pub struct Rbac {
    /// By namespace (empty for cluster roles) and name.
    roles: HashMap<(Box<str>, Box<str>), Vec<Rule>>,
    /// By namespace (empty for cluster role bindings).
    scopes: HashMap<Box<str>, Scope>,
}

/// The bindings of one namespace, or of the cluster.
#[derive(Debug, Default)]
struct Scope {
    bindings: BTreeMap<Box<str>, Arc<Binding>>,
    by_user: HashMap<Box<str>, Vec<Arc<Binding>>>,
    by_group: HashMap<Box<str>, Vec<Arc<Binding>>>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
struct Subject {
    kind: Box<str>,
    name: Box<str>,
    namespace: Box<str>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
struct RoleRef {
    kind: Box<str>,
    name: Box<str>,
}

#[derive(Debug)]
struct Binding {
    name: Box<str>,
    namespace: Box<str>,
    role: RoleRef,
    subjects: Vec<Subject>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Stored {
    rules: Option<Vec<Rule>>,
    subjects: Option<Vec<Subject>>,
    role_ref: RoleRef,
}

/// Whom a subject is.
enum Who<'a> {
    User(std::borrow::Cow<'a, str>),
    Group(&'a str),
}

impl Subject {
    fn who(&self, binding_namespace: &str) -> Option<Who<'_>> {
        match &*self.kind {
            "User" => Some(Who::User((&*self.name).into())),
            "Group" => Some(Who::Group(&self.name)),
            "ServiceAccount" => {
                let namespace = match &*self.namespace {
                    "" => binding_namespace,
                    given => given,
                };
                let user = format!("system:serviceaccount:{namespace}:{}", self.name);
                (!namespace.is_empty()).then(|| Who::User(user.into()))
            }
            _ => None,
        }
    }

    fn is(&self, user: &Identity, binding_namespace: &str) -> bool {
        match self.who(binding_namespace) {
            Some(Who::User(name)) => name == *user.user,
            Some(Who::Group(name)) => user.in_group(name),
            None => false,
        }
    }

    /// Upstream shows names before namespaces.
    fn shown(&self, binding_namespace: &str) -> String {
        let namespace = match &*self.namespace {
            "" => binding_namespace,
            given => given,
        };
        match &*self.kind {
            "ServiceAccount" => format!(
                "ServiceAccount {}",
                quote(&format!("{}/{namespace}", self.name))
            ),
            kind => format!("{kind} {}", quote(&self.name)),
        }
    }
}

impl Binding {
    fn shown(&self, subject: &Subject) -> String {
        let (kind, name) = match &*self.namespace {
            "" => ("ClusterRoleBinding", self.name.to_string()),
            namespace => ("RoleBinding", format!("{}/{namespace}", self.name)),
        };
        format!(
            "{kind} {} of {} {} to {}",
            quote(&name),
            self.role.kind,
            quote(&self.role.name),
            subject.shown(&self.namespace)
        )
    }
}

impl Scope {
    fn put(&mut self, binding: Binding) {
        self.remove(&binding.name.clone());
        let binding = Arc::new(binding);
        for subject in &binding.subjects {
            let list = match subject.who(&binding.namespace) {
                Some(Who::User(name)) => self.by_user.entry((&*name).into()).or_default(),
                Some(Who::Group(name)) => self.by_group.entry(name.into()).or_default(),
                None => continue,
            };
            if !list.iter().any(|other| Arc::ptr_eq(other, &binding)) {
                list.push(binding.clone());
            }
        }
        self.bindings.insert(binding.name.clone(), binding);
    }

    fn remove(&mut self, name: &str) {
        let Some(binding) = self.bindings.remove(name) else {
            return;
        };
        for subject in &binding.subjects {
            match subject.who(&binding.namespace) {
                Some(Who::User(name)) => forget(&mut self.by_user, &name, &binding),
                Some(Who::Group(name)) => forget(&mut self.by_group, name, &binding),
                None => {}
            }
        }
    }

    /// The bindings of a user, by name.
    fn of<'a>(&'a self, user: &Identity) -> Vec<&'a Binding> {
        let own = self.by_user.get(&*user.user);
        let groups = user.groups.iter().filter_map(|g| self.by_group.get(&**g));
        let mut found: Vec<&Binding> = own
            .into_iter()
            .chain(groups)
            .flatten()
            .map(|b| &**b)
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found.dedup_by(|a, b| a.name == b.name);
        found
    }
}

fn forget(index: &mut HashMap<Box<str>, Vec<Arc<Binding>>>, key: &str, binding: &Arc<Binding>) {
    if let Some(list) = index.get_mut(key) {
        list.retain(|other| !Arc::ptr_eq(other, binding));
        if list.is_empty() {
            index.remove(key);
        }
    }
}

/// Where roles and bindings are.
pub const PREFIXES: &[&str] = &["/rbac.authorization.k8s.io/"];

impl Index for Rbac {
    fn apply(&mut self, key: &str, value: Option<&[u8]>) {
        let mut parts = key.trim_start_matches('/').split('/').skip(1);
        let plural = parts.next().unwrap_or_default();
        let (namespace, name) = match (parts.next(), parts.next()) {
            (Some(namespace), Some(name)) => (namespace, name),
            (Some(name), None) => ("", name),
            _ => return,
        };
        let stored: Option<Stored> =
            value.map(|bytes| serde_json::from_slice(bytes).unwrap_or_default());
        match plural {
            "roles" | "clusterroles" => {
                let key = (namespace.into(), name.into());
                match stored {
                    Some(role) => self.roles.insert(key, role.rules.unwrap_or_default()),
                    None => self.roles.remove(&key),
                };
            }
            "rolebindings" | "clusterrolebindings" => {
                let scope = self.scopes.entry(namespace.into()).or_default();
                match stored {
                    Some(binding) => scope.put(Binding {
                        name: name.into(),
                        namespace: namespace.into(),
                        role: binding.role_ref,
                        subjects: binding.subjects.unwrap_or_default(),
                    }),
                    None => scope.remove(name),
                }
                if scope.bindings.is_empty() {
                    self.scopes.remove(namespace);
                }
            }
            _ => {}
        }
    }
}

impl Rbac {
    /// The rules of the role that a binding in `namespace` names.
    ///
    /// # Errors
    /// The kind in singular, when there is no such role.
    fn role(&self, role: &RoleRef, namespace: &str) -> Result<&[Rule], String> {
        let (kind, namespace) = match &*role.kind {
            "Role" => ("role", namespace),
            "ClusterRole" => ("clusterrole", ""),
            kind => return Err(format!("unsupported role reference kind: {}", quote(kind))),
        };
        let found = self.roles.get(&(namespace.into(), role.name.clone()));
        let missing = || {
            format!(
                "{kind}.rbac.authorization.k8s.io {} not found",
                quote(&role.name)
            )
        };
        found.map(Vec::as_slice).ok_or_else(missing)
    }

    /// The bindings that are about a user in a namespace, cluster wide ones first, each with its rules or why it has none.
    fn bindings<'a>(
        &'a self,
        user: &Identity,
        namespace: &str,
    ) -> impl Iterator<Item = (&'a Binding, Result<&'a [Rule], String>)> {
        let local = (!namespace.is_empty())
            .then(|| self.scopes.get(namespace))
            .flatten();
        let scopes = self.scopes.get("").into_iter().chain(local);
        let found: Vec<&Binding> = scopes.flat_map(|scope| scope.of(user)).collect();
        found
            .into_iter()
            .map(|binding| (binding, self.role(&binding.role, &binding.namespace)))
    }

    /// Whether some rule allows it.
    pub fn decide(&self, asked: &Attributes<'_>) -> Outcome {
        let mut errors = Vec::new();
        for (binding, rules) in self.bindings(asked.user, asked.namespace) {
            match rules {
                Ok(rules) if rules.iter().any(|rule| rule.allows(asked)) => {
                    let subject = binding
                        .subjects
                        .iter()
                        .find(|s| s.is(asked.user, &binding.namespace));
                    let shown = subject.map(|s| binding.shown(s)).unwrap_or_default();
                    return Outcome::allow(format!("RBAC: allowed by {shown}"));
                }
                Ok(_) => {}
                Err(missing) => errors.push(missing),
            }
        }
        match aggregate(errors) {
            None => Outcome::none(""),
            Some(errors) => Outcome::none(format!("RBAC: {errors}")),
        }
    }

    /// All rules for a user in a namespace, and what went wrong on the way.
    pub fn rules(&self, user: &Identity, namespace: &str) -> (Vec<&Rule>, Option<String>) {
        let (mut all, mut errors) = (Vec::new(), Vec::new());
        for (_, rules) in self.bindings(user, namespace) {
            match rules {
                Ok(rules) => all.extend(rules),
                Err(missing) => errors.push(missing),
            }
        }
        (all, aggregate(errors))
    }
}

/// Errors as upstream puts them together.
fn aggregate(mut errors: Vec<String>) -> Option<String> {
    let mut seen = std::collections::HashSet::new();
    errors.retain(|e| seen.insert(e.clone()));
    match errors.len() {
        0 => None,
        1 => errors.pop(),
        _ => Some(format!("[{}]", errors.join(", "))),
    }
}

#[cfg(test)]
mod tests;
