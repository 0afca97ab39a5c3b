//! Which plugins run.

use crate::options;

/// A plugin, in upstream's spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Plugin {
    NamespaceLifecycle,
    LimitRanger,
    ServiceAccount,
    NodeRestriction,
    TaintNodesByCondition,
    PodSecurity,
    Priority,
    DefaultTolerationSeconds,
    DefaultStorageClass,
    StorageObjectInUseProtection,
    PersistentVolumeClaimResize,
    RuntimeClass,
    CertificateApproval,
    CertificateSigning,
    ClusterTrustBundleAttest,
    CertificateSubjectRestriction,
    DefaultIngressClass,
    PodTopologyLabels,
    PodResizeValidator,
    MutatingAdmissionPolicy,
    MutatingAdmissionWebhook,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionWebhook,
    ResourceQuota,
}

use Plugin::*;

const ALL: [Plugin; 24] = [
    NamespaceLifecycle,
    LimitRanger,
    ServiceAccount,
    NodeRestriction,
    TaintNodesByCondition,
    PodSecurity,
    Priority,
    DefaultTolerationSeconds,
    DefaultStorageClass,
    StorageObjectInUseProtection,
    PersistentVolumeClaimResize,
    RuntimeClass,
    CertificateApproval,
    CertificateSigning,
    ClusterTrustBundleAttest,
    CertificateSubjectRestriction,
    DefaultIngressClass,
    PodTopologyLabels,
    PodResizeValidator,
    MutatingAdmissionPolicy,
    MutatingAdmissionWebhook,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionWebhook,
    ResourceQuota,
];

impl Plugin {
    /// Whether it runs when nobody says anything.
    fn is_default(self) -> bool {
        self != NodeRestriction
    }
}

/// The plugins that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plugins(u32);

impl Plugins {
    /// As the flags have it; a plugin that is both on and off is off.
    pub fn of(options: &options::Admission) -> Plugins {
        let named = |list: &[String], plugin: Plugin| {
            list.iter().any(|name| *name == format!("{plugin:?}"))
        };
        let runs = |plugin: Plugin| {
            !named(&options.disable, plugin)
                && (plugin.is_default() || named(&options.enable, plugin))
        };
        let on = ALL.into_iter().filter(|plugin| runs(*plugin));
        Plugins(on.fold(0, |set, plugin| set | 1 << plugin as u32))
    }

    /// Whether a plugin runs.
    pub fn run(self, plugin: Plugin) -> bool {
        self.0 & 1 << plugin as u32 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_switch_plugins() {
        let plugins = |enable: &[&str], disable: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
            Plugins::of(&options::Admission {
                enable: owned(enable),
                disable: owned(disable),
            })
        };
        assert!(
            ALL.into_iter()
                .all(|p| plugins(&[], &[]).run(p) == p.is_default())
        );
        assert!(plugins(&["NodeRestriction"], &[]).run(NodeRestriction));
        let without = plugins(&["ServiceAccount"], &["ServiceAccount", "Nonsense"]);
        assert!(!without.run(ServiceAccount) && without.run(LimitRanger));
    }
}
