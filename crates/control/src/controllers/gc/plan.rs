//! What the garbage collector does about one object.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::PropagationPolicy;

use crate::controllers::inventory::{Graph, Object, Observed};

/// An owner that the graph does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Lives,
    Gone,
    /// The server has no such kind, so it can't be looked up.
    Unknown,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Nothing,
    Delete(PropagationPolicy),
    /// Owners wait for it and it for its dependents, one of which waits as
    /// well: it may be a circle. Let it block no owner, then delete it.
    UnblockAndDelete,
    /// Remove these owners; others keep the object.
    DropOwners(Vec<String>),
    /// These dependents have to go first: look at each.
    Look(Vec<String>),
    /// Release the dependents, then let the object go.
    Orphan {
        dependents: Vec<Object>,
    },
    /// The last dependent is gone: let the object go.
    DropForeground,
}

/// True if an object may ever need an action.
pub(super) fn concerns(object: &Object) -> bool {
    match object.deleting {
        true => object.foreground || object.orphan,
        false => !object.owners.is_empty(),
    }
}

/// The objects to look at after a change.
pub(super) fn affected(graph: &Graph, observed: &Observed<'_>) -> Vec<String> {
    let object = observed.object;
    let mut uids = Vec::new();
    if observed.gone {
        uids.extend(
            graph
                .dependents(&object.uid)
                .map(|dependent| dependent.uid.clone()),
        );
    } else if concerns(object) {
        uids.push(object.uid.clone());
    }
    // An owner may have lost what it waited for, also by being an owner no more.
    let before = observed.before.iter().flat_map(|before| &before.owners);
    let owners = object
        .owners
        .iter()
        .chain(before)
        .filter_map(|owner| graph.get(&owner.uid));
    uids.extend(
        owners
            .filter(|owner| owner.waits_for_dependents())
            .map(|owner| owner.uid.clone()),
    );
    uids
}

/// Decides; `found` tells of owners that are not in the graph.
pub(super) fn plan(object: &Object, graph: &Graph, found: &BTreeMap<String, Owner>) -> Action {
    if object.deleting {
        return plan_deleting(object, graph);
    }
    let mut lives = false;
    let mut waits = false;
    let mut useless = Vec::new();
    for owner in &object.owners {
        match graph.get(&owner.uid) {
            Some(node) if is_out_of_reach(object, node) => useless.push(owner.uid.clone()),
            Some(node) if node.waits_for_dependents() => {
                waits = true;
                useless.push(owner.uid.clone());
            }
            Some(_) => lives = true,
            None if found.get(&owner.uid) == Some(&Owner::Gone) => useless.push(owner.uid.clone()),
            None => lives = true,
        }
    }
    if lives {
        return match useless.is_empty() {
            true => Action::Nothing,
            false => Action::DropOwners(useless),
        };
    }
    if useless.is_empty() {
        return Action::Nothing;
    }
    let has_dependents = graph.dependents(&object.uid).next().is_some();
    let waiting_dependent = graph
        .dependents(&object.uid)
        .any(Object::waits_for_dependents);
    if waits && waiting_dependent {
        return Action::UnblockAndDelete;
    }
    Action::Delete(match object {
        // The owner waits, so this one waits for its own as well.
        _ if waits && has_dependents => PropagationPolicy::Foreground,
        Object { orphan: true, .. } => PropagationPolicy::Orphan,
        Object {
            foreground: true, ..
        } => PropagationPolicy::Foreground,
        _ => PropagationPolicy::Background,
    })
}

/// Owners in other namespaces.
pub(super) fn strangers<'a>(object: &'a Object, graph: &Graph) -> Vec<&'a OwnerReference> {
    let stranger = |owner: &&OwnerReference| {
        graph
            .get(&owner.uid)
            .is_some_and(|node| is_out_of_reach(object, node))
    };
    object.owners.iter().filter(stranger).collect()
}

/// An owner in another namespace owns nothing.
fn is_out_of_reach(object: &Object, owner: &Object) -> bool {
    owner
        .key
        .scope()
        .is_some_and(|scope| object.key.scope() != Some(scope))
}

fn plan_deleting(object: &Object, graph: &Graph) -> Action {
    if object.orphan {
        let dependents = graph.dependents(&object.uid).cloned().collect();
        return Action::Orphan { dependents };
    }
    if !object.foreground {
        return Action::Nothing;
    }
    let blocking = graph
        .dependents(&object.uid)
        .filter(|one| object.is_blocked_by(one));
    let blocking: Vec<&Object> = blocking.collect();
    if blocking.is_empty() {
        return Action::DropForeground;
    }
    let not_yet = graph
        .dependents(&object.uid)
        .filter(|dependent| !dependent.deleting);
    Action::Look(not_yet.map(|dependent| dependent.uid.clone()).collect())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::json;

    use super::*;
    use crate::controllers::inventory::graph_of;

    #[test]
    fn owner_that_waits_learns_of_dependents_that_left_it() {
        let (waiting, before) = (
            meta("rc", "ns", "foreground", &[]),
            meta("pod", "ns", "", &["rc"]),
        );
        let after = meta("pod", "ns", "", &[]);
        let had = graph_of(&[waiting.clone(), before]);
        let has = graph_of(&[waiting, after]);
        let (before, after) = (had.get("pod").unwrap(), has.get("pod").unwrap());
        let observed = |object, before, gone| Observed {
            object,
            before,
            gone,
        };
        assert_eq!(
            affected(&has, &observed(after, Some(before), false)),
            ["rc"]
        );
        assert!(affected(&has, &observed(after, Some(after), false)).is_empty());
        let gone = affected(&had, &observed(had.get("rc").unwrap(), None, true));
        assert_eq!(gone, ["pod"]);
    }

    fn meta(uid: &str, namespace: &str, state: &str, owners: &[&str]) -> ObjectMeta {
        let owners: Vec<_> = owners
            .iter()
            .map(|uid| {
                json!({"apiVersion": "v1", "kind": "K", "name": uid, "uid": uid,
                    "blockOwnerDeletion": true})
            })
            .collect();
        let (deleting, finalizer) = match state {
            "foreground" => (true, Some("foregroundDeletion")),
            "orphan" => (true, Some("orphan")),
            "deleting" => (true, None),
            _ => (false, None),
        };
        let mut meta = json!({"uid": uid, "name": uid, "ownerReferences": owners});
        if !namespace.is_empty() {
            meta["namespace"] = json!(namespace);
        }
        if deleting {
            meta["deletionTimestamp"] = json!("2026-11-24T12:00:00Z");
        }
        meta["finalizers"] = json!(finalizer.into_iter().collect::<Vec<_>>());
        serde_json::from_value(meta).unwrap()
    }

    fn decide(uid: &str, objects: &[ObjectMeta], gone: &[&str]) -> Action {
        let graph = graph_of(objects);
        let found = gone
            .iter()
            .map(|uid| ((*uid).to_owned(), Owner::Gone))
            .collect();
        plan(graph.get(uid).unwrap(), &graph, &found)
    }

    #[test]
    fn an_object_lives_as_long_as_one_owner() {
        let delete = || Action::Delete(PropagationPolicy::Background);
        let live = meta("o", "ns", "", &[]);
        let table = [
            (meta("x", "ns", "", &["o"]), Action::Nothing),
            (meta("x", "ns", "", &["gone"]), delete()),
            (
                meta("x", "ns", "", &["gone", "o"]),
                Action::DropOwners(vec!["gone".into()]),
            ),
            (meta("x", "ns", "", &["unknown"]), Action::Nothing),
            (meta("x", "other", "", &["o"]), delete()),
            (meta("x", "", "", &["o"]), delete()),
            (meta("x", "ns", "deleting", &["gone"]), Action::Nothing),
        ];
        for (object, expected) in table {
            let got = decide("x", &[live.clone(), object.clone()], &["gone"]);
            assert_eq!(got, expected, "{object:?}");
        }
    }

    #[test]
    fn foreground_deletion_goes_from_the_leaves_up() {
        let deployment = meta("d", "ns", "foreground", &[]);
        let set = meta("r", "ns", "", &["d"]);
        let pod = meta("p", "ns", "", &["r"]);
        let all = [deployment.clone(), set, pod.clone()];
        assert_eq!(decide("d", &all, &[]), Action::Look(vec!["r".into()]));
        assert_eq!(
            decide("r", &all, &[]),
            Action::Delete(PropagationPolicy::Foreground)
        );
        let set = meta("r", "ns", "foreground", &["d"]);
        let all = [deployment.clone(), set.clone(), pod];
        assert_eq!(decide("r", &all, &[]), Action::Look(vec!["p".into()]));
        assert_eq!(
            decide("p", &all, &[]),
            Action::Delete(PropagationPolicy::Background)
        );
        let all = [deployment.clone(), set];
        assert_eq!(decide("r", &all, &[]), Action::DropForeground);
        assert_eq!(decide("d", &all, &[]), Action::Look(vec![]));
        assert_eq!(decide("d", &[deployment], &[]), Action::DropForeground);
    }

    #[test]
    fn a_circle_of_waiting_owners_is_broken() {
        let first = meta("a", "ns", "foreground", &["b"]);
        let second = meta("b", "ns", "", &["a"]);
        let all = [first.clone(), second];
        assert_eq!(decide("b", &all, &[]), Action::UnblockAndDelete);
        let mut second = meta("b", "ns", "foreground", &["a"]);
        second.owner_references.as_mut().unwrap()[0].block_owner_deletion = Some(false);
        assert_eq!(decide("a", &[first, second], &[]), Action::DropForeground);
    }

    #[test]
    fn orphaning_releases_the_dependents_first() {
        let set = meta("r", "ns", "orphan", &[]);
        let pod = meta("p", "ns", "", &["r"]);
        let Action::Orphan { dependents } = decide("r", &[set.clone(), pod], &[]) else {
            panic!("dependents have to be released");
        };
        assert_eq!(dependents[0].uid, "p");
        assert_eq!(
            decide("r", &[set], &[]),
            Action::Orphan { dependents: vec![] }
        );
    }
}
