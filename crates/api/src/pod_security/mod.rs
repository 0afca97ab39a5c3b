//! Pod Security Standards: which Pods a level allows, in each version of the standards.
//!
//! Follows upstream's `pod-security-admission` with its texts. [`Policy`] reads a namespace's labels; [`evaluate`] says what
//! a level forbids in a Pod or a template. Absent: exemptions, which a cluster would have to configure.

mod checks;
mod finding;
mod policy;
mod profiles;

pub use finding::Findings;
pub use policy::{Level, LevelVersion, Policy, Version};

use serde_json::Value;

use finding::Finding;

/// The newest version of the standards: `latest`, and whatever is newer.
const NEWEST: u32 = 37;

/// What is looked at: a Pod, or the template of one.
pub(crate) struct Subject<'a> {
    pub(crate) annotations: &'a Value,
    pub(crate) spec: &'a Value,
}

impl<'a> Subject<'a> {
    /// Init containers first, ephemeral ones last.
    pub(crate) fn containers(&self) -> impl Iterator<Item = &'a Value> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(move |list| spec[list].as_array().into_iter().flatten())
    }

    pub(crate) fn is_windows(&self) -> bool {
        self.spec["os"]["name"] == "windows"
    }

    /// In a user namespace of its own, root of a Pod is not root of the node.
    pub(crate) fn has_user_namespace(&self) -> bool {
        self.spec["hostUsers"] == false
    }
}

type Check = fn(&Subject<'_>, u32) -> Option<Finding>;

/// A check, from which minor version on, and the check of the lower level that it replaces.
struct Entry(&'static str, u32, Option<&'static str>, Check);

/// In the order in which findings are told.
const BASELINE: [Entry; 12] = [
    Entry("appArmorProfile", 0, None, profiles::app_armor),
    Entry(
        "capabilities_baseline",
        0,
        None,
        checks::capabilities_baseline,
    ),
    Entry("hostNamespaces", 0, None, checks::host_namespaces),
    Entry("hostPathVolumes", 0, None, checks::host_path_volumes),
    Entry("hostPorts", 0, None, checks::host_ports),
    Entry("hostProbesAndHostLifecycle", 34, None, checks::host_probes),
    Entry("privileged", 0, None, checks::privileged),
    Entry("procMount", 0, None, checks::proc_mount_baseline),
    Entry("seLinuxOptions", 0, None, profiles::selinux),
    Entry(
        "seccompProfile_baseline",
        0,
        None,
        profiles::seccomp_baseline,
    ),
    Entry("sysctls", 0, None, checks::sysctls),
    Entry("windowsHostProcess", 0, None, checks::windows_host_process),
];
const RESTRICTED: [Entry; 7] = [
    Entry(
        "allowPrivilegeEscalation",
        8,
        None,
        checks::privilege_escalation,
    ),
    Entry(
        "capabilities_restricted",
        22,
        Some("capabilities_baseline"),
        checks::capabilities_restricted,
    ),
    Entry(
        "procMount_restricted",
        35,
        Some("procMount"),
        checks::proc_mount,
    ),
    Entry(
        "restrictedVolumes",
        0,
        Some("hostPathVolumes"),
        checks::restricted_volumes,
    ),
    Entry("runAsNonRoot", 0, None, checks::run_as_non_root),
    Entry("runAsUser", 23, None, checks::run_as_user),
    Entry(
        "seccompProfile_restricted",
        19,
        Some("seccompProfile_baseline"),
        profiles::seccomp_restricted,
    ),
];

/// What a level forbids in a Pod, given the annotations and the spec of it or of its template.
pub fn evaluate(level: LevelVersion, annotations: &Value, spec: &Value) -> Findings {
    let minor = match level.version {
        Version::Latest => NEWEST,
        Version::Minor(minor) => minor.min(NEWEST),
    };
    let restricted = match level.level {
        Level::Privileged => return Findings::default(),
        Level::Baseline => &[][..],
        Level::Restricted => &RESTRICTED[..],
    };
    let subject = Subject { annotations, spec };
    let active = || {
        restricted
            .iter()
            .filter(|Entry(_, since, _, _)| *since <= minor)
    };
    let replaced = |id: &str| active().any(|Entry(_, _, replaces, _)| *replaces == Some(id));
    let baseline = BASELINE
        .iter()
        .filter(|Entry(id, since, _, _)| *since <= minor && !replaced(id));
    Findings(
        baseline
            .chain(active())
            .filter_map(|Entry(_, _, _, check)| check(&subject, minor))
            .collect(),
    )
}

#[cfg(test)]
mod tests;
