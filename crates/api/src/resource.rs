//! The built-in resources of Kubernetes v1.37, as a table.
//!
//! A [`Resource`] is what discovery says about one plural name in one group and version, plus where its objects are
//! stored. The table is data (`data/resources.tsv`, taken from the discovery documents of kube-apiserver v1.37.2) in
//! upstream's order; custom resources make the same [`Resource`] values at run time and join through
//! [`Table::with_custom`]. A table never changes: a server that learns of another resource makes another table, which
//! shares the groups that are as they were. Absent: anything about the fields of an object, but for where to find it
//! ([`Resource::shown_type`]).

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::crd::Custom;
use crate::schema::{Schema, Type};

/// A text that is static for built-in resources and owned for custom ones.
pub type Name = Cow<'static, str>;

/// One verb of the API. The order is alphabetic, which is the order in discovery documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Verb {
    /// `POST` to a collection or to a subresource.
    Create,
    /// `DELETE` of one object.
    Delete,
    /// `DELETE` of a collection.
    DeleteCollection,
    /// `GET` of one object.
    Get,
    /// `GET` of a collection.
    List,
    /// `PATCH` of one object.
    Patch,
    /// `PUT` of one object.
    Update,
    /// `GET` of a collection as a stream of events.
    Watch,
}

impl Verb {
    /// All verbs in alphabetic order.
    pub const ALL: [Verb; 8] = [
        Verb::Create,
        Verb::Delete,
        Verb::DeleteCollection,
        Verb::Get,
        Verb::List,
        Verb::Patch,
        Verb::Update,
        Verb::Watch,
    ];

    /// The verb as RBAC and discovery write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Patch => "patch",
            Verb::Update => "update",
            Verb::Watch => "watch",
        }
    }

    fn parse(text: &str) -> Option<Verb> {
        Verb::ALL.into_iter().find(|v| v.as_str() == text)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verbs(u8);

impl Verbs {
    /// Every verb of a stored resource.
    pub const ALL: Verbs = Verbs(0xff);

    /// Whether the verb is in the set.
    pub fn contains(self, verb: Verb) -> bool {
        self.0 & (1 << verb as u8) != 0
    }

    /// The verbs in alphabetic order.
    pub fn iter(self) -> impl Iterator<Item = Verb> {
        Verb::ALL.into_iter().filter(move |v| self.contains(*v))
    }

    fn parse(text: &str) -> Verbs {
        match text {
            "*" => Verbs::ALL,
            _ => text.split(',').filter_map(Verb::parse).collect(),
        }
    }
}

impl FromIterator<Verb> for Verbs {
    fn from_iter<I: IntoIterator<Item = Verb>>(verbs: I) -> Verbs {
        Verbs(verbs.into_iter().fold(0, |set, v| set | (1 << v as u8)))
    }
}

/// A group, a version and a kind: what `apiVersion` and `kind` of an object say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersionKind {
    /// Empty for the core group.
    pub group: Name,
    /// For example `v1`.
    pub version: Name,
    /// For example `Pod`.
    pub kind: Name,
}

impl GroupVersionKind {
    /// The `apiVersion` of an object of this kind.
    pub fn api_version(&self) -> Cow<'_, str> {
        join_group_version(&self.group, &self.version)
    }
}

impl fmt::Display for GroupVersionKind {
    /// As Go prints the struct: `apps/v1, Kind=Deployment`, `/v1, Kind=Pod`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Kind={}", self.group, self.version, self.kind)
    }
}

/// A path below an object: `pods/log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subresource {
    /// The last part of the path: `status`.
    pub name: Name,
    /// What a request or an answer holds; differs from the parent's for `scale`, `eviction`, `exec` and others.
    pub kind: GroupVersionKind,
    /// Whether [`Subresource::kind`]'s group and version are written in discovery.
    pub foreign: bool,
    /// What it can do.
    pub verbs: Verbs,
}

/// Where the objects of a resource are kept. Resources with equal group and plural share their objects.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Storage {
    /// Group of the resource that the objects are kept as; empty for the core group.
    pub group: Name,
    /// The version they are kept in.
    pub version: Name,
}

/// What discovery says about one plural name in one group and version.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Empty for the core group.
    pub group: Name,
    /// For example `v1`.
    pub version: Name,
    /// The name in paths: `pods`.
    pub plural: Name,
    /// The name in sentences: `pod`.
    pub singular: Name,
    /// The kind of one object.
    pub kind: Name,
    /// The kind of a list of objects.
    pub list_kind: Name,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// What it can do.
    pub verbs: Verbs,
    /// `po` for pods.
    pub short_names: Vec<Name>,
    /// `all`, `api-extensions`.
    pub categories: Vec<Name>,
    /// Absent for reviews, bindings and component statuses, which are computed and never kept.
    pub storage: Option<Storage>,
    /// The opaque `storageVersionHash` of discovery.
    pub storage_version_hash: Option<Name>,
    /// In alphabetic order.
    pub subresources: Vec<Subresource>,
    /// What its CustomResourceDefinition says; absent for built-in resources.
    pub custom: Option<Arc<Custom>>,
}

impl Resource {
    /// The `apiVersion` of its objects: `v1`, `apps/v1`.
    pub fn api_version(&self) -> Cow<'_, str> {
        join_group_version(&self.group, &self.version)
    }

    /// The kind of its objects.
    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind {
            group: self.group.clone(),
            version: self.version.clone(),
            kind: self.kind.clone(),
        }
    }

    /// Whether it comes from a CustomResourceDefinition.
    pub fn is_custom(&self) -> bool {
        self.custom.is_some()
    }

    /// The type of its objects as the endpoint has them.
    pub fn shown_type(&self) -> Option<Type<'_>> {
        match &self.custom {
            Some(custom) => Some(custom.ty()),
            None => Schema::builtin().kind(&self.group, &self.version, &self.kind),
        }
    }

    /// The type of its objects as they are stored.
    pub fn stored_type(&self) -> Option<Type<'_>> {
        let own = (&*self.group, &*self.version);
        let stored = self.storage.as_ref().map(|s| (&*s.group, &*s.version));
        match &self.custom {
            Some(custom) => Some(custom.ty()),
            None => {
                let (group, version) = stored.unwrap_or(own);
                Schema::builtin().kind(group, version, &self.kind)
            }
        }
    }

    /// `deployments.apps`, `pods`: the name in `Status` texts.
    pub fn qualified(&self) -> Cow<'_, str> {
        match self.group.is_empty() {
            true => Cow::Borrowed(&*self.plural),
            false => Cow::Owned(format!("{}.{}", self.plural, self.group)),
        }
    }

    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }
}

fn join_group_version<'a>(group: &'a str, version: &'a str) -> Cow<'a, str> {
    match group.is_empty() {
        true => Cow::Borrowed(version),
        false => Cow::Owned(format!("{group}/{version}")),
    }
}

/// One version of a group, with its resources in alphabetic order.
#[derive(Debug, Clone)]
pub struct Version {
    /// For example `v1`.
    pub name: Name,
    /// In alphabetic order of their plural names.
    pub resources: Vec<Arc<Resource>>,
}

/// A group, with its versions in the order of preference.
#[derive(Debug, Clone)]
pub struct Group {
    /// Empty for the core group.
    pub name: Name,
    /// Preferred first.
    pub versions: Vec<Version>,
}

/// All resources that a server has, in the order of discovery: the core group, then built-in groups by upstream's
/// priority, then groups of custom resources.
#[derive(Debug, Clone, Default)]
pub struct Table {
    groups: Vec<Arc<Group>>,
}

impl Table {
    /// The built-in resources.
    pub fn builtin() -> &'static Table {
        static TABLE: OnceLock<Table> = OnceLock::new();
        TABLE.get_or_init(|| {
            let mut table = Table::default();
            for line in include_str!("data/resources.tsv")
                .lines()
                .filter(|l| !l.starts_with('#'))
            {
                table.push(Arc::new(parse_line(line)));
            }
            table
        })
    }

    /// This table with more resources behind it; order of groups and versions is that of first appearance. Groups
    /// that get nothing new are shared with this table.
    pub fn with_custom(&self, resources: impl IntoIterator<Item = Arc<Resource>>) -> Table {
        let mut table = self.clone();
        resources.into_iter().for_each(|r| table.push(r));
        table
    }

    fn push(&mut self, resource: Arc<Resource>) {
        let known = self.groups.iter().position(|g| g.name == resource.group);
        let at = known.unwrap_or_else(|| {
            self.groups.push(Arc::new(Group {
                name: resource.group.clone(),
                versions: Vec::new(),
            }));
            self.groups.len() - 1
        });
        let group = Arc::make_mut(&mut self.groups[at]);
        match group
            .versions
            .iter_mut()
            .find(|v| v.name == resource.version)
        {
            Some(version) => version.resources.push(resource),
            None => group.versions.push(Version {
                name: resource.version.clone(),
                resources: vec![resource],
            }),
        }
    }

    /// The groups in the order of discovery; the core group has the empty name and is first.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().map(|g| &**g)
    }

    /// The group of that name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups().find(|g| g.name == name)
    }

    /// All (group, version) pairs in the order of discovery.
    pub fn group_versions(&self) -> impl Iterator<Item = (&str, &Version)> {
        self.groups
            .iter()
            .flat_map(|g| g.versions.iter().map(|v| (&*g.name, v)))
    }

    /// The resources of one group and version.
    pub fn version(&self, group: &str, version: &str) -> Option<&Version> {
        self.group(group)?
            .versions
            .iter()
            .find(|v| v.name == version)
    }

    /// All resources in the order of discovery.
    pub fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.group_versions().flat_map(|(_, v)| v.resources.iter())
    }

    /// By the parts of a path.
    pub fn lookup(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.version(group, version)?
            .resources
            .iter()
            .find(|r| r.plural == plural)
    }

    /// By what an object says of itself.
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.version(group, version)?
            .resources
            .iter()
            .find(|r| r.kind == kind)
    }
}

/// Splits an `apiVersion` into group and version; `None` when it has more than one slash.
pub fn split_api_version(api_version: &str) -> Option<(&str, &str)> {
    match api_version.split_once('/') {
        None => Some(("", api_version)),
        Some((_, rest)) if rest.contains('/') => None,
        Some(parts) => Some(parts),
    }
}

const COLUMNS: usize = 12;

fn parse_line(line: &'static str) -> Resource {
    let mut fields = [""; COLUMNS];
    fields
        .iter_mut()
        .zip(line.split('\t'))
        .for_each(|(to, from)| *to = from);
    let [
        group,
        version,
        plural,
        singular,
        kind,
        scope,
        verbs,
        short,
        categories,
        storage,
        hash,
        subresources,
    ] = fields;
    let present = |text: &'static str| Some(text).filter(|t| *t != "-");
    let names = |text| {
        present(text)
            .into_iter()
            .flat_map(|t: &str| t.split(','))
            .map(Cow::Borrowed)
            .collect()
    };
    let storage = present(storage)
        .and_then(split_api_or_core)
        .map(|(group, version)| Storage {
            group: group.into(),
            version: version.into(),
        });
    Resource {
        group: group.into(),
        version: version.into(),
        plural: plural.into(),
        singular: singular.into(),
        kind: kind.into(),
        // EndpointsList, not EndpointsesList: upstream only ever appends.
        list_kind: format!("{kind}List").into(),
        namespaced: scope == "Namespaced",
        verbs: Verbs::parse(verbs),
        short_names: names(short),
        categories: names(categories),
        storage,
        storage_version_hash: present(hash).map(Cow::Borrowed),
        subresources: present(subresources)
            .into_iter()
            .flat_map(|t| t.split(' '))
            .filter_map(|text| parse_subresource(group, version, text))
            .collect(),
        custom: None,
    }
}

fn split_api_or_core(text: &'static str) -> Option<(&'static str, &'static str)> {
    text.split_once('/')
}

/// `scale=Scale.v1.autoscaling:get,patch,update` or `log=Pod:get`.
fn parse_subresource(
    group: &'static str,
    version: &'static str,
    text: &'static str,
) -> Option<Subresource> {
    let (name, rest) = text.split_once('=')?;
    let (kind, verbs) = rest.split_once(':')?;
    let mut parts = kind.splitn(3, '.');
    let kind = parts.next()?;
    let foreign = parts.next().zip(parts.next());
    let (version, group) = foreign.unwrap_or((version, group));
    Some(Subresource {
        name: name.into(),
        kind: GroupVersionKind {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
        },
        foreign: foreign.is_some(),
        verbs: Verbs::parse(verbs),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_has_all_its_columns() {
        for line in include_str!("data/resources.tsv").lines() {
            assert_eq!(
                line.split('\t').count(),
                if line.starts_with('#') {
                    line.split('\t').count()
                } else {
                    COLUMNS
                }
            );
        }
        assert_eq!(Table::builtin().resources().count(), 72);
        assert_eq!(Table::builtin().group_versions().count(), 23);
    }

    #[test]
    fn versions_and_groups_share_storage() {
        let table = Table::builtin();
        let storage = |g, v, p| {
            table
                .lookup(g, v, p)
                .and_then(|r| r.storage.clone())
                .expect("stored")
        };
        assert_eq!(
            storage("autoscaling", "v1", "horizontalpodautoscalers").version,
            "v2"
        );
        assert_eq!(
            storage("events.k8s.io", "v1", "events"),
            storage("", "v1", "events")
        );
        assert_eq!(
            table.group("autoscaling").expect("built in").versions[0].name,
            "v2"
        );
        assert!(
            table
                .lookup("", "v1", "bindings")
                .expect("built in")
                .storage
                .is_none()
        );
    }

    #[test]
    fn subresources_name_their_kinds() {
        let table = Table::builtin();
        let pods = table.by_kind("", "v1", "Pod").expect("built in");
        let eviction = pods.subresource("eviction").expect("built in");
        assert_eq!(eviction.kind.to_string(), "policy/v1, Kind=Eviction");
        assert_eq!(eviction.verbs.iter().collect::<Vec<_>>(), [Verb::Create]);
        assert!(!pods.subresource("log").expect("built in").foreign);
        assert_eq!(
            table
                .lookup("apps", "v1", "deployments")
                .expect("built in")
                .qualified(),
            "deployments.apps"
        );
    }
}
