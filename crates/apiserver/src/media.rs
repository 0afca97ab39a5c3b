//! What the client accepts: the format and the form of an answer.

use http::{HeaderMap, header};
use karve_api::status::Status;

use crate::answer::Refusal;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// JSON without blanks.
    #[default]
    Json,
    /// JSON for people.
    Pretty,
    /// YAML.
    Yaml,
}

/// What is made of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// The objects.
    #[default]
    Object,
    /// Rows and columns.
    Table,
    /// Only the metadata, as PartialObjectMetadata.
    Metadata,
}

/// A negotiated answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Media {
    /// How it is written.
    pub format: Format,
    /// What is made of objects.
    pub form: Form,
}

impl Media {
    /// `Content-Type` of the answer.
    pub fn content_type(self) -> &'static str {
        match self.format {
            Format::Json | Format::Pretty => "application/json",
            Format::Yaml => "application/yaml",
        }
    }
}

struct Clause<'a> {
    kind: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Clause<'a> {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let parameters = parts
            .filter_map(|p| p.split_once('='))
            .map(|(k, v)| (k.trim(), v.trim()))
            .collect();
        Clause { kind, parameters }
    }

    fn get(&self, name: &str) -> &'a str {
        self.parameters
            .iter()
            .find(|(k, _)| *k == name)
            .map_or("", |(_, v)| *v)
    }

    fn weight(&self) -> f32 {
        self.get("q").parse().unwrap_or(1.0)
    }

    fn form(&self, list: bool) -> Option<Form> {
        let meta = self.get("g") == "meta.k8s.io" && matches!(self.get("v"), "v1" | "v1beta1");
        match self.get("as") {
            "" => Some(Form::Object),
            "Table" if meta => Some(Form::Table),
            "PartialObjectMetadata" if meta && !list => Some(Form::Metadata),
            "PartialObjectMetadataList" if meta && list => Some(Form::Metadata),
            _ => None,
        }
    }

    fn format(&self) -> Option<Format> {
        match self.kind {
            "application/json" | "*/*" => Some(Format::Json),
            "application/yaml" => Some(Format::Yaml),
            _ => None,
        }
    }
}

/// The clauses of `Accept`, the most wanted first.
fn clauses(headers: &HeaderMap) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(str::trim)
        .filter(|t| !t.is_empty())
        .map(Clause::parse)
        .collect();
    clauses.sort_by(|a, b| b.weight().total_cmp(&a.weight()));
    clauses
}

const ACCEPTED: [&str; 3] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];
const ACCEPTED_WATCH: [&str; 2] = [
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];

/// Chooses the answer's form and format.
///
/// DEVIATION: protobuf is read but not written. A client that accepts nothing else gets 406.
pub fn negotiate(
    headers: &HeaderMap,
    list: bool,
    watch: bool,
    pretty: bool,
) -> Result<Media, Refusal> {
    let clauses = clauses(headers);
    if clauses.is_empty() {
        let format = if pretty { Format::Pretty } else { Format::Json };
        return Ok(Media {
            format,
            form: Form::Object,
        });
    }
    for clause in &clauses {
        let (Some(format), Some(form)) = (clause.format(), clause.form(list && !watch)) else {
            continue;
        };
        if watch && format == Format::Yaml {
            continue;
        }
        let format = if pretty && format == Format::Json {
            Format::Pretty
        } else {
            format
        };
        return Ok(Media { format, form });
    }
    let accepted: &[&str] = if watch { &ACCEPTED_WATCH } else { &ACCEPTED };
    Err(Status::not_acceptable(accepted).into())
}

/// The format of a status, for which nothing is refused.
pub fn for_status(headers: &HeaderMap) -> Format {
    clauses(headers)
        .iter()
        .find_map(Clause::format)
        .unwrap_or_default()
}

/// Whether the client wants a discovery document of all groups at once.
pub fn wants_aggregated_discovery(headers: &HeaderMap) -> bool {
    clauses(headers)
        .iter()
        .find(|c| c.format().is_some())
        .is_some_and(|c| {
            c.get("as") == "APIGroupDiscoveryList"
                && c.get("g") == "apidiscovery.k8s.io"
                && c.get("v") == "v2"
        })
}

/// Whether people look: browsers and curl get indented JSON, as upstream.
pub fn pretty(query: Option<&str>, headers: &HeaderMap) -> bool {
    match query {
        Some(value) => !matches!(value, "" | "0" | "false"),
        None => headers
            .get(header::USER_AGENT)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|agent| {
                ["curl", "Wget", "Mozilla/5.0"]
                    .iter()
                    .any(|p| agent.starts_with(p))
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, value.parse().expect("header"));
        headers
    }

    #[test]
    fn first_acceptable_clause_wins() {
        let table = Some(Media {
            format: Format::Json,
            form: Form::Table,
        });
        let json = Some(Media::default());
        let rows = [
            ("application/json", json),
            ("*/*", json),
            ("application/*", None),
            ("text/html", None),
            (
                "application/vnd.kubernetes.protobuf, application/json",
                json,
            ),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                table,
            ),
            (
                "application/json;as=Other;v=v1;g=meta.k8s.io,application/json",
                json,
            ),
            (
                "application/json;q=0.5,application/yaml",
                Some(Media {
                    format: Format::Yaml,
                    form: Form::Object,
                }),
            ),
        ];
        for (text, want) in rows {
            assert_eq!(
                negotiate(&accept(text), true, false, false).ok(),
                want,
                "{text}"
            );
        }
    }
}
