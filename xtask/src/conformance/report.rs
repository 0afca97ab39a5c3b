//! What the tests came to: ginkgo's report in JSON.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// One suite.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suite {
    spec_reports: Option<Vec<Spec>>,
    special_suite_failure_reasons: Option<Vec<String>>,
}

/// One test, or what runs before or after all of them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_type: String,
    #[serde(default)]
    leaf_node_text: String,
    state: String,
    #[serde(default)]
    run_time: u64,
    failure: Option<Failure>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    #[serde(default)]
    message: String,
}

impl Spec {
    fn is_test(&self) -> bool {
        self.leaf_node_type == "It"
    }

    fn name(&self) -> String {
        let mut parts = self.container_hierarchy_texts.clone().unwrap_or_default();
        let leaf = if self.is_test() {
            &self.leaf_node_text
        } else {
            &self.leaf_node_type
        };
        parts.push(leaf.clone());
        parts.join(" ")
    }

    fn message(&self) -> String {
        let message = self
            .failure
            .as_ref()
            .map_or("", |failure| failure.message.trim());
        message.lines().take(3).collect::<Vec<_>>().join(" / ")
    }
}

/// Prints each test that ran, and a last line; fails when one failed, or none ran.
pub fn print(path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| format!("read {}", path.display()))?;
    let suites: Vec<Suite> = serde_json::from_reader(BufReader::new(file))
        .with_context(|| format!("decode {}", path.display()))?;
    let (lines, passed, failed) = lines(&suites);
    lines.iter().for_each(|line| println!("{line}"));
    println!("{passed} passed, {failed} failed");
    ensure!(failed == 0, "tests failed");
    ensure!(passed > 0, "no test ran");
    Ok(())
}

/// A line for each test that ran, and how many passed and failed.
fn lines(suites: &[Suite]) -> (Vec<String>, usize, usize) {
    let (mut lines, mut passed, mut failed) = (Vec::new(), 0, 0);
    for suite in suites {
        for spec in suite.spec_reports.iter().flatten() {
            let seconds = spec.run_time as f64 / 1e9;
            match spec.state.as_str() {
                "skipped" | "pending" => {}
                "passed" if spec.is_test() => {
                    passed += 1;
                    lines.push(format!("ok     {} ({seconds:.1} s)", spec.name()));
                }
                "passed" => {}
                _ => {
                    failed += 1;
                    lines.push(format!(
                        "FAILED {} ({seconds:.1} s): {}",
                        spec.name(),
                        spec.message()
                    ));
                }
            }
        }
        for reason in suite.special_suite_failure_reasons.iter().flatten() {
            lines.push(format!("suite: {reason}"));
        }
    }
    (lines, passed, failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_ran_are_counted() {
        let report = r#"[{"SuitePath": "x", "SpecReports": [
            {"LeafNodeType": "SynchronizedBeforeSuite", "State": "passed"},
            {"ContainerHierarchyTexts": ["[sig-auth] A"], "LeafNodeType": "It", "LeafNodeText": "works",
             "State": "passed", "RunTime": 1500000000},
            {"ContainerHierarchyTexts": ["[sig-auth] A"], "LeafNodeType": "It", "LeafNodeText": "breaks",
             "State": "failed", "Failure": {"Message": "no\nway"}},
            {"LeafNodeType": "It", "State": "skipped"},
            {"LeafNodeType": "ReportAfterSuite", "State": "failed"}]}]"#;
        let suites: Vec<Suite> = serde_json::from_str(report).unwrap();
        let (lines, passed, failed) = lines(&suites);
        assert_eq!((passed, failed), (1, 2));
        assert_eq!(lines[0], "ok     [sig-auth] A works (1.5 s)");
        assert_eq!(lines[1], "FAILED [sig-auth] A breaks (0.0 s): no / way");
    }
}
