//! Checks of single fields.

use serde_json::Value;

use super::Subject;
use super::finding::{Finding, Words, containers, plural, quoted, setters};

fn name(value: &Value) -> &str {
    value["name"].as_str().unwrap_or_default()
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The names of the containers that are bad.
pub(super) fn bad<'a>(
    subject: &Subject<'a>,
    is_bad: impl FnMut(&&'a Value) -> bool,
) -> Vec<&'a str> {
    subject.containers().filter(is_bad).map(name).collect()
}

/// A finding, if there is something to tell.
pub(super) fn found(
    some: bool,
    reason: &'static str,
    detail: impl FnOnce() -> String,
) -> Option<Finding> {
    some.then(|| Finding {
        reason,
        detail: detail(),
    })
}

pub(super) fn privileged(subject: &Subject<'_>, _: u32) -> Option<Finding> {
    let names = bad(subject, |c| c["securityContext"]["privileged"] == true);
    found(!names.is_empty(), "privileged", || {
        format!(
            "{} must not set securityContext.privileged=true",
            containers(&names)
        )
    })
}

pub(super) fn privilege_escalation(subject: &Subject<'_>, minor: u32) -> Option<Finding> {
    if minor >= 25 && subject.is_windows() {
        return None;
    }
    let names = bad(subject, |c| {
        c["securityContext"]["allowPrivilegeEscalation"] != false
    });
    found(
        !names.is_empty(),
        "allowPrivilegeEscalation != false",
        || {
            format!(
                "{} must set securityContext.allowPrivilegeEscalation=false",
                containers(&names)
            )
        },
    )
}

const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Containers that add others than the allowed capabilities, and which.
fn adding<'a>(subject: &Subject<'a>, allowed: &[&str]) -> (Vec<&'a str>, Words<'a>) {
    let mut capabilities = Words::new();
    let names = bad(subject, |container| {
        let added = items(&container["securityContext"]["capabilities"]["add"]);
        let wrong: Vec<&str> = added
            .filter_map(Value::as_str)
            .filter(|c| !allowed.contains(c))
            .collect();
        capabilities.extend(&wrong);
        !wrong.is_empty()
    });
    (names, capabilities)
}

fn not_to_add(names: &[&str], capabilities: Words<'_>) -> String {
    let (who, what) = (containers(names), quoted(capabilities));
    format!("{who} must not include {what} in securityContext.capabilities.add")
}

pub(super) fn capabilities_baseline(subject: &Subject<'_>, _: u32) -> Option<Finding> {
    let (names, capabilities) = adding(subject, &DEFAULT_CAPABILITIES);
    found(!names.is_empty(), "non-default capabilities", || {
        not_to_add(&names, capabilities)
    })
}

pub(super) fn capabilities_restricted(subject: &Subject<'_>, minor: u32) -> Option<Finding> {
    if minor >= 25 && subject.is_windows() {
        return None;
    }
    let keeping = bad(subject, |container| {
        !items(&container["securityContext"]["capabilities"]["drop"]).any(|c| c == "ALL")
    });
    let (names, capabilities) = adding(subject, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !keeping.is_empty() {
        let who = containers(&keeping);
        details.push(format!(
            "{who} must set securityContext.capabilities.drop=[\"ALL\"]"
        ));
    }
    if !names.is_empty() {
        details.push(not_to_add(&names, capabilities));
    }
    found(!details.is_empty(), "unrestricted capabilities", || {
        details.join("; ")
    })
}

pub(super) fn host_namespaces(subject: &Subject<'_>, _: u32) -> Option<Finding> {
    let used: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .filter(|member| subject.spec[**member] == true)
        .map(|member| format!("{member}=true"))
        .collect();
    found(!used.is_empty(), "host namespaces", || used.join(", "))
}

pub(super) fn host_path_volumes(subject: &Subject<'_>, _: u32) -> Option<Finding> {
    let volumes: Vec<&str> = items(&subject.spec["volumes"])
        .filter(|volume| volume["hostPath"].is_object())
        .map(name)
        .collect();
    found(!volumes.is_empty(), "hostPath volumes", || {
        format!(
            "{} {}",
            plural("volume", "volumes", volumes.len()),
            quoted(&volumes)
        )
    })
}

pub(super) fn host_ports(subject: &Subject<'_>, _: u32) -> Option<Finding> {
    let mut ports = std::collections::BTreeSet::new();
    let names = bad(subject, |container| {
        let used = items(&container["ports"]).filter_map(|port| port["hostPort"].as_i64());
        let used: Vec<String> = used
            .filter(|port| *port != 0)
            .map(|p| p.to_string())
            .collect();
        let some = !used.is_empty();
        ports.extend(used);
        some
    });
    found(!names.is_empty(), "hostPort", || {
        let list: Vec<&str> = ports.iter().map(String::as_str).collect();
        format!(
            "{} {} {} {}",
            containers(&names),
            plural("uses", "use", names.len()),
            plural("hostPort", "hostPorts", ports.len()),
            list.join(", ")
        )
    })
}

pub(super) fn host_probes(subject: &Subject<'_>, _: u32) -> Option<Finding> {
    let mut hosts = Words::new();
    let names: Words<'_> = bad(subject, |container| {
        let probes = ["livenessProbe", "readinessProbe", "startupProbe"].map(|p| &container[p]);
        let hooks = ["postStart", "preStop"].map(|hook| &container["lifecycle"][hook]);
        let used: Vec<&str> = probes
            .into_iter()
            .chain(hooks)
            .flat_map(|handler| ["httpGet", "tcpSocket"].map(|kind| handler[kind]["host"].as_str()))
            .flatten()
            .filter(|host| !host.is_empty())
            .collect();
        hosts.extend(&used);
        !used.is_empty()
    })
    .into_iter()
    .collect();
    found(!names.is_empty(), "probe or lifecycle host", || {
        let names: Vec<&str> = names.into_iter().collect();
        let what = plural(
            "probe or lifecycle host",
            "probe or lifecycle hosts",
            hosts.len(),
        );
        let uses = plural("uses", "use", names.len());
        format!("{} {uses} {what} {}", containers(&names), quoted(hosts))
    })
}

pub(super) fn proc_mount(subject: &Subject<'_>, _: u32) -> Option<Finding> {
    let mut kinds = Words::new();
    let names = bad(subject, |container| {
        let kind = container["securityContext"]["procMount"].as_str();
        let wrong = kind.filter(|kind| *kind != "Default");
        kinds.extend(wrong);
        wrong.is_some()
    });
    found(!names.is_empty(), "procMount", || {
        let (who, what) = (containers(&names), quoted(kinds));
        format!("{who} must not set securityContext.procMount to {what}")
    })
}

pub(super) fn proc_mount_baseline(subject: &Subject<'_>, minor: u32) -> Option<Finding> {
    match minor >= 35 && subject.has_user_namespace() {
        true => None,
        false => proc_mount(subject, minor),
    }
}

pub(super) fn restricted_volumes(subject: &Subject<'_>, _: u32) -> Option<Finding> {
    const ALLOWED: [&str; 9] = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let kind = |volume: &Value| -> Option<String> {
        let members = volume.as_object()?;
        let mut kinds = members
            .iter()
            .filter(|(k, v)| *k != "name" && v.is_object());
        kinds.next().map(|(kind, _)| kind.clone())
    };
    let mut kinds = std::collections::BTreeSet::new();
    let mut names = Vec::new();
    for volume in items(&subject.spec["volumes"]) {
        if !ALLOWED.iter().any(|allowed| volume[*allowed].is_object()) {
            names.push(name(volume));
            kinds.insert(kind(volume).unwrap_or_else(|| "unknown".to_owned()));
        }
    }
    found(!names.is_empty(), "restricted volume types", || {
        format!(
            "{} {} {} {} {}",
            plural("volume", "volumes", names.len()),
            quoted(&names),
            plural("uses", "use", names.len()),
            plural(
                "restricted volume type",
                "restricted volume types",
                kinds.len()
            ),
            quoted(&kinds)
        )
    })
}

pub(super) fn run_as_non_root(subject: &Subject<'_>, minor: u32) -> Option<Finding> {
    const REASON: &str = "runAsNonRoot != true";
    if minor >= 35 && subject.has_user_namespace() {
        return None;
    }
    let own = &subject.spec["securityContext"]["runAsNonRoot"];
    let as_root = bad(subject, |c| c["securityContext"]["runAsNonRoot"] == false);
    if *own == false || !as_root.is_empty() {
        let who = setters(*own == false, &as_root);
        let detail = || format!("{who} must not set securityContext.runAsNonRoot=false");
        return found(true, REASON, detail);
    }
    let silent = bad(subject, |c| {
        *own != true && c["securityContext"]["runAsNonRoot"].is_null()
    });
    found(!silent.is_empty(), REASON, || {
        format!(
            "pod or {} must set securityContext.runAsNonRoot=true",
            containers(&silent)
        )
    })
}

pub(super) fn run_as_user(subject: &Subject<'_>, minor: u32) -> Option<Finding> {
    if minor >= 35 && subject.has_user_namespace() {
        return None;
    }
    let pod = subject.spec["securityContext"]["runAsUser"] == 0;
    let names = bad(subject, |c| c["securityContext"]["runAsUser"] == 0);
    found(pod || !names.is_empty(), "runAsUser=0", || {
        format!("{} must not set runAsUser=0", setters(pod, &names))
    })
}

/// Sysctls that are a Pod's own, and since which version.
const SYSCTLS: [(&str, u32); 14] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
    ("net.ipv4.tcp_slow_start_after_idle", 37),
    ("net.ipv4.tcp_notsent_lowat", 37),
];

pub(super) fn sysctls(subject: &Subject<'_>, minor: u32) -> Option<Finding> {
    let allowed = |name: &str| {
        SYSCTLS
            .iter()
            .any(|(own, since)| *own == name && *since <= minor)
    };
    let forbidden: Vec<&str> = items(&subject.spec["securityContext"]["sysctls"])
        .map(name)
        .filter(|name| !allowed(name))
        .collect();
    found(!forbidden.is_empty(), "forbidden sysctls", || {
        forbidden.join(", ")
    })
}

pub(super) fn windows_host_process(subject: &Subject<'_>, _: u32) -> Option<Finding> {
    let is_host = |of: &Value| of["securityContext"]["windowsOptions"]["hostProcess"] == true;
    let pod = is_host(subject.spec);
    let names = bad(subject, |c| is_host(c));
    found(pod || !names.is_empty(), "hostProcess", || {
        let who = setters(pod, &names);
        format!("{who} must not set securityContext.windowsOptions.hostProcess=true")
    })
}
