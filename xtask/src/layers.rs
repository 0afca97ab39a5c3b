//! The crates lie in layers: each depends on lower ones only, and siblings meet by API objects alone.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::workspace;

/// The crates of the product, lowest first. `testkit` is not in a layer: tests alone use it.
const LAYERS: [&[&str]; 4] = [
    &["karve-api", "karve-cel", "karve-sys"],
    &["karve-store", "karve-runtime", "karve-watch"],
    &[
        "karve-apiserver",
        "karve-control",
        "karve-node",
        "karve-proxy",
        "karve-dns",
        "karve-edge",
    ],
    &["karve"],
];

/// What a crate may use besides the rule, or may not although the rule allows it: only `apiserver` reads
/// and writes the store.
const STORE: (&str, &[&str]) = ("karve-store", &["karve-apiserver", "karve"]);

/// Checks this checkout.
pub fn run() -> Result<()> {
    let wrong = violations(&workspace::metadata()?)?;
    ensure!(
        wrong.is_empty(),
        "dependencies point the wrong way:\n{}",
        wrong.join("\n")
    );
    println!(
        "{} crates lie in {} layers",
        LAYERS.iter().map(|layer| layer.len()).sum::<usize>(),
        LAYERS.len()
    );
    Ok(())
}

/// Every dependency that points the wrong way, in words.
fn violations(metadata: &Value) -> Result<Vec<String>> {
    let layer: BTreeMap<&str, usize> = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(level, names)| names.iter().map(move |name| (*name, level)))
        .collect();
    let mut wrong = Vec::new();
    for package in metadata["packages"]
        .as_array()
        .context("metadata lists packages")?
    {
        let name = package["name"].as_str().context("a package has a name")?;
        let path = package["manifest_path"].as_str().unwrap_or_default();
        let product = path.contains("/crates/") && name != "karve-testkit";
        let Some(&level) = layer.get(name) else {
            if product {
                bail!("crate {name} lies in no layer: add it to xtask/src/layers.rs");
            }
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = dependency["name"].as_str().unwrap_or_default();
            // `dev` dependencies are for tests.
            if dependency["kind"] == "dev" || !(to == "karve" || to.starts_with("karve-")) {
                continue;
            }
            let lower = layer.get(to).is_some_and(|&to| to < level);
            let store = to == STORE.0 && !STORE.1.contains(&name);
            if !lower || store {
                wrong.push(format!("{name} depends on {to}"));
            }
        }
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn this_checkout_lies_in_layers() {
        let metadata = workspace::metadata().expect("metadata");
        assert_eq!(violations(&metadata).expect("reads"), Vec::<String>::new());
    }

    #[test]
    fn wrong_directions_are_found() {
        let package = |name: &str, to: &str, kind: Value| {
            json!({
                "name": name,
                "manifest_path": format!("/x/crates/{name}/Cargo.toml"),
                "dependencies": [{ "name": to, "kind": kind }, { "name": "serde", "kind": null }],
            })
        };
        let cases = [
            ("karve-proxy", "karve-sys", Value::Null, true),
            ("karve", "karve-node", Value::Null, true),
            ("karve-dns", "karve-testkit", json!("dev"), true),
            ("karve-apiserver", "karve-store", Value::Null, true),
            ("karve-control", "karve-store", Value::Null, false),
            ("karve-proxy", "karve-dns", Value::Null, false),
            ("karve-sys", "karve-runtime", Value::Null, false),
            ("karve-dns", "karve-testkit", Value::Null, false),
        ];
        for (name, to, kind, allowed) in cases {
            let metadata = json!({ "packages": [package(name, to, kind)] });
            assert_eq!(
                violations(&metadata).expect("reads").is_empty(),
                allowed,
                "{name} to {to}"
            );
        }
        let unknown = json!({ "packages": [package("karve-new", "karve-sys", Value::Null)] });
        violations(&unknown).expect_err("a crate of no layer");
    }
}
