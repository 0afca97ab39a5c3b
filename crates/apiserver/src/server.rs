//! From an HTTP request to the handler that answers it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::FutureExt as _;
use http::request::Parts;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Limited};
use karve_api::resource::{Resource, Table, Verb};
use karve_api::status::Status;
use karve_api::strategy::warnings;
use karve_store::Store;
use parking_lot::RwLock;

use crate::admission::quota;
use crate::aggregate::{self, Aggregation};
use crate::answer::{self, HttpResponse, Refusal};
use crate::authenticate::{self, Authenticator};
use crate::authorize::{self, Authorizer};
use crate::body::Body;
use crate::call::Call;
use crate::identity::Identity;
use crate::nonresource::Documents;
use crate::path::{self, ResourcePath, Target};
use crate::presence::Presence;
use crate::query::Query;
use crate::webhook::Webhooks;
use crate::{
    Options, create, delete, impersonate, list, media, nonresource, patch, respond, review,
    subresource, update, watch,
};

/// What upstream says of a request that hit a defect.
const PANICKED: &str = "This request caused apiserver to panic. Look in the logs for details.\n";

/// Upstream's limit for bodies.
const BODY_MAX: usize = 3 << 20;

/// What all requests share.
pub struct Server {
    pub(crate) store: Store,
    pub(crate) options: Options,
    pub(crate) presence: Presence,
    pub(crate) authenticator: Authenticator,
    pub(crate) authorizer: Authorizer,
    pub(crate) quota_turns: quota::Turns,
    pub(crate) webhooks: Webhooks,
    pub(crate) aggregation: Aggregation,
    served: RwLock<Arc<Served>>,
}

/// What the server serves at one moment: a request keeps what it began with.
#[derive(Default)]
pub struct Served {
    /// The resources.
    pub table: Table,
    /// Documents made from them.
    pub documents: Documents,
}

impl Server {
    /// A server that serves the built-in resources.
    pub fn new(store: Store, options: Options) -> Result<Server, authenticate::Error> {
        let served = Served {
            table: Table::builtin().clone(),
            ..Served::default()
        };
        Ok(Server {
            authenticator: Authenticator::open(&options.authentication, store.clone())?,
            quota_turns: quota::Turns::default(),
            webhooks: Webhooks::default(),
            aggregation: Aggregation::default(),
            authorizer: Authorizer::new(store.clone()),
            store,
            options,
            presence: Presence::default(),
            served: RwLock::new(Arc::new(served)),
        })
    }

    /// What the server serves now. Cheap; look once for each request.
    pub fn served(&self) -> Arc<Served> {
        self.served.read().clone()
    }

    /// Serves other resources from now on.
    #[expect(dead_code, reason = "definitions come next")]
    pub fn serve_table(&self, table: Table) {
        let served = Served {
            table,
            ..Served::default()
        };
        *self.served.write() = Arc::new(served);
    }

    /// Answers a request. Never fails: whatever goes wrong is an answer.
    pub async fn handle<B>(
        self: &Arc<Self>,
        request: Request<B>,
        identity: Identity,
    ) -> HttpResponse
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let (method, uri) = (parts.method.clone(), parts.uri.clone());
        let (headers, user) = (parts.headers.clone(), identity.user.clone());
        let began = Instant::now();
        // A defect met by one request must not end the connection that others share.
        let answered = AssertUnwindSafe(self.dispatch(parts, body, identity))
            .catch_unwind()
            .await;
        let response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(refusal)) => respond::status(media::for_status(&headers), refusal.status()),
            Err(_) => {
                tracing::error!(%method, %uri, "request panicked");
                answer::text(500, PANICKED)
            }
        };
        tracing::debug!(
            %method,
            %uri,
            %user,
            code = response.status().as_u16(),
            micros = began.elapsed().as_micros() as u64,
            "request answered"
        );
        match method == Method::HEAD {
            true => response.map(|_| Body::empty()),
            false => response,
        }
    }

    async fn dispatch<B>(
        self: &Arc<Self>,
        mut parts: Parts,
        body: B,
        identity: Identity,
    ) -> Result<HttpResponse, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let known = (!identity.is_anonymous()).then_some(identity);
        let (identity, warning) = self.authenticator.identify(&parts.headers, known)?;
        let query = Query::parse(parts.uri.query());
        let target = path::parse(parts.uri.path());
        let asked = authorize::Request::new(&parts.method, &target, &query);
        let identity = impersonate::identity(&self.authorizer, identity, &asked, &parts.headers)?;
        self.authorizer.check(&asked.by(&identity))?;
        // Nobody behind this is to be tempted.
        impersonate::forget(&mut parts.headers);
        let service = match &target {
            Target::Other(path) => aggregate::of_path(self, path),
            Target::Resource(path) => aggregate::of_resource(self, path),
        };
        if let Some(service) = service {
            let body = read_body(body).await?;
            return Ok(aggregate::proxy(self, &service, parts, body, &identity).await);
        }
        let mut response = match target {
            Target::Other(path) => nonresource::answer(self, &parts, &path, &query),
            Target::Resource(path) => {
                let verb = requested_verb(&parts.method, &path, &query);
                self.resource(parts, body, identity, path, query, verb)
                    .await?
            }
        };
        if let Some(warning) = warning {
            answer::warn(&mut response, warning);
        }
        Ok(response)
    }

    async fn resource<B>(
        self: &Arc<Self>,
        parts: Parts,
        body: B,
        identity: Identity,
        path: ResourcePath,
        query: Query,
        verb: Option<Verb>,
    ) -> Result<HttpResponse, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let served = self.served();
        let table = &served.table;
        if table.group(&path.group).is_none() {
            return Ok(answer::page_not_found());
        }
        let resource = table
            .lookup(&path.group, &path.version, &path.resource)
            .filter(|r| fits_scope(r, &path))
            .ok_or_else(Status::unknown_resource)?;
        let verb = verb.ok_or_else(Status::method_not_allowed)?;
        check_verb(resource, &path, verb)?;
        let mut call = Call::new(
            resource.clone(),
            verb,
            path,
            query,
            identity,
            &parts.headers,
        )?;
        call.warnings
            .extend(warnings::resource(&call.resource).map(str::to_owned));
        let body = read_body(body).await?;
        match self.serve(&mut call, &body).await {
            Ok(response) => Ok(response),
            // Warnings go with refusals, too.
            Err(refusal) => Ok(respond::status_to(&call, refusal.status())),
        }
    }

    async fn serve(
        self: &Arc<Self>,
        call: &mut Call,
        body: &[u8],
    ) -> Result<HttpResponse, Refusal> {
        match (call.verb, &*call.path.subresource) {
            (
                Verb::Get,
                "" | "status" | "finalize" | "approval" | "ephemeralcontainers" | "resize",
            ) => list::get(&self.store, call),
            (Verb::List, "") => list::list(&self.store, call),
            (Verb::Watch, "") => watch::watch(self, call),
            (Verb::Create, "") if call.resource.storage.is_none() => {
                computed(self, call, body).await
            }
            (Verb::Create, "") => create::create(self, call, body).await,
            (
                Verb::Update,
                "" | "status" | "finalize" | "approval" | "ephemeralcontainers" | "resize",
            ) => update::update(self, call, body).await,
            (
                Verb::Patch,
                "" | "status" | "finalize" | "approval" | "ephemeralcontainers" | "resize",
            ) => patch::patch(self, call, body).await,
            (Verb::Delete, "") => delete::delete(self, call, body).await,
            (Verb::DeleteCollection, "") => delete::delete_collection(self, call, body).await,
            _ => subresource::serve(self, call, body).await,
        }
    }
}

/// Resources that are answered and never kept.
async fn computed(server: &Server, call: &mut Call, body: &[u8]) -> Result<HttpResponse, Refusal> {
    match &*call.resource.plural {
        "bindings" => subresource::bind(server, call, body).await,
        _ => review::create(server, call, body).await,
    }
}

/// What the method means for the path; `None` for methods that no resource has.
fn requested_verb(method: &Method, path: &ResourcePath, query: &Query) -> Option<Verb> {
    let single = !path.name.is_empty();
    let watches = path.watch || query.flag("watch");
    Some(match method.as_str() {
        "GET" if path.watch => Verb::Watch,
        "GET" if single => Verb::Get,
        "GET" if watches => Verb::Watch,
        "GET" => Verb::List,
        "POST" => Verb::Create,
        "PUT" => Verb::Update,
        "PATCH" => Verb::Patch,
        "DELETE" if single => Verb::Delete,
        "DELETE" => Verb::DeleteCollection,
        _ => return None,
    })
}

/// Whether the path has a namespace where the resource needs one and none where it has none.
fn fits_scope(resource: &Resource, path: &ResourcePath) -> bool {
    let in_namespace = !path.namespace.is_empty();
    let known = path.subresource.is_empty() || resource.subresource(&path.subresource).is_some();
    let scope = match resource.namespaced {
        true => in_namespace || path.name.is_empty() && resource.verbs.contains(Verb::List),
        false => !in_namespace || resource.plural == "namespaces",
    };
    known && scope
}

fn check_verb(resource: &Resource, path: &ResourcePath, verb: Verb) -> Result<(), Refusal> {
    let verbs = match resource.subresource(&path.subresource) {
        Some(subresource) => subresource.verbs,
        None => resource.verbs,
    };
    let many = path.name.is_empty();
    let placed = match verb {
        Verb::Create => {
            path.subresource.is_empty() == many
                && (!resource.namespaced || !path.namespace.is_empty())
        }
        Verb::DeleteCollection => !resource.namespaced || !path.namespace.is_empty(),
        Verb::Update | Verb::Patch => !many,
        _ => true,
    };
    match verbs.contains(verb) && placed {
        true => Ok(()),
        false => Err(Status::method_not_allowed().into()),
    }
}

async fn read_body<B>(body: B) -> Result<Bytes, Refusal>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let collected = std::pin::pin!(Limited::new(body, BODY_MAX)).collect().await;
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(err) if err.is::<http_body_util::LengthLimitError>() => {
            Err(Status::too_large(BODY_MAX).into())
        }
        Err(err) => Err(Status::bad_request(format!("read the body: {err}")).into()),
    }
}
