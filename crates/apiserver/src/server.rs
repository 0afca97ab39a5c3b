//! From an HTTP request to the handler that answers it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::request::Parts;
use http_body_util::BodyExt as _;
use karve_api::resource::{Resource, Table, Verb};
use karve_api::status::Status;
use karve_api::strategy::warnings;
use karve_store::Store;
use parking_lot::RwLock;
use tokio::sync::Semaphore;

use crate::admission::{Plugins, quota};
use crate::aggregate::{self, Aggregation};
use crate::answer::{self, HttpResponse, Refusal};
use crate::audit::Audit;
use crate::authenticate::{self, Authenticator};
use crate::authorize::{self, Authorizer};
use crate::call::Call;
use crate::crd::conversion;
use crate::egress::Egress;
use crate::flow::{self, FlowControl};
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::nonresource::Documents;
use crate::path::{self, ResourcePath, Target};
use crate::policy::Policies;
use crate::presence::Presence;
use crate::query::Query;
use crate::webhook::Webhooks;
use crate::{
    Options, create, delete, impersonate, nonresource, patch, respond, review, subresource, trail,
    update, watch,
};

/// Upstream's limit for bodies.
const BODY_MAX: usize = 3 << 20;
/// How much of a body that is too large is read all the same, and for how long.
const THROWN_AWAY_MAX: usize = 256 << 20;
const THROW_AWAY_MAX: Duration = Duration::from_secs(10);

/// What all requests share.
pub struct Server {
    pub(crate) store: Store,
    pub(crate) options: Options,
    pub(crate) egress: Egress,
    pub(crate) presence: Presence,
    pub(crate) authenticator: Authenticator,
    pub(crate) frames: watch::Frames,
    pub(crate) authorizer: Authorizer,
    pub(crate) metrics: Metrics,
    pub(crate) flow: Option<Arc<FlowControl>>,
    pub(crate) audit: Option<Arc<Audit>>,
    /// Places of requests, where there is no flow control.
    pub(crate) reading: Arc<Semaphore>,
    pub(crate) writing: Arc<Semaphore>,
    pub(crate) plugins: Plugins,
    pub(crate) quota_turns: quota::Turns,
    pub(crate) webhooks: Webhooks,
    pub(crate) policies: Policies,
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
    pub fn new(
        store: Store,
        options: Options,
        audit: Option<Audit>,
    ) -> Result<Server, authenticate::Error> {
        let limits = &options.limits;
        let seats = (limits.requests_in_flight + limits.mutating_in_flight) as u64;
        let flow = limits
            .priority_and_fairness
            .then(|| Arc::new(FlowControl::new(seats)));
        if let Some(flow) = &flow {
            flow::keep::load(&store, flow);
        }
        let served = Served {
            table: Table::builtin().clone(),
            ..Served::default()
        };
        Ok(Server {
            authenticator: Authenticator::open(
                &options.authentication,
                options.advertise,
                store.clone(),
            )?,
            metrics: Metrics::new(),
            flow,
            audit: audit.map(Arc::new),
            reading: Arc::new(Semaphore::new(limits.requests_in_flight)),
            writing: Arc::new(Semaphore::new(limits.mutating_in_flight)),
            plugins: Plugins::of(&options.admission),
            quota_turns: quota::Turns::default(),
            webhooks: Webhooks::new(&store),
            policies: Policies::new(&store),
            aggregation: Aggregation::new(&store),
            authorizer: Authorizer::new(store.clone()),
            egress: Egress::new(store.clone(), options.kubelet_tls.clone()),
            store,
            options,
            presence: Presence::default(),
            frames: watch::Frames::default(),
            served: RwLock::new(Arc::new(served)),
        })
    }

    /// What the server serves now. Cheap; look once for each request.
    pub fn served(&self) -> Arc<Served> {
        self.served.read().clone()
    }

    /// Serves other resources from now on.
    pub fn serve_table(&self, table: Table) {
        let served = Served {
            table,
            ..Served::default()
        };
        *self.served.write() = Arc::new(served);
    }

    /// Finds out who asks for what, whether they may, and who answers. Called by [`Server::handle`].
    pub(crate) async fn dispatch<B>(
        self: &Arc<Self>,
        mut parts: Parts,
        body: B,
        identity: Identity,
    ) -> Result<HttpResponse, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let known = (!identity.is_anonymous()).then_some(identity);
        let shown = parts.extensions.get().copied().unwrap_or_default();
        let (user, warning) = self
            .authenticator
            .identify(&mut parts.headers, known, shown)?;
        trail::note(|trail| trail.user = Some(user.clone()));
        let query = Query::parse(parts.uri.query());
        let target = path::parse(parts.uri.path());
        let asked = authorize::Request::new(&parts.method, &target, &query);
        let identity =
            impersonate::identity(&self.authorizer, user.clone(), &asked, &parts.headers)?;
        let _turn = match self.admit_in_turn(&parts, &user, &identity).await {
            Ok(turn) => turn,
            Err(come_again) => return Ok(*come_again),
        };
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
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let served = self.served();
        let table = &served.table;
        let found = table
            .lookup(&path.group, &path.version, &path.resource)
            .filter(|r| fits_scope(r, &path));
        let Some(resource) = found else {
            // Only the built-in groups know what they have not.
            return match Table::builtin().group(&path.group) {
                Some(_) => Err(Status::unknown_resource().into()),
                None => Ok(answer::page_not_found()),
            };
        };
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
        if let Some(custom) = call.resource.custom.clone() {
            call.warnings.extend(custom.deprecation.clone());
            let subresource = &call.path.subresource;
            if !subresource.is_empty() && call.resource.subresource(subresource).is_none() {
                return Err(call.not_found());
            }
        }
        let body = read_body(body).await?;
        trail::request_body(&call, &body);
        let answered = match &*call.path.subresource {
            "proxy" => subresource::proxy(self, &mut call, parts, body).await,
            _ => self.serve(&mut call, &body).await,
        };
        let writes = matches!(call.verb, Verb::Create | Verb::Update | Verb::Patch);
        if writes && answered.is_ok() && call.resource.group == "apiregistration.k8s.io" {
            aggregate::settle(self).await;
        }
        trail::note(|trail| trail.annotations.append(&mut call.annotations));
        match answered {
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
            ) => conversion::get(self, call).await,
            (Verb::List, "") => conversion::list(self, call).await,
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
pub(crate) fn requested_verb(method: &Method, path: &ResourcePath, query: &Query) -> Option<Verb> {
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
    // Custom resources answer for subresources that they have not.
    let known = path.subresource.is_empty()
        || resource.is_custom()
        || resource.subresource(&path.subresource).is_some();
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

/// Reads a body of a size that is allowed. Of a larger one the rest is taken and thrown away beside the answer, so that
/// a client that sends first and reads then gets to read it.
async fn read_body<B>(body: B) -> Result<Bytes, Refusal>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut body = Box::pin(body);
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let expected = body.size_hint().lower();
    let mut read = Vec::with_capacity(expected.min(BODY_MAX as u64) as usize);
    let mut too_large = expected > BODY_MAX as u64;
    while !too_large && let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|err| Status::bad_request(format!("read the body: {}", err.into())))?;
        if let Ok(data) = frame.into_data() {
            too_large = read.len() + data.len() > BODY_MAX;
            read.extend_from_slice(&data);
        }
    }
    if too_large {
        tokio::spawn(throw_away(body));
        return Err(Status::too_large(BODY_MAX).into());
    }
    Ok(read.into())
}

/// Reads on for a while: whoever sends without end has to live with a closed connection.
async fn throw_away<B: http_body::Body<Data = Bytes>>(mut body: std::pin::Pin<Box<B>>) {
    let rest = async {
        let mut left = THROWN_AWAY_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    // Either way the body is dropped.
    let _ = tokio::time::timeout(THROW_AWAY_MAX, rest).await;
}
