//! Paths below an object that are more than a part of it.

mod binding;
mod eviction;
mod log;
mod proxy;
pub mod scale;
mod token;

use std::sync::Arc;

use karve_api::resource::Verb;
use karve_api::status::Status;

use crate::admission;
use crate::answer::{HttpResponse, Refusal};
use crate::call::Call;
use crate::server::Server;

pub use binding::bind;
pub use proxy::proxy;

/// Answers what is not the object itself, its status or its finalizers.
pub async fn serve(
    server: &Arc<Server>,
    call: &mut Call,
    body: &[u8],
) -> Result<HttpResponse, Refusal> {
    match (&*call.resource.plural, &*call.path.subresource, call.verb) {
        (_, "scale", Verb::Get) => scale::get(server, call).await,
        (_, "scale", Verb::Update) => scale::update(server, call, body).await,
        (_, "scale", Verb::Patch) => scale::patch(server, call, body).await,
        ("pods", "binding", Verb::Create) => bind(server, call, body).await,
        ("pods", "eviction", Verb::Create) => eviction::evict(server, call, body).await,
        ("pods", "log", Verb::Get) => log::get(server, call).await,
        ("pods", "exec" | "attach" | "portforward", _) => {
            admission::connect(server, call).await?;
            log::connect(server, call)
        }
        ("serviceaccounts", "token", Verb::Create) => token::create(server, call, body).await,
        _ => Err(Status::method_not_allowed().into()),
    }
}
