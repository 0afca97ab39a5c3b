//! The kinds that the API server serves.

use std::time::Duration;

use kube::{
    Client,
    core::discovery::v2::{APIGroupDiscovery, APIResourceDiscovery},
};
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(10);

/// A kind of objects that can be listed, watched and deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::controllers) struct Resource {
    pub(in crate::controllers) group: String,
    pub(in crate::controllers) version: String,
    pub(in crate::controllers) kind: String,
    pub(in crate::controllers) plural: String,
    pub(in crate::controllers) namespaced: bool,
    pub(in crate::controllers) deletes_collection: bool,
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

    /// Events are the one kind that ownership is not kept for.
    fn is_event(&self) -> bool {
        self.kind == "Event"
    }
}

/// Why the kinds are not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("ask the API server for its kinds")]
    Discover(#[source] kube::Error),
    #[error("ask the API server for its kinds: no answer within {DEADLINE:?}")]
    Deadline,
}

/// Asks for all kinds (but events), each in its preferred version.
pub(super) async fn discover(client: &Client) -> Result<Vec<Resource>, Error> {
    let answers = async {
        let core = client.list_core_api_versions_aggregated().await?;
        let groups = client.list_api_groups_aggregated().await?;
        Ok(core.items.into_iter().chain(groups.items))
    };
    let groups = timeout(DEADLINE, answers)
        .await
        .map_err(|_| Error::Deadline)?;
    let resources = groups.map_err(Error::Discover)?.flat_map(of_group);
    Ok(resources.filter(|resource| !resource.is_event()).collect())
}

/// The kinds of a group; of several versions the first is preferred.
fn of_group(group: APIGroupDiscovery) -> Vec<Resource> {
    let name = group
        .metadata
        .and_then(|meta| meta.name)
        .unwrap_or_default();
    let mut found: Vec<Resource> = Vec::new();
    for version in group.versions {
        let number = version.version.unwrap_or_default();
        for resource in version.resources {
            let Some(resource) = of_version(&name, &number, resource) else {
                continue;
            };
            if !found.iter().any(|other| other.plural == resource.plural) {
                found.push(resource);
            }
        }
    }
    found
}

fn of_version(group: &str, version: &str, resource: APIResourceDiscovery) -> Option<Resource> {
    let can = |verb: &str| resource.verbs.iter().any(|one| one == verb);
    let kind = resource.response_kind.as_ref()?.kind.clone()?;
    (can("list") && can("watch") && can("delete")).then(|| Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        kind,
        plural: resource.resource.clone().unwrap_or_default(),
        namespaced: resource.scope.as_deref() == Some("Namespaced"),
        deletes_collection: can("deletecollection"),
    })
}
