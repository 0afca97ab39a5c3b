//! Which kinds came, and which went.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio_util::sync::CancellationToken;

use super::Resource;

/// A kind that is followed, or was: then its token is cancelled.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    pub(super) resource: Arc<Resource>,
    pub(super) stop: CancellationToken,
    synced: Arc<AtomicBool>,
}

impl Followed {
    pub(super) fn new(resource: Resource, stop: CancellationToken) -> Self {
        Self {
            resource: Arc::new(resource),
            stop,
            synced: Arc::default(),
        }
    }

    /// Says that the first list is in, or will never be; true the first time.
    pub(super) fn note_synced(&self) -> bool {
        !self.synced.swap(true, Ordering::AcqRel)
    }
}

/// What to do so that the followed kinds are those of the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) new: Vec<Resource>,
    /// Numbers of kinds.
    pub(super) gone: Vec<usize>,
}

/// Compares. A group's version that could not be asked for (`failed`) keeps its kinds. A kind whose preferred version
/// is another one, or which became another kind under the same name, goes and comes.
pub(super) fn change(followed: &[Followed], found: Vec<Resource>, failed: &[String]) -> Change {
    let unknown = |known: &Resource| failed.contains(&format!("{}/{}", known.group, known.version));
    let living = || {
        followed
            .iter()
            .enumerate()
            .filter(|(_, one)| !one.stop.is_cancelled())
    };
    let gone = living()
        .filter(|(_, one)| !unknown(&one.resource) && !found.contains(&one.resource))
        .map(|(number, _)| number)
        .collect();
    let known = |resource: &Resource| living().any(|(_, one)| *one.resource == *resource);
    let new = found
        .into_iter()
        .filter(|resource| !known(resource))
        .collect();
    Change { new, gone }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(plural: &str, version: &str) -> Resource {
        Resource {
            group: "example.com".into(),
            version: version.into(),
            kind: plural.to_uppercase(),
            plural: plural.into(),
            namespaced: true,
            deletes_collection: true,
            watches: true,
        }
    }

    fn followed(resources: &[Resource]) -> Vec<Followed> {
        let followed = resources
            .iter()
            .map(|one| Followed::new(one.clone(), CancellationToken::new()));
        followed.collect()
    }

    #[test]
    fn kinds_come_and_go() {
        let (a, b, newer) = (
            resource("a", "v1"),
            resource("b", "v1"),
            resource("a", "v2"),
        );
        let have = followed(&[a.clone(), b.clone()]);
        let table = [
            (vec![a.clone(), b.clone()], vec![], vec![], vec![]),
            (vec![a.clone()], vec![], vec![], vec![1]),
            (
                vec![newer.clone(), b.clone()],
                vec![],
                vec![newer.clone()],
                vec![0],
            ),
            (vec![], vec!["example.com/v1".to_owned()], vec![], vec![]),
            (
                vec![],
                vec!["example.org/v1".to_owned()],
                vec![],
                vec![0, 1],
            ),
        ];
        for (found, failed, new, gone) in table {
            assert_eq!(
                change(&have, found.clone(), &failed),
                Change { new, gone },
                "{found:?} {failed:?}"
            );
        }
    }

    #[test]
    fn a_kind_that_went_may_come_back() {
        let a = resource("a", "v1");
        let have = followed(std::slice::from_ref(&a));
        have[0].stop.cancel();
        let back = Change {
            new: vec![a.clone()],
            gone: vec![],
        };
        assert_eq!(change(&have, vec![a], &[]), back);
    }
}
