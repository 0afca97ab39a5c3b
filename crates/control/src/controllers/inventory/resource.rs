//! The kinds that the API server serves.

use std::time::Duration;

use kube::{
    Client,
    core::discovery::v2::{APIGroupDiscovery, APIResourceDiscovery},
};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(10);

/// A kind of objects that can be listed and deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::controllers) struct Resource {
    pub(in crate::controllers) group: String,
    pub(in crate::controllers) version: String,
    pub(in crate::controllers) kind: String,
    pub(in crate::controllers) plural: String,
    pub(in crate::controllers) namespaced: bool,
    pub(in crate::controllers) deletes_collection: bool,
    /// Changes can be watched.
    pub(in crate::controllers) watches: bool,
}

impl Resource {
    /// The path of the collection, in a namespace or of all of them.
    pub(in crate::controllers) fn path(&self, namespace: Option<&str>) -> String {
        let Self {
            group,
            version,
            plural,
            ..
        } = self;
        let root = match group.as_str() {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
            None => format!("{root}/{plural}"),
        }
    }

    /// The name by which people know it, such as `deployments.apps`.
    pub(in crate::controllers) fn full_name(&self) -> String {
        // Upstream writes the dot also where the group is empty.
        format!("{}.{}", self.plural, self.group)
    }

    /// Events are the one kind that ownership is not kept for; what can't be watched can't be followed.
    pub(super) fn is_followed(&self) -> bool {
        self.watches && self.kind != "Event"
    }

    /// Objects of this kind add kinds to the server.
    pub(super) fn makes_kinds(&self) -> bool {
        let name = (self.group.as_str(), self.kind.as_str());
        matches!(
            name,
            ("apiextensions.k8s.io", "CustomResourceDefinition")
                | ("apiregistration.k8s.io", "APIService")
        )
    }
}

/// What the server says of its kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::controllers) struct Discovered {
    /// What can be listed and deleted, each in its preferred version.
    pub(in crate::controllers) resources: Vec<Resource>,
    /// Groups' versions (`example.com/v1`) that the server could not ask for.
    pub(in crate::controllers) failed: Vec<String>,
}

/// Why the kinds are not known.
#[derive(Debug, thiserror::Error)]
pub(in crate::controllers) enum Error {
    #[error("ask the API server for its kinds")]
    Discover(#[source] kube::Error),
    #[error("ask the API server for its kinds: no answer within {DEADLINE:?}")]
    Deadline,
}

/// Asks for all kinds.
pub(in crate::controllers) async fn discover(client: &Client) -> Result<Discovered, Error> {
    let answers = async {
        let core = client.list_core_api_versions_aggregated().await?;
        let groups = client.list_api_groups_aggregated().await?;
        Ok(core.items.into_iter().chain(groups.items))
    };
    let groups = timeout(DEADLINE, answers)
        .await
        .map_err(|_| Error::Deadline)?;
    let mut found = Discovered::default();
    groups
        .map_err(Error::Discover)?
        .for_each(|group| found.add(group));
    Ok(found)
}

impl Discovered {
    /// Adds the kinds of a group; of several versions the first is preferred.
    fn add(&mut self, group: APIGroupDiscovery) {
        let name = group
            .metadata
            .and_then(|meta| meta.name)
            .unwrap_or_default();
        let mut found: Vec<Resource> = Vec::new();
        for version in group.versions {
            let number = version.version.unwrap_or_default();
            if version.freshness.as_deref() == Some("Stale") {
                self.failed.push(format!("{name}/{number}"));
            }
            for resource in version.resources {
                let Some(resource) = of_version(&name, &number, resource) else {
                    continue;
                };
                if !found.iter().any(|other| other.plural == resource.plural) {
                    found.push(resource);
                }
            }
        }
        self.resources.append(&mut found);
    }
}

fn of_version(group: &str, version: &str, resource: APIResourceDiscovery) -> Option<Resource> {
    let can = |verb: &str| resource.verbs.iter().any(|one| one == verb);
    let kind = resource.response_kind.as_ref()?.kind.clone()?;
    (can("list") && can("delete")).then(|| Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        kind,
        plural: resource.resource.clone().unwrap_or_default(),
        namespaced: resource.scope.as_deref() == Some("Namespaced"),
        deletes_collection: can("deletecollection"),
        watches: can("watch"),
    })
}
