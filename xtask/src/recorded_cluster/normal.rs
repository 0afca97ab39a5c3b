//! Puts placeholders where values change from run to run, as the recordings have them.
//!
//! Names that were generated and hashes are known from the objects; everything else is known by its shape or by the
//! name of its field. What is normal already stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::journal::Life;

/// The characters behind `generateName`.
const GENERATED: usize = 5;
/// Those that there are.
const GENERATED_LETTERS: &str = "bcdfghjklmnpqrstvwxz2456789";
/// Kinds that make Pods with generated names.
const GENERATORS: [&str; 4] = ["ReplicaSet", "ReplicationController", "DaemonSet", "Job"];
/// Labels that hold the hash of a template.
const HASH_LABELS: [&str; 2] = ["pod-template-hash", "controller-revision-hash"];

/// Shapes and what stands for them. Only the first group, if there is one, is kept.
static SHAPES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    const SHAPES: [(&str, &str); 16] = [
        (
            r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
            "<uid>",
        ),
        (r"\b[0-9a-f]{64}\b", "<id>"),
        (r"\b[0-9a-f]{32}\b", "<hash>"),
        (
            r"\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)",
            "<time>",
        ),
        (r"(kube-api-access-)[a-z0-9]{5}\b", "$1<rand>"),
        (
            r#"(?s)(Failed to pull image "[^"]*": ).*"#,
            "$1<pull error>",
        ),
        (r"(?s)(ErrImagePull: ).*", "$1<pull error>"),
        (
            r"\bin [0-9.]+(?:ms|µs|s|m[0-9.]+s) \([0-9.]+(?:ms|µs|s|m[0-9.]+s) including waiting\)",
            "in <dur> (<dur> including waiting)",
        ),
        (r"Image size: \d+ bytes", "Image size: <n> bytes"),
        (
            r"(?s)-----BEGIN [A-Z ]+-----.*-----END [A-Z ]+-----\n?",
            "<pem>",
        ),
        (r"\b10\.244\.\d+\.\d+", "<podIP>"),
        (r"\b10\.96\.0\.(1|10)\b", "<kept>$1"),
        (r"\b10\.(?:9[6-9]|10\d|11[01])\.\d+\.\d+", "<clusterIP>"),
        (r"<kept>(\d+)", "10.96.0.$1"),
        (r"\b[a-z]+://<id>", "containerd://<id>"),
        (
            r"failed to create [a-z]+ task: .*?exec: ",
            "<runtime>: exec: ",
        ),
    ];
    compiled(&SHAPES)
});

/// Shapes in what kubectl prints.
static TEXT_SHAPES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    const SHAPES: [(&str, &str); 7] = [
        (r" \(x\d+ over [^)]*\)", ""),
        (r"(127\.0\.0\.1:)\d+( ->)", "$1<port>$2"),
        (r"(connection for )\d+", "$1<port>"),
        (r"(localPort=)\d+", "$1<port>"),
        (r"(?m)^[IWEF]\d{4} .*?\] ?", "<log> "),
        (
            r"\b[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d (?:GMT|[+-]\d{4})",
            "<date>",
        ),
        (r"(?m): unknown$", ""),
    ];
    compiled(&SHAPES)
});

fn compiled(shapes: &[(&'static str, &'static str)]) -> Vec<(Regex, &'static str)> {
    let compile =
        |(shape, put): &(&'static str, &'static str)| (Regex::new(shape).expect("a shape"), *put);
    shapes.iter().map(compile).collect()
}

/// What one scenario's values stand for.
pub struct Normal {
    /// Generated names and hashes, and what stands for them; longest first.
    known: Vec<(String, String)>,
    /// What names begin with that were generated for objects that never came to be.
    starts: Vec<Regex>,
    node_address: String,
    server: String,
    /// Node ports that the scenario itself chose.
    given_ports: BTreeSet<i64>,
}

impl Normal {
    /// Learns from the objects of a scenario, in order of their creation.
    pub fn new(lives: &[Life], manifests: &Value, node_address: &str, server: &str) -> Self {
        let hashes = hashes(lives);
        let with_hashes = |text: &str| replace_all(text, &hashes);
        let mut known: BTreeMap<String, String> = hashes.iter().cloned().collect();
        for life in lives {
            if let Some(base) = generated(life) {
                known.insert(life.name.clone(), with_hashes(&base));
            }
        }
        let mut known: Vec<_> = known.into_iter().collect();
        known.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        let starts = lives.iter().filter(|life| GENERATORS.contains(&life.kind));
        let starts = starts.map(|life| {
            let start = regex::escape(&with_hashes(&life.name));
            let shape = format!(r"(^|[^a-z0-9-])({start}-)[{GENERATED_LETTERS}]{{{GENERATED}}}\b");
            Regex::new(&shape).expect("a shape")
        });
        let starts = starts.collect();
        let mut given_ports = BTreeSet::new();
        node_ports(manifests, &mut given_ports);
        Self {
            known,
            starts,
            node_address: node_address.to_owned(),
            server: server.to_owned(),
            given_ports,
        }
    }

    /// A text within an object.
    pub fn text(&self, text: &str) -> String {
        let mut text = replace_all(text, &self.known);
        for start in self
            .starts
            .iter()
            .filter(|start| start.is_match(&text))
            .collect::<Vec<_>>()
        {
            text = start.replace_all(&text, "$1$2<rand>").into_owned();
        }
        let text = shaped(text, &SHAPES);
        let text = text.replace(&self.node_address, "<nodeIP>");
        text.strip_suffix(": unknown")
            .map(str::to_owned)
            .unwrap_or(text)
    }

    /// What kubectl printed.
    pub fn output(&self, text: &str) -> String {
        let text = text.replace(&self.server, "<server>");
        let host = self.server.trim_start_matches("https://");
        let text = shaped(self.text(&text.replace(host, "<server>")), &TEXT_SHAPES);
        let port = |found: &regex::Captures<'_>| match found[1].parse() {
            Ok(port) if self.given_ports.contains(&port) => found[0].to_owned(),
            _ => format!(":<nodePort>/{}", &found[2]),
        };
        static PORT: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r":(3[0-2]\d{3})/(TCP|UDP|SCTP)").expect("a shape"));
        PORT.replace_all(&text, port).into_owned()
    }

    /// A whole object, or a part of one.
    pub fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(members) => {
                let pulls = members
                    .get("reason")
                    .is_some_and(|reason| reason == "ErrImagePull");
                let named = members
                    .iter()
                    .map(|(name, value)| (self.text(name), self.member(name, value, pulls)));
                Value::Object(named.collect::<Map<_, _>>())
            }
            other => other.clone(),
        }
    }

    fn member(&self, name: &str, value: &Value, pulls: bool) -> Value {
        let text = |text: &str| Value::String(text.to_owned());
        match (name, value) {
            ("resourceVersion", Value::String(_)) => text("<rv>"),
            ("imageID", Value::String(id)) if !id.is_empty() => text("<imageID>"),
            ("certificate", Value::String(_)) => text("<certificate>"),
            ("message", Value::String(_)) if pulls => text("<pull error>"),
            ("nodePort" | "healthCheckNodePort", Value::Number(port))
                if !port
                    .as_i64()
                    .is_some_and(|port| self.given_ports.contains(&port)) =>
            {
                text("<nodePort>")
            }
            _ => self.value(value),
        }
    }
}

fn replace_all(text: &str, known: &[(String, String)]) -> String {
    let mut text = text.to_owned();
    for (name, put) in known {
        if text.contains(name.as_str()) {
            text = text.replace(name.as_str(), put);
        }
    }
    text
}

fn shaped(mut text: String, shapes: &[(Regex, &'static str)]) -> String {
    for (shape, put) in shapes {
        if shape.is_match(&text) {
            text = shape.replace_all(&text, *put).into_owned();
        }
    }
    text
}

/// What a generated name is written as.
fn generated(life: &Life) -> Option<String> {
    let metadata = &life.states.first()?["metadata"];
    if let Some(start) = metadata["generateName"].as_str()
        && life.name.len() == start.len() + GENERATED
        && life.name.starts_with(start)
    {
        return Some(format!("{start}<rand>"));
    }
    let owner = &metadata["ownerReferences"][0];
    let minute = life
        .name
        .strip_prefix(owner["name"].as_str()?)?
        .strip_prefix('-')?;
    let is_minute = owner["kind"] == "CronJob" && minute.bytes().all(|byte| byte.is_ascii_digit());
    is_minute.then(|| format!("{}-<minute>", owner["name"].as_str().unwrap_or_default()))
}

/// Hashes of templates, numbered by their first appearance.
fn hashes(lives: &[Life]) -> Vec<(String, String)> {
    let mut hashes: Vec<(String, String)> = Vec::new();
    for life in lives {
        for state in life.states.first().into_iter().chain(life.states.last()) {
            for label in HASH_LABELS {
                let value = state["metadata"]["labels"][label].as_str();
                let Some(hash) = value.and_then(|value| value.rsplit('-').next()) else {
                    continue;
                };
                if !hash.is_empty() && !hashes.iter().any(|(known, _)| known == hash) {
                    let put = format!("<hash:{}>", hashes.len() + 1);
                    hashes.push((hash.to_owned(), put));
                }
            }
        }
    }
    hashes
}

fn node_ports(value: &Value, found: &mut BTreeSet<i64>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| node_ports(item, found)),
        Value::Object(members) => {
            for (name, value) in members {
                match (name.as_str(), value.as_i64()) {
                    ("nodePort" | "healthCheckNodePort", Some(port)) => drop(found.insert(port)),
                    _ => node_ports(value, found),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn life(kind: &'static str, object: Value) -> Life {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        Life {
            kind,
            namespace: "ns".into(),
            name,
            states: vec![object],
            deleted: false,
            number: 1,
        }
    }

    fn normal() -> Normal {
        let lives = [
            life(
                "ReplicaSet",
                json!({"metadata": {"name": "web-abc123", "labels": {"pod-template-hash": "abc123"}}}),
            ),
            life(
                "Pod",
                json!({"metadata": {"name": "web-abc123-x2x4k", "generateName": "web-abc123-"}}),
            ),
            life(
                "Job",
                json!({"metadata": {"name": "cj-29410000", "ownerReferences": [{"kind": "CronJob", "name": "cj"}]}}),
            ),
        ];
        let manifests = json!([{"spec": {"ports": [{"nodePort": 30080}]}}]);
        Normal::new(
            &lives,
            &manifests,
            "192.168.64.2",
            "https://192.168.64.1:6443",
        )
    }

    #[test]
    fn texts() {
        let cases = [
            (
                "Created pod: web-abc123-x2x4k",
                "Created pod: web-<hash:1>-<rand>",
            ),
            (
                r#"pods "web-abc123-gnrm4" is forbidden"#,
                r#"pods "web-<hash:1>-<rand>" is forbidden"#,
            ),
            ("web-abc123", "web-<hash:1>"),
            ("Created job cj-29410000", "Created job cj-<minute>"),
            ("6a0c6ad5-7bd4-4dd0-8d0e-8c7f1e4f5a3b", "<uid>"),
            ("2026-01-02T03:04:05Z", "<time>"),
            ("2026-01-02T03:04:05.123456Z", "<time>"),
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("10.244.1.7", "<podIP>"),
            (
                "10.96.0.1 10.96.0.10 10.96.0.11 10.111.2.3",
                "10.96.0.1 10.96.0.10 <clusterIP> <clusterIP>",
            ),
            ("192.168.64.2", "<nodeIP>"),
            ("kube-api-access-abcde", "kube-api-access-<rand>"),
            (
                r#"Failed to pull image "a": no such host"#,
                r#"Failed to pull image "a": <pull error>"#,
            ),
            (
                "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n",
                "<pem>",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(normal().text(text), expected);
            assert_eq!(normal().text(expected), expected, "what is normal stays");
        }
        let id = format!("karve://{}", "0a".repeat(32));
        assert_eq!(normal().text(&id), "containerd://<id>");
    }

    #[test]
    fn members() {
        let object = json!({
            "metadata": {"resourceVersion": "17"},
            "spec": {"ports": [{"nodePort": 30080}, {"nodePort": 31234}]},
            "status": {"imageID": "sha256:1", "state": {"waiting": {"reason": "ErrImagePull", "message": "x"}}},
        });
        let expected = json!({
            "metadata": {"resourceVersion": "<rv>"},
            "spec": {"ports": [{"nodePort": 30080}, {"nodePort": "<nodePort>"}]},
            "status": {"imageID": "<imageID>",
                "state": {"waiting": {"reason": "ErrImagePull", "message": "<pull error>"}}},
        });
        assert_eq!(normal().value(&object), expected);
    }

    #[test]
    fn output() {
        let cases = [
            ("80:31234/TCP", "80:<nodePort>/TCP"),
            ("80:30080/TCP", "80:30080/TCP"),
            (
                "Forwarding from 127.0.0.1:4242 -> 8080",
                "Forwarding from 127.0.0.1:<port> -> 8080",
            ),
            ("5s (x3 over 9s) kubelet", "5s kubelet"),
            ("see https://192.168.64.1:6443", "see <server>"),
        ];
        for (text, expected) in cases {
            assert_eq!(normal().output(text), expected);
        }
    }
}
