//! The documents beside the scenarios: discovery, and the columns of tables. Each counts as a scenario.
//!
//! They are compared first, while the server is as it began. The defaults are in the scenarios of topic `kinds`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::client::{Answer, Client};
use super::matcher::{self, Bindings};
use super::player::{Differing, Played};
use super::request::Captured;
use super::scenario::entries;
use super::server::Server;

/// One document.
pub struct Document {
    pub name: String,
    recorded: Value,
}

/// The folder's documents.
pub fn read(folder: &Path, filter: Option<&str>) -> Result<Vec<Document>> {
    let mut paths = vec![folder.join("columns.json")];
    let discovery = folder.join("discovery");
    if discovery.is_dir() {
        paths.extend(entries(&discovery)?);
    }
    let mut documents = Vec::new();
    for path in paths.iter().filter(|path| path.is_file()) {
        let name = path.strip_prefix(folder).unwrap_or(path).with_extension("");
        let name = name.display().to_string();
        if filter.is_none_or(|text| name.contains(text)) {
            let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
            let recorded = serde_json::from_slice(&bytes)
                .with_context(|| format!("decode {}", path.display()))?;
            documents.push(Document { name, recorded });
        }
    }
    Ok(documents)
}

/// One request of a document.
struct Question {
    path: String,
    accept: &'static str,
    /// What of the answer was recorded.
    part: Part,
    want: Value,
}

/// A part of an answer.
enum Part {
    Whole,
    /// The names in `paths`.
    Paths,
    Columns,
}

impl Part {
    fn of(&self, body: Value) -> Value {
        match self {
            Self::Whole => body,
            Self::Paths => {
                let members = body["paths"].as_object().into_iter().flatten();
                members.map(|(name, _)| json!(name)).collect()
            }
            Self::Columns => body["columnDefinitions"].clone(),
        }
    }
}

impl Document {
    /// Asks for it and compares.
    pub async fn check(&self, server: &Server) -> Result<Played> {
        let mut client = Client::new(server.address)?;
        let mut played = Played::default();
        for (index, question) in self.questions().into_iter().enumerate() {
            let request = json!({"path": question.path, "headers": {"accept": question.accept}});
            let answer = client
                .ask(Captured::default().request(&request, server)?)
                .await?;
            let differences = differences(&question, &answer);
            played.steps += 1;
            if !differences.is_empty() {
                let what = format!("GET {}", question.path);
                played.differing.push(Differing {
                    index,
                    what,
                    differences,
                });
            }
        }
        Ok(played)
    }

    fn questions(&self) -> Vec<Question> {
        if self.name == "columns" {
            let tables = self.recorded.as_object().into_iter().flatten();
            return tables
                .map(|(resource, columns)| columns_of(resource, columns))
                .collect();
        }
        let name = self.name.trim_start_matches("discovery/");
        let (path, accept, part) = match name {
            "openapi-v3-index" => ("/openapi/v3".to_owned(), "application/json", Part::Paths),
            "api-aggregated-v2" | "apis-aggregated-v2" => {
                let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
                (
                    format!("/{}", name.trim_end_matches("-aggregated-v2")),
                    accept,
                    Part::Whole,
                )
            }
            name => (
                format!("/{}", name.replace('_', "/")),
                "application/json",
                Part::Whole,
            ),
        };
        let want = self.recorded.clone();
        vec![Question {
            path,
            accept,
            part,
            want,
        }]
    }
}

/// The question for the columns of `apps/v1/deployments` or `core/v1/pods`.
fn columns_of(resource: &str, columns: &Value) -> Question {
    let path = match resource.strip_prefix("core/") {
        Some(core) => format!("/api/{core}"),
        None => format!("/apis/{resource}"),
    };
    Question {
        path: format!("{path}?limit=1"),
        accept: "application/json;as=Table;v=v1;g=meta.k8s.io",
        part: Part::Columns,
        want: columns.clone(),
    }
}

fn differences(question: &Question, answer: &Answer) -> Vec<String> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.code != 200 {
        return vec![format!("code: want 200, have {}: {body}", answer.code)];
    }
    let mut out = Vec::new();
    let have = question.part.of(body);
    if let (Part::Paths, Value::Array(want), Value::Array(have)) =
        (&question.part, &question.want, &have)
    {
        matcher::set(want, have, "/paths", &mut Bindings::default(), &mut out);
    } else {
        matcher::json(
            &question.want,
            &have,
            "",
            &mut Bindings::default(),
            &mut out,
        );
    }
    out
}
