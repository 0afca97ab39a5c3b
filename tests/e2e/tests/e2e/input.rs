//! Manifests that are wrong: upstream's words, and nothing stored.

use karve_e2e::TestHost;

/// What is wrong, a manifest, and what upstream says.
const WRONG: [(&str, &str, &str); 6] = [
    (
        "an unknown field",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}], colour: red}\n",
        r#"strict decoding error: unknown field "spec.colour""#,
    ),
    (
        "a wrong type",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: eighty}]}\n",
        "cannot be handled as a Service",
    ),
    (
        "a node port out of range",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {type: NodePort, ports: [{port: 80, nodePort: 80}]}\n",
        "provided port is not in the valid range. The range of valid ports is 30000-32767",
    ),
    (
        "a node port that is taken",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {type: NodePort, ports: [{port: 80, nodePort: 31000}]}\n",
        "provided port is already allocated",
    ),
    (
        "an unknown kind",
        "apiVersion: v1\nkind: Servce\nmetadata: {name: a}\n",
        "no matches for kind \"Servce\" in version \"v1\"",
    ),
    (
        "malformed YAML",
        "apiVersion: v1\nkind: [\n",
        "error converting YAML to JSON",
    ),
];

#[test]
fn wrong_manifests_are_refused_in_upstreams_words() {
    let host = TestHost::new();
    let cluster = host.cluster(&[]);
    cluster.apply_tutorial(&["counter-nodeport.yml"]);
    let before = cluster.kubectl(&["get", "svc", "-A", "-o", "name"]);
    for (what, manifest, words) in WRONG {
        for verb in ["create", "apply"] {
            let said = cluster.feed(verb, manifest).failed();
            assert!(said.contains(words), "{what}, {verb}: {said}");
        }
    }
    assert_eq!(
        cluster.kubectl(&["get", "svc", "-A", "-o", "name"]),
        before,
        "nothing was stored"
    );
    cluster.down();
}
