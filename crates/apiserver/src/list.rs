//! `get` and `list`: answers put together from stored bytes.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::BytesMut;
use karve_api::field;
use karve_api::status::Status;
use karve_store::{Entry, Error, Page, Range, Store};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::{HttpResponse, Refusal};
use crate::body;
use crate::call::Call;
use crate::media::{Form, Format};
use crate::select::Selection;
use crate::{convert, keys, object, respond, table};

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

/// Where a list goes on: upstream's own token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

/// What a list asks for.
#[derive(Debug)]
struct Wanted {
    limit: Option<usize>,
    /// Name (or namespace and name) behind which to go on.
    after: Option<String>,
    at: Option<u64>,
    /// The answer goes on with a fresh token when the revision is too old.
    token: Option<Token>,
}

fn wanted(store: &Store, call: &Call) -> Result<Wanted, Refusal> {
    let query = &call.query;
    let (version, matching, token) = (
        query.text("resourceVersion"),
        query.text("resourceVersionMatch"),
        query.text("continue"),
    );
    check_match(version, matching, token)?;
    if query
        .get("sendInitialEvents")
        .is_some_and(|v| !v.is_empty())
    {
        let path = field::Path::root("sendInitialEvents");
        let error = field::Error::forbidden(&path, "sendInitialEvents is forbidden for list");
        return Err(Status::invalid("meta.k8s.io", "ListOptions", "", &[error]).into());
    }
    let limit = query
        .number("limit")?
        .filter(|n| *n > 0)
        .map(|n| n as usize);
    query.number("timeoutSeconds")?;
    if !token.is_empty() {
        if !version.is_empty() && version != "0" {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            )
            .into());
        }
        let token = decode_token(token)?;
        let at = u64::try_from(token.rv).ok().filter(|rv| *rv > 0);
        let after = Some(token.start.trim_end_matches('\0').to_owned());
        return Ok(Wanted {
            limit,
            after,
            at,
            token: Some(token),
        });
    }
    let mut wanted = Wanted {
        limit,
        after: None,
        at: None,
        token: None,
    };
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
pub fn check_match(version: &str, matching: &str, token: &str) -> Result<(), Refusal> {
    if matching.is_empty() {
        return Ok(());
    }
    let path = field::Path::root("resourceVersionMatch");
    let mut errors = Vec::new();
    if version.is_empty() {
        errors.push(field::Error::forbidden(
            &path,
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ));
    }
    if !token.is_empty() {
        errors.push(field::Error::forbidden(
            &path,
            "resourceVersionMatch is forbidden when continue is provided",
        ));
    }
    if !matches!(matching, "Exact" | "NotOlderThan") {
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
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors).into()),
    }
}

fn decode_token(text: &str) -> Result<Token, Refusal> {
    let invalid = |why: String| {
        Refusal::from(Status::bad_request(format!(
            "invalid continue token: continue key is not valid: {why}"
        )))
    };
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .or_else(|_| STANDARD_NO_PAD.decode(text))
        .map_err(|_| invalid("illegal base64 data at input byte 0".into()))?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|_| {
        let first = String::from_utf8_lossy(&bytes)
            .chars()
            .next()
            .unwrap_or_default();
        let first = bytes
            .first()
            .filter(|b| !b.is_ascii())
            .map_or(first, |b| char::from(*b));
        match first.is_ascii() {
            true => invalid(format!(
                "invalid character '{first}' looking for beginning of value"
            )),
            false => invalid(format!(
                "invalid character '\\u{:04x}' looking for beginning of value",
                first as u32
            )),
        }
    })?;
    if token.v != "meta.k8s.io/v1" || token.start.contains("..") || token.start.starts_with('/') {
        return Err(invalid("incorrect encoded continue version".into()));
    }
    Ok(token)
}

fn encode_token(revision: i64, start: &str) -> String {
    let token = Token {
        v: "meta.k8s.io/v1".into(),
        rv: revision,
        start: format!("{start}\0"),
    };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a token is JSON"))
}

/// What a list answers with.
pub struct Listed {
    /// The objects, in the order of keys.
    pub entries: Vec<Arc<Entry>>,
    /// The list's metadata.
    pub metadata: Value,
}

/// Reads the objects that a list or a deletion of a collection is about.
pub fn read(store: &Store, call: &Call, selection: &Selection) -> Result<Listed, Refusal> {
    let wanted = wanted(store, call)?;
    let prefix = keys::prefix(&call.resource, call.namespace());
    let after = wanted.after.as_ref().map(|name| format!("{prefix}{name}"));
    let scope = selection.scope(call);
    let mut range = Range {
        prefix: &scope,
        after: after.as_deref(),
        limit: wanted.limit,
        at: wanted.at,
    };
    if !selection.is_everything() {
        range.limit = None;
    }
    let mut page = store
        .range(&range)
        .map_err(|err| expired(err, store, &wanted))?;
    let more = choose(&mut page, selection, wanted.limit);
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if more && let Some(last) = page.entries.last() {
        metadata["continue"] =
            encode_token(page.revision as i64, &last.key()[prefix.len()..]).into();
        if selection.is_everything() {
            metadata["remainingItemCount"] = page.remaining.into();
        }
    }
    Ok(Listed {
        entries: page.entries,
        metadata,
    })
}

/// Leaves what is selected, up to the limit; says whether there is more.
fn choose(page: &mut Page, selection: &Selection, limit: Option<usize>) -> bool {
    if selection.is_everything() {
        return page.remaining > 0;
    }
    page.entries.retain(|entry| selection.matches(entry));
    let limit = limit.unwrap_or(usize::MAX);
    let more = page.entries.len() > limit;
    page.entries.truncate(limit);
    more
}

fn expired(err: Error, store: &Store, wanted: &Wanted) -> Refusal {
    match (err, &wanted.token) {
        (Error::Expired { .. }, Some(token)) => {
            let fresh = encode_token(-1, token.start.trim_end_matches('\0'));
            Status::expired_continue(&fresh).into()
        }
        (Error::Expired { .. }, None) => {
            Status::expired("The resourceVersion for the provided list is too old.").into()
        }
        (_, _) => Status::version_too_large(wanted.at.unwrap_or_default(), store.revision()).into(),
    }
}

/// Answers `list`.
pub fn list(store: &Store, call: &Call) -> Result<HttpResponse, Refusal> {
    let selection = Selection::parse(call)?;
    let listed = read(store, call, &selection)?;
    Ok(respond_list(call, listed))
}

/// A list in the wanted form.
pub fn respond_list(call: &Call, Listed { entries, metadata }: Listed) -> HttpResponse {
    let resource = call.resource.clone();
    let (head, body) = match call.media.form {
        Form::Table => (
            table::list_head(call, &metadata),
            table::rows(call, entries),
        ),
        Form::Metadata => {
            let head = list_head("PartialObjectMetadataList", "meta.k8s.io/v1", &metadata);
            return whole(call, head, entries, move |entry, out| partial(entry, out));
        }
        Form::Object => {
            let head = list_head(&resource.list_kind, &resource.api_version(), &metadata);
            let custom = resource
                .is_custom()
                .then(|| object::head(&resource.api_version(), &resource.kind));
            return whole(call, head, entries, move |entry, out| {
                let bytes = convert::read(&resource, entry.value());
                match &custom {
                    Some(head) => object::splice(out, head, &bytes),
                    None => out.extend_from_slice(&bytes),
                }
            });
        }
    };
    whole(call, head, body, |row, out| out.extend_from_slice(row))
}

fn list_head(kind: &str, api_version: &str, metadata: &Value) -> String {
    format!(
        "{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":["
    )
}

fn partial(entry: &Entry, out: &mut BytesMut) {
    let object: Value =
        serde_json::from_slice(entry.value()).expect("the store holds what encode wrote");
    let partial = json!({
        "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
    });
    out.extend_from_slice(partial.to_string().as_bytes());
}

/// A head, items with commas between, and `]}`; made while it is sent unless it has to be reformatted.
fn whole<T: Send + 'static>(
    call: &Call,
    head: String,
    items: Vec<T>,
    write: impl Fn(&T, &mut BytesMut) + Send + 'static,
) -> HttpResponse {
    if call.media.format == Format::Json {
        return respond::list(
            call,
            body::joined(head.into_bytes(), items, b"]}\n".to_vec(), write),
        );
    }
    let mut out = BytesMut::from(head.as_bytes());
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(b",");
        }
        write(item, &mut out);
    }
    out.extend_from_slice(b"]}");
    respond::spliced(call, 200, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_upstreams() {
        let text = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhXHUwMDAwIn0";
        let token = decode_token(text).expect("valid");
        assert_eq!(
            token,
            Token {
                v: "meta.k8s.io/v1".into(),
                rv: 1,
                start: "a\0".into()
            }
        );
        assert_eq!(encode_token(1, "a"), text);
        let junk = decode_token("junk").expect_err("no token");
        assert_eq!(
            junk.status().message,
            "invalid continue token: continue key is not valid: invalid character '\\u008e' looking for beginning of value"
        );
    }
}
