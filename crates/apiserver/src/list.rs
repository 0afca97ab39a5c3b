//! `get` and `list`: answers put together from stored bytes.

pub mod token;

use std::sync::Arc;

use karve_api::encode::protobuf;
use karve_api::field;
use karve_api::schema::Schema;
use karve_api::status::Status;
use karve_store::{Entry, Error, Page, Range, Store};
use serde_json::{Value, json};

use crate::answer::{HttpResponse, Refusal};
use crate::body::{self, Body};
use crate::call::Call;
use crate::encoder::{self, Encoder};
use crate::media::{Form, Format};
use crate::select::Selection;
use crate::{convert, keys, object, respond, table};
use token::Token;

/// Answers `get`.
pub fn get(store: &Store, call: &Call) -> Result<HttpResponse, Refusal> {
    let wanted = call.query.text("resourceVersion");
    if !wanted.is_empty() {
        let version = crate::watch::parse_version(wanted)?;
        wait_for_version(store, version)?;
    }
    let entry = store.get(&call.key()).ok_or_else(|| call.not_found())?;
    Ok(respond::object(
        call,
        200,
        &convert::read(&call.resource, entry.value()),
    ))
}

/// How upstream reads a resourceVersion in lists and gets.
fn parse_version(text: &str) -> Result<u64, Refusal> {
    text.parse().map_err(|_| {
        let quoted = field::quote(text);
        Status::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: {quoted}: strconv.ParseUint: parsing {quoted}: invalid syntax"
        ))
        .into()
    })
}

/// Every version that was ever told is readable at once, so one from the future is a mistake.
fn wait_for_version(store: &Store, wanted: u64) -> Result<(), Refusal> {
    let current = store.revision();
    match wanted > current {
        true => Err(Status::version_too_large(wanted, current).into()),
        false => Ok(()),
    }
}

/// What a list asks for.
#[derive(Debug, Default)]
struct Wanted {
    limit: Option<usize>,
    at: Option<u64>,
    /// Where the list goes on. When its revision is too old, the answer has a fresh one.
    token: Option<Token>,
}

fn wanted(store: &Store, call: &Call) -> Result<Wanted, Refusal> {
    let query = &call.query;
    let (version, matching, token) = (
        query.text("resourceVersion"),
        query.text("resourceVersionMatch"),
        query.text("continue"),
    );
    let limit = query.number("limit")?.filter(|n| *n > 0);
    query.number("timeoutSeconds")?;
    check_options(call)?;
    let mut wanted = Wanted {
        limit: limit.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
        ..Wanted::default()
    };
    if !token.is_empty() {
        let token = Token::decode(token)?;
        if !version.is_empty() && version != "0" {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            )
            .into());
        }
        wanted.at = u64::try_from(token.revision).ok();
        wanted.token = Some(token);
        return Ok(wanted);
    }
    if version.is_empty() {
        return Ok(wanted);
    }
    let revision = parse_version(version)?;
    match (revision, matching) {
        // Upstream answers these from its cache, which knows no limits.
        (0, _) => wanted.limit = None,
        // A limit without a match means exactly this revision, from before there were matches.
        (revision, matching) if matching == "Exact" || matching.is_empty() && limit.is_some() => {
            wait_for_version(store, revision)?;
            wanted.at = Some(revision);
        }
        (revision, _) => wait_for_version(store, revision)?,
    }
    Ok(wanted)
}

/// Upstream's rules on which parameters go together.
fn check_options(call: &Call) -> Result<(), Refusal> {
    let (version, matching) = (
        call.query.text("resourceVersion"),
        call.query.text("resourceVersionMatch"),
    );
    let path = field::Path::root("resourceVersionMatch");
    let mut errors = Vec::new();
    if !matching.is_empty() && version.is_empty() {
        errors.push(field::Error::forbidden(
            &path,
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ));
    }
    if !matching.is_empty() && !call.query.text("continue").is_empty() {
        errors.push(field::Error::forbidden(
            &path,
            "resourceVersionMatch is forbidden when continue is provided",
        ));
    }
    if !matches!(matching, "" | "Exact" | "NotOlderThan") {
        errors.push(field::Error::not_supported(
            &path,
            matching,
            &["Exact", "NotOlderThan", ""],
        ));
    }
    if matching == "Exact" && version == "0" {
        errors.push(field::Error::forbidden(
            &path,
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        ));
    }
    if call.query.get("sendInitialEvents").is_some() {
        let path = field::Path::root("sendInitialEvents");
        errors.push(field::Error::forbidden(
            &path,
            "sendInitialEvents is forbidden for list",
        ));
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors).into()),
    }
}

/// What a list answers with.
pub struct Listed {
    /// The objects, in the order of keys.
    pub entries: Vec<Arc<Entry>>,
    /// What is said of all of them.
    pub metadata: ListMeta,
}

/// The metadata of a list.
#[derive(Debug, Default)]
pub struct ListMeta {
    revision: u64,
    token: String,
    remaining: Option<usize>,
    /// Lists of custom resources say that there is no more: upstream has no Go type that would leave it out.
    custom: bool,
}

impl ListMeta {
    fn value(&self) -> Value {
        let mut value = json!({"resourceVersion": self.revision.to_string()});
        if !self.token.is_empty() {
            value["continue"] = self.token.as_str().into();
        }
        if let Some(remaining) = self.remaining {
            value["remainingItemCount"] = remaining.into();
        }
        value
    }

    /// Compact JSON, members in Go's order.
    fn json(&self) -> String {
        let mut text = format!("{{\"resourceVersion\":\"{}\"", self.revision);
        if !self.token.is_empty() || self.custom {
            // Base64 needs no escapes.
            text.push_str(&format!(",\"continue\":\"{}\"", self.token));
        }
        if let Some(remaining) = self.remaining {
            text.push_str(&format!(",\"remainingItemCount\":{remaining}"));
        }
        text.push('}');
        text
    }
}

/// Reads the objects that a list or a deletion of a collection is about.
pub fn read(store: &Store, call: &Call, selection: &Selection) -> Result<Listed, Refusal> {
    let wanted = wanted(store, call)?;
    let prefix = keys::prefix(&call.resource, call.namespace());
    let from = wanted
        .token
        .as_ref()
        .map(|token| format!("{prefix}{}", token.start));
    let scope = selection.scope(call);
    let everything = selection.is_everything();
    let range = Range {
        prefix: &scope,
        from: from.as_deref(),
        limit: if everything { wanted.limit } else { None },
        at: wanted.at,
    };
    let mut page = store
        .range(&range)
        .map_err(|err| expired(err, store, &wanted))?;
    let more = match everything {
        true => page.remaining > 0,
        false => choose(&mut page, selection, wanted.limit),
    };
    let mut metadata = ListMeta {
        revision: page.revision,
        custom: call.resource.is_custom() && matches!(call.media.form, Form::Object),
        ..ListMeta::default()
    };
    if more && let Some(last) = page.entries.last() {
        metadata.token = Token::behind(&last.key()[prefix.len()..], page.revision as i64).encode();
        // Upstream does not know how many of the rest are selected.
        metadata.remaining = everything.then_some(page.remaining);
    }
    Ok(Listed {
        entries: page.entries,
        metadata,
    })
}

/// Leaves what is selected, up to the limit; says whether there is more behind the last one, selected or not.
fn choose(page: &mut Page, selection: &Selection, limit: Option<usize>) -> bool {
    let limit = limit.unwrap_or(usize::MAX);
    let mut entries = std::mem::take(&mut page.entries).into_iter();
    while page.entries.len() < limit
        && let Some(entry) = entries.next()
    {
        if selection.matches(&entry) {
            page.entries.push(entry);
        }
    }
    entries.next().is_some()
}

fn expired(err: Error, store: &Store, wanted: &Wanted) -> Refusal {
    match (err, &wanted.token) {
        (Error::Expired { .. }, Some(token)) => {
            let fresh = Token {
                revision: -1,
                start: token.start.clone(),
            };
            Status::expired_continue(&fresh.encode()).into()
        }
        (Error::Expired { .. }, None) => {
            Status::expired("The resourceVersion for the provided list is too old.").into()
        }
        (_, _) => Status::version_too_large(wanted.at.unwrap_or_default(), store.revision()).into(),
    }
}

/// Answers `list`.
pub async fn list(store: &Store, call: &Call) -> Result<HttpResponse, Refusal> {
    let selection = Selection::parse(call)?;
    let listed = read(store, call, &selection)?;
    respond_list(call, listed).await
}

/// A list in the wanted form.
pub async fn respond_list(call: &Call, listed: Listed) -> Result<HttpResponse, Refusal> {
    encoder::check_form(call, true)?;
    let encoder = Encoder::new(call)?;
    let Listed { entries, metadata } = listed;
    if encoder.is_protobuf() {
        return Ok(respond::list(
            call,
            messages(call, &encoder, entries, &metadata).await,
        ));
    }
    let head = match call.media.form {
        Form::Table(version) => table::list_head(call, &metadata.json(), version),
        Form::Metadata(version) | Form::MetadataList(version) => list_head(
            "PartialObjectMetadataList",
            version.api_version(),
            &metadata,
        ),
        Form::Object => {
            let resource = &call.resource;
            list_head(&resource.list_kind, &resource.api_version(), &metadata)
        }
    };
    if call.media.format == Format::Json {
        let tail = b"]}\n".to_vec();
        let write = move |entry: &Arc<Entry>, out: &mut _| encoder.item(entry.value(), out);
        return Ok(respond::list(
            call,
            body::joined(head, entries, tail, write),
        ));
    }
    let mut out = bytes::BytesMut::from(&*head);
    for (i, entry) in entries.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(b",");
        }
        encoder.item(entry.value(), &mut out);
    }
    out.extend_from_slice(b"]}");
    Ok(respond::finished(call, 200, out))
}

fn list_head(kind: &str, api_version: &str, metadata: &ListMeta) -> Vec<u8> {
    let head = object::head(api_version, kind);
    format!("{head}\"metadata\":{},\"items\":[", metadata.json()).into_bytes()
}

/// So many objects are encoded before others get their turn.
const TURN: usize = 32;

/// A list in protobuf: every object is encoded once, because the head holds the length of all; what is sent is let go.
async fn messages(
    call: &Call,
    encoder: &Encoder,
    entries: Vec<Arc<Entry>>,
    metadata: &ListMeta,
) -> Body {
    let mut list = protobuf::List::default();
    let mut messages: Vec<Vec<u8>> = Vec::with_capacity(entries.len());
    for (i, entry) in entries.into_iter().enumerate() {
        if i % TURN == TURN - 1 {
            tokio::task::yield_now().await;
        }
        let mut message = Vec::with_capacity(entry.value().len());
        encoder.item_message(entry.value(), &mut message);
        message.shrink_to_fit();
        list.count(message.len());
        messages.push(message);
    }
    let resource = &call.resource;
    let own = (&*resource.group, &*resource.version, &*resource.list_kind);
    let (api_version, (group, version, kind)) = match call.media.form {
        Form::Metadata(meta) | Form::MetadataList(meta) => (
            meta.api_version().to_owned(),
            ("meta.k8s.io", "v1", "PartialObjectMetadataList"),
        ),
        _ => (resource.api_version().into_owned(), own),
    };
    let ty = Schema::builtin().kind(group, version, kind);
    let head = ty.map(|ty| list.head(&api_version, kind, &metadata.value(), ty));
    let mut head = Some(head.unwrap_or_default());
    let mut messages = messages.into_iter();
    Body::parts(move |piece| {
        if let Some(head) = head.take() {
            piece.extend_from_slice(&head);
        }
        match messages.next() {
            Some(message) => {
                let mut item = Vec::with_capacity(6);
                protobuf::List::item_head(message.len(), &mut item);
                piece.extend_from_slice(&item);
                piece.extend_from_slice(&message);
                true
            }
            None => {
                piece.extend_from_slice(protobuf::List::tail());
                false
            }
        }
    })
}
