use super::*;
use serde_json::json;

fn level(level: Level, version: Version) -> LevelVersion {
    LevelVersion { level, version }
}

#[test]
fn restricted_tells_all_that_a_plain_pod_lacks() {
    let spec = json!({"containers": [{"name": "c"}]});
    let findings = evaluate(level(Level::Restricted, Version::Latest), &json!({}), &spec);
    assert_eq!(
        findings.to_string(),
        "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
}

#[test]
fn findings_have_upstreams_words() {
    let container =
        |context: Value| json!({"containers": [{"name": "c", "securityContext": context}]});
    let rows = [
        (
            json!({"hostNetwork": true, "hostIPC": true}),
            "host namespaces (hostNetwork=true, hostIPC=true)",
        ),
        (
            json!({"volumes": [{"name": "a", "hostPath": {"path": "/"}}, {"name": "b", "hostPath": {"path": "/"}}]}),
            "hostPath volumes (volumes \"a\", \"b\")",
        ),
        (
            json!({"containers": [{"name": "c", "ports": [{"hostPort": 80}, {"hostPort": 443}]}]}),
            "hostPort (container \"c\" uses hostPorts 443, 80)",
        ),
        (
            container(json!({"capabilities": {"add": ["NET_RAW", "CHOWN", "BPF"]}})),
            "non-default capabilities (container \"c\" must not include \"BPF\", \"NET_RAW\" in securityContext.capabilities.add)",
        ),
        (
            container(json!({"privileged": true})),
            "privileged (container \"c\" must not set securityContext.privileged=true)",
        ),
        (
            json!({"securityContext": {"seLinuxOptions": {"type": "x", "user": "u"}}, "containers": []}),
            "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"x\"; user may not be set)",
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
            "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            json!({"securityContext": {"sysctls": [{"name": "a"}, {"name": "b"}]}}),
            "forbidden sysctls (a, b)",
        ),
        (
            json!({"containers": [{"name": "c", "livenessProbe": {"httpGet": {"host": "h"}}}]}),
            "probe or lifecycle host (container \"c\" uses probe or lifecycle host \"h\")",
        ),
    ];
    for (spec, want) in rows {
        let findings = evaluate(level(Level::Baseline, Version::Latest), &json!({}), &spec);
        assert_eq!(findings.to_string(), want);
    }
    let annotations = json!({"container.apparmor.security.beta.kubernetes.io/c": "unconfined"});
    let findings = evaluate(
        level(Level::Baseline, Version::Latest),
        &annotations,
        &json!({}),
    );
    assert_eq!(
        findings.to_string(),
        "forbidden AppArmor profile (annotation must not set AppArmor profile type to \
         \"container.apparmor.security.beta.kubernetes.io/c=\"unconfined\"\")"
    );
}

#[test]
fn versions_differ() {
    let sysctl = json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}});
    let rooted = json!({"hostUsers": false, "securityContext": {"runAsUser": 0}});
    let allows = |l, minor, spec: &Value| {
        evaluate(level(l, Version::Minor(minor)), &json!({}), spec).is_allowed()
    };
    assert!(!allows(Level::Baseline, 31, &sysctl));
    assert!(allows(Level::Baseline, 32, &sysctl));
    assert!(allows(Level::Restricted, 22, &rooted));
    assert!(!allows(Level::Restricted, 34, &rooted));
    assert!(allows(Level::Restricted, 99, &rooted));
    assert!(allows(Level::Privileged, 0, &json!({"hostPID": true})));
}

#[test]
fn labels_are_read_with_their_defaults() {
    let label = |name: &str| format!("{}{name}", policy::PREFIX);
    let (policy, errors) = Policy::of(&json!({
        label("enforce"): "baseline", label("enforce-version"): "v1.20", label("audit"): "x", label("warn-version"): "v1.01"}));
    assert_eq!(policy.enforce, level(Level::Baseline, Version::Minor(20)));
    assert_eq!(policy.audit, level(Level::Privileged, Version::Latest));
    assert_eq!(policy.warn, level(Level::Baseline, Version::Latest));
    let texts: Vec<String> = errors.iter().map(|e| e.to_string()).collect();
    assert_eq!(
        texts,
        [
            "metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: \"x\": must be one of privileged, baseline, restricted",
            "metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"v1.01\": must be \"latest\" or \"v1.x\"",
        ]
    );
    let (policy, errors) = Policy::of(&json!({label("enforce"): "x"}));
    assert_eq!((policy.enforce.level, errors.len()), (Level::Restricted, 1));
    assert_eq!(policy.warn.level, Level::Privileged);
    assert!(Policy::of(&Value::Null).0.is_privileged());
}
