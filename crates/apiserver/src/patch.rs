//! `patch`: JSON patch, merge patch, strategic merge patch.

use serde_json::Value;

use crate::answer::{HttpResponse, Refusal};
use crate::call::Call;
use crate::server::Server;
use crate::write::FieldValidation;
use crate::{convert, respond, semantics, update};

/// Answers `patch`.
pub async fn patch(server: &Server, call: &mut Call, body: &[u8]) -> Result<HttpResponse, Refusal> {
    let dry_run = call.query.dry_run("PatchOptions")?;
    let validation = FieldValidation::parse(call, "PatchOptions")?;
    let patch = semantics::Patch::parse(call, body)?;
    let resource = call.resource.clone();
    let stored = update::apply(server, call, dry_run, |call, old: &Value| {
        let shown = convert::read_value(&resource, old.clone());
        let next = patch.apply(call, &shown, validation)?;
        Ok(convert::written(&resource, next))
    })
    .await?;
    Ok(respond::object(call, 200, &convert::read(&call.resource, &stored)))
}
