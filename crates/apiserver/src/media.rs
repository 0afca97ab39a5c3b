//! What the client accepts: the format and the form of an answer.
//!
//! Two gates, as upstream has: the router looks at bare media types and answers `406: Not Acceptable`; the handler reads
//! parameters (`as`, `stream`, `pretty`) and names the media types that it has. Custom resources know only the second.
//! Pure; absent: encoding itself (`respond`).

mod accept;

use http::{HeaderMap, header};
use karve_api::resource::Resource;
use karve_api::status::Status;

use crate::answer::Refusal;
pub use accept::Clause;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// JSON without blanks.
    #[default]
    Json,
    /// JSON for people.
    Pretty,
    /// YAML.
    Yaml,
    /// Kubernetes' protobuf.
    Protobuf,
}

impl Format {
    /// `Content-Type` of an answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Json | Format::Pretty => "application/json",
            Format::Yaml => "application/yaml",
            Format::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// `Content-Type` of a stream of events.
    pub fn stream_type(self) -> &'static str {
        match self {
            Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            _ => "application/json",
        }
    }
}

/// The versions in which `meta.k8s.io` has Tables and partial objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MetaVersion {
    /// `v1`
    #[default]
    V1,
    /// `v1beta1`
    V1beta1,
}

impl MetaVersion {
    /// `meta.k8s.io/v1`
    pub fn api_version(self) -> &'static str {
        match self {
            MetaVersion::V1 => "meta.k8s.io/v1",
            MetaVersion::V1beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// What is made of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Form {
    /// The objects.
    #[default]
    Object,
    /// Rows and columns.
    Table(MetaVersion),
    /// Only the metadata of one object, as PartialObjectMetadata.
    Metadata(MetaVersion),
    /// Only the metadata of the objects of a list, as PartialObjectMetadataList.
    MetadataList(MetaVersion),
}

/// A negotiated answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Media {
    /// How it is written.
    pub format: Format,
    /// What is made of objects.
    pub form: Form,
}

/// What an endpoint can answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offers {
    /// Objects of built-in kinds, in all forms.
    Builtin,
    /// Objects of custom kinds, which have no protobuf, in all forms.
    Custom,
    /// Objects of built-in kinds that nobody thought of as rows: reviews, bindings, tokens.
    Untabled,
    /// A document of the API that has one form: a Status, a discovery document.
    Document,
}

impl Offers {
    /// What the endpoints of a resource, or of one of its subresources, can answer with.
    pub fn of(resource: &Resource, subresource: &str) -> Offers {
        let untabled = matches!(subresource, "binding" | "eviction" | "token");
        match resource.is_custom() {
            true => Offers::Custom,
            false if untabled || resource.storage.is_none() => Offers::Untabled,
            false => Offers::Builtin,
        }
    }
}

/// In upstream's order: the first that fits a clause is taken.
const FORMATS: [Format; 3] = [Format::Json, Format::Yaml, Format::Protobuf];

/// What the texts of 406 list.
const ACCEPTED: [&str; 3] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];
const ACCEPTED_STREAM: [&str; 2] = [
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];

/// The first value of a header, as Go's `Header.Get`.
fn text(headers: &HeaderMap, name: header::HeaderName) -> &str {
    headers
        .get(name)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default()
}

/// The router's gate of the built-in endpoints: whether a media type of `Accept` is one that the endpoint produces at
/// all. `also` are types before those of objects, such as the text of logs; `streams`: lists, which can be watched.
pub fn check_route(headers: &HeaderMap, also: &[&str], streams: bool) -> Result<(), Refusal> {
    let accept = text(headers, header::ACCEPT);
    let streamed = if streams { &ACCEPTED_STREAM[..] } else { &[] };
    let produced = [also, &ACCEPTED[..], streamed].concat();
    let kinds = accept.split(',').map(|part| {
        let kind = part.split(';').next().unwrap_or_default();
        kind.trim_matches(' ')
    });
    match accept.is_empty()
        || kinds
            .into_iter()
            .any(|kind| kind == "*/*" || produced.contains(&kind))
    {
        true => Ok(()),
        false => Err(Status::no_representation(&produced).into()),
    }
}

/// Chooses the answer's format and form.
pub fn negotiate(headers: &HeaderMap, offers: Offers, pretty: bool) -> Result<Media, Refusal> {
    choose(headers, offers, pretty).ok_or_else(|| Status::not_acceptable(&ACCEPTED).into())
}

/// 406 for streams in a format that has none.
pub fn check_stream(media: Media) -> Result<(), Refusal> {
    match media.format {
        Format::Yaml => Err(Status::not_acceptable(&ACCEPTED_STREAM).into()),
        _ => Ok(()),
    }
}

fn choose(headers: &HeaderMap, offers: Offers, pretty: bool) -> Option<Media> {
    let accept = text(headers, header::ACCEPT);
    let readable = |format: Format, pretty: bool| match format {
        Format::Json if pretty => Format::Pretty,
        format => format,
    };
    if accept.is_empty() {
        let format = readable(Format::Json, pretty);
        return Some(Media {
            format,
            form: Form::Object,
        });
    }
    accept::parse(accept).iter().find_map(|clause| {
        let formats = FORMATS.iter().filter(|f| clause.admits(f.content_type()));
        formats.copied().find_map(|format| {
            let form = form(clause, format, offers)?;
            let format = readable(format, pretty || clause.get("pretty") == Some("1"));
            Some(Media { format, form })
        })
    })
}

/// What a clause makes of objects in a format; `None` when it can't be had.
fn form(clause: &Clause<'_>, format: Format, offers: Offers) -> Option<Form> {
    let stream = clause.get("stream").unwrap_or_default();
    let streams = format != Format::Yaml && stream == "watch";
    if !stream.is_empty() && !streams {
        return None;
    }
    // Upstream's endpoints know themselves under the version `v1`.
    let server_version = clause.get("sv").unwrap_or_default();
    if !server_version.is_empty() && (offers == Offers::Document || server_version != "v1") {
        return None;
    }
    let (kind, group, version) = (clause.get("as"), clause.get("g"), clause.get("v"));
    if kind.is_none() && group.is_none() && version.is_none() {
        let fits = offers != Offers::Custom || format != Format::Protobuf;
        return fits.then_some(Form::Object);
    }
    if offers == Offers::Document || group != Some("meta.k8s.io") {
        return None;
    }
    let version = match version {
        Some("v1") => MetaVersion::V1,
        Some("v1beta1") => MetaVersion::V1beta1,
        _ => return None,
    };
    match kind {
        Some("Table") if format != Format::Protobuf && offers != Offers::Untabled => {
            Some(Form::Table(version))
        }
        Some("PartialObjectMetadata") => Some(Form::Metadata(version)),
        Some("PartialObjectMetadataList") => Some(Form::MetadataList(version)),
        _ => None,
    }
}

/// The format of a status. A client that accepts none of them gets JSON for people, whatever it said.
pub fn for_status(headers: &HeaderMap, pretty: bool) -> Format {
    choose(headers, Offers::Document, pretty).map_or(Format::Pretty, |media| media.format)
}

/// Whether the client wants a discovery document of all groups at once, and how it is written.
pub fn aggregated_discovery(headers: &HeaderMap, pretty: bool) -> Option<Format> {
    let clauses = accept::parse(text(headers, header::ACCEPT));
    let media = clauses.iter().find_map(|clause| {
        let mut formats = FORMATS.iter().filter(|f| clause.admits(f.content_type()));
        formats.find_map(|format| {
            let wanted = (clause.get("as"), clause.get("g"), clause.get("v"));
            match wanted {
                (None, None, None) => Some(None),
                (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2")) => {
                    Some(Some(*format))
                }
                _ => None,
            }
        })
    });
    match media.flatten() {
        Some(Format::Json) if pretty => Some(Format::Pretty),
        format => format,
    }
}

/// The first of some media types that the client takes, for documents of other formats.
pub fn first_of<T: Copy>(headers: &HeaderMap, offered: &[(&str, T)]) -> Option<T> {
    let accept = text(headers, header::ACCEPT);
    let accept = if accept.is_empty() { "*/*" } else { accept };
    accept::parse(accept).iter().find_map(|clause| {
        let mut fitting = offered.iter().filter(|(kind, _)| clause.admits(kind));
        fitting.next().map(|(_, value)| *value)
    })
}

/// Whether people look: `pretty`, as Go reads bools; without it browsers and curl get indented JSON.
pub fn pretty(query: Option<&str>, headers: &HeaderMap) -> bool {
    match query.filter(|value| !value.is_empty()) {
        Some(value) => matches!(value, "1" | "t" | "T" | "true" | "True" | "TRUE"),
        None => {
            let agent = text(headers, header::USER_AGENT);
            ["curl", "Wget", "Mozilla/5.0"]
                .iter()
                .any(|p| agent.starts_with(p))
        }
    }
}

/// Whether the client takes gzip: a bare `gzip` in the list, as upstream looks for it.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    text(headers, header::ACCEPT_ENCODING)
        .split(',')
        .any(|token| token.trim() == "gzip")
}

#[cfg(test)]
mod tests;
