//! `/healthz`, `/livez`, `/readyz`: whether the server is well, with upstream's checks by name.
//!
//! The server opens its port when its store is read and the objects of every cluster are made, so a check that upstream
//! has for a step of its start is true from the first answer on. What can turn false later is looked at: the store, the
//! end of the server.

use crate::Options;
use crate::answer::{self, HttpResponse};
use crate::query::Query;
use crate::server::Server;

/// Where a check is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Everywhere,
    /// At `/healthz` and `/livez`.
    Alive,
    /// At `/readyz`.
    Ready,
}

use Asked::{Alive, Everywhere, Ready};

/// Upstream's checks in upstream's order.
const CHECKS: [(&str, Asked); 37] = [
    ("ping", Everywhere),
    ("log", Everywhere),
    ("loopback-serving-certificate", Alive),
    ("etcd", Everywhere),
    ("etcd-readiness", Ready),
    ("informer-sync", Ready),
    (
        "poststarthook/start-apiserver-admission-initializer",
        Everywhere,
    ),
    (
        "poststarthook/generic-apiserver-start-informers",
        Everywhere,
    ),
    (
        "poststarthook/priority-and-fairness-config-consumer",
        Everywhere,
    ),
    ("poststarthook/priority-and-fairness-filter", Everywhere),
    (
        "poststarthook/storage-object-count-tracker-hook",
        Everywhere,
    ),
    ("poststarthook/start-apiextensions-informers", Everywhere),
    ("poststarthook/start-apiextensions-controllers", Everywhere),
    ("poststarthook/crd-informer-synced", Everywhere),
    (
        "poststarthook/start-system-namespaces-controller",
        Everywhere,
    ),
    (
        "poststarthook/peer-endpoint-reconciler-controller",
        Everywhere,
    ),
    (
        "poststarthook/start-cluster-authentication-info-controller",
        Everywhere,
    ),
    (
        "poststarthook/start-kube-apiserver-identity-lease-controller",
        Everywhere,
    ),
    (
        "poststarthook/start-kube-apiserver-identity-lease-garbage-collector",
        Everywhere,
    ),
    ("poststarthook/storage-readiness", Everywhere),
    (
        "poststarthook/start-legacy-token-tracking-controller",
        Everywhere,
    ),
    (
        "poststarthook/start-service-ip-repair-controllers",
        Everywhere,
    ),
    ("poststarthook/rbac/bootstrap-roles", Everywhere),
    (
        "poststarthook/scheduling/bootstrap-system-priority-classes",
        Everywhere,
    ),
    (
        "poststarthook/priority-and-fairness-config-producer",
        Everywhere,
    ),
    ("poststarthook/bootstrap-controller", Everywhere),
    (
        "poststarthook/start-kubernetes-service-cidr-controller",
        Everywhere,
    ),
    ("poststarthook/start-kube-aggregator-informers", Everywhere),
    (
        "poststarthook/apiservice-status-local-available-controller",
        Everywhere,
    ),
    (
        "poststarthook/apiservice-status-remote-available-controller",
        Everywhere,
    ),
    (
        "poststarthook/apiservice-registration-controller",
        Everywhere,
    ),
    ("poststarthook/apiservice-discovery-controller", Everywhere),
    ("poststarthook/kube-apiserver-autoregistration", Everywhere),
    ("autoregister-completion", Everywhere),
    ("poststarthook/apiservice-openapi-controller", Everywhere),
    ("poststarthook/apiservice-openapiv3-controller", Everywhere),
    ("shutdown", Ready),
];

/// The names of a root's checks.
fn checks(root: &str) -> impl Iterator<Item = &'static str> {
    let ready = root == "readyz";
    CHECKS
        .iter()
        .filter(move |(_, asked)| *asked != if ready { Alive } else { Ready })
        .map(|(name, _)| *name)
}

/// The paths of all checks, for the list of paths.
pub fn paths() -> Vec<String> {
    let below = |root| checks(root).map(move |name| format!("/{root}/{name}"));
    let roots = ["healthz", "livez", "readyz"];
    let mut paths: Vec<String> = roots.map(|root| format!("/{root}")).into();
    paths.extend(roots.into_iter().flat_map(below));
    paths
}

/// What is wrong, by the name of a check.
fn failure(server: &Server, check: &str) -> Option<&'static str> {
    match check {
        "etcd" | "etcd-readiness" if server.store.is_closed() => Some("the store is closed"),
        "shutdown" if is_ending(&server.options) => Some("process is shutting down"),
        _ => None,
    }
}

fn is_ending(options: &Options) -> bool {
    options.terminating.is_cancelled() || options.shutdown.is_cancelled()
}

/// Every check of every root: its name, the root, whether it is well.
pub fn results(server: &Server) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
    let roots = ["healthz", "livez", "readyz"].into_iter();
    roots.flat_map(move |root| {
        checks(root).map(move |name| (name, root, failure(server, name).is_none()))
    })
}

/// Answers `/ROOT` (with `check` empty) or `/ROOT/CHECK`.
pub fn answer(server: &Server, root: &str, check: &str, query: &Query) -> HttpResponse {
    let failing = |name: &str| failure(server, name);
    if check.is_empty() {
        return all(root, query, &failing);
    }
    match checks(root).any(|name| name == check) {
        false => answer::page_not_found(),
        true => match failing(check) {
            Some(why) => answer::error(500, &format!("internal server error: {why}")),
            None => answer::text(200, "ok"),
        },
    }
}

/// Answers for all checks of a root.
fn all(root: &str, query: &Query, failing: &dyn Fn(&str) -> Option<&'static str>) -> HttpResponse {
    let excluded: Vec<&str> = query.all("exclude").collect();
    let mut unknown = excluded.clone();
    let mut report = String::new();
    let mut failed = false;
    for name in checks(root) {
        if excluded.contains(&name) {
            unknown.retain(|u| *u != name);
            report += &format!("[+]{name} excluded: ok\n");
        } else if let Some(why) = failing(name) {
            failed = true;
            tracing::warn!(check = name, why, "health check failed");
            report += &format!("[-]{name} failed: reason withheld\n");
        } else {
            report += &format!("[+]{name} ok\n");
        }
    }
    unknown.sort_unstable();
    unknown.dedup();
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.iter().map(|name| format!("{name:?}")).collect();
        report += "warn: some health checks cannot be excluded: no matches for ";
        report += &names.join(",");
        report.push('\n');
    }
    if failed {
        return answer::error(500, &format!("{report}{root} check failed"));
    }
    let text = match query.get("verbose") {
        Some(_) => format!("{report}{root} check passed\n"),
        None => "ok".to_owned(),
    };
    answer::nosniff(answer::text(200, text))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn told(query: &str, failing: &str) -> (u16, String) {
        let query = Query::parse(Some(query));
        let answer = all("readyz", &query, &|name| {
            (name == failing).then_some("broken")
        });
        let code = answer.status().as_u16();
        let body = answer
            .into_body()
            .collect()
            .await
            .expect("in memory")
            .to_bytes();
        (code, String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn failures_are_told_even_if_not_asked_for() {
        let (code, text) = told("", "shutdown").await;
        assert_eq!(code, 500);
        assert!(text.starts_with("[+]ping ok\n"), "{text}");
        assert!(
            text.ends_with("[-]shutdown failed: reason withheld\nreadyz check failed\n"),
            "{text}"
        );
        assert_eq!(
            told("exclude=shutdown", "shutdown").await,
            (200, "ok".to_owned())
        );
    }

    #[tokio::test]
    async fn names_that_cannot_be_excluded_are_told() {
        let (code, text) = told("verbose&exclude=b&exclude=a&exclude=etcd", "").await;
        assert_eq!(code, 200);
        assert!(text.contains("[+]etcd excluded: ok\n"), "{text}");
        let end = "warn: some health checks cannot be excluded: no matches for \"a\",\"b\"\nreadyz check passed\n";
        assert!(text.ends_with(end), "{text}");
    }
}
