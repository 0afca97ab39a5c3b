//! `patch`: JSON patch, merge patch, strategic merge patch, and server-side apply.

use karve_api::apply::{self, ApplyError};
use karve_api::decode::yaml;
use karve_api::field;
use karve_api::schema::Type;
use karve_api::status::Status;
use serde_json::Value;

use crate::answer::{HttpResponse, Refusal};
use crate::call::Call;
use crate::object::Meta;
use crate::server::Server;
use crate::write::{self, FieldValidation};
use crate::{convert, create, respond, semantics, update};

/// Answers `patch`.
pub async fn patch(server: &Server, call: &mut Call, body: &[u8]) -> Result<HttpResponse, Refusal> {
    let dry_run = call.query.dry_run("PatchOptions")?;
    let validation = FieldValidation::parse(call, "PatchOptions")?;
    check_options(call)?;
    let resource = call.resource.clone();
    let ty = resource
        .shown_type()
        .ok_or_else(|| Status::internal("the kind has no schema"))?;
    if call.is_apply() {
        return apply_configuration(server, call, body, ty, validation, dry_run).await;
    }
    let stored = update::apply(server, call, dry_run, |call, old: &Value| {
        let shown = convert::read_value(&resource, old.clone());
        let next = semantics::apply_patch(call, &shown, body, ty, validation)?;
        write::check_names(call, &next)?;
        let mut next = convert::written(&resource, next);
        semantics::set_defaults(call, &mut next);
        Ok(next)
    })
    .await?;
    Ok(respond::object(
        call,
        200,
        &convert::read(&call.resource, &stored),
    ))
}

/// Which options go with which patch type.
pub fn check_options(call: &Call) -> Result<(), Refusal> {
    let error = match call.is_apply() {
        true if call.query.text("fieldManager").is_empty() => field::Error::required(
            &field::Path::root("fieldManager"),
            "is required for apply patch",
        ),
        false if call.query.get("force").is_some() => field::Error::forbidden(
            &field::Path::root("force"),
            "may not be specified for non-apply patch",
        ),
        _ => return Ok(()),
    };
    Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &[error]).into())
}

/// Server-side apply (KEP-555): also makes the object when there is none.
async fn apply_configuration(
    server: &Server,
    call: &mut Call,
    body: &[u8],
    ty: Type<'_>,
    validation: FieldValidation,
    dry_run: bool,
) -> Result<HttpResponse, Refusal> {
    let document =
        yaml::parse(body).map_err(|e| Status::bad_request(format!("error encoding patch: {e}")))?;
    let strict = Strict::of(call, &document, validation);
    let config = document.node.to_value();
    write::check_names(call, &config)?;
    if call.path.subresource.is_empty() && server.store.get(&call.key()).is_none() {
        let mut object = merge(call, None, &config, ty)?;
        strict.check()?;
        semantics::fit(call, &mut object)?;
        semantics::set_defaults(call, &mut object);
        let name = call.name().to_owned();
        object.set_meta("name", name);
        let object = convert::written(&call.resource, object);
        let stored = create::create_object(server, call, object, dry_run).await?;
        return Ok(respond::object(
            call,
            201,
            &convert::read(&call.resource, &stored),
        ));
    }
    let stored = update::apply(server, call, dry_run, |call, old: &Value| {
        let live = convert::read_value(&call.resource, old.clone());
        let mut next = merge(call, Some(&live), &config, ty)?;
        strict.check()?;
        // Only a version that the configuration names is a precondition.
        let version = config.meta("resourceVersion").to_owned();
        next.set_meta("resourceVersion", version);
        let mut next = convert::written(&call.resource, next);
        semantics::fit(call, &mut next)?;
        semantics::set_defaults(call, &mut next);
        Ok(next)
    })
    .await?;
    Ok(respond::object(
        call,
        200,
        &convert::read(&call.resource, &stored),
    ))
}

fn merge(
    call: &Call,
    live: Option<&Value>,
    config: &Value,
    ty: Type<'_>,
) -> Result<Value, Refusal> {
    let force = call.query.flag("force");
    semantics::as_writer(call, |writer| {
        apply::apply(live, config, ty, &call.resource.gvk(), writer, force)
    })
    .map_err(apply_refusal)
}

/// What is wrong with a configuration that can be read all the same.
pub struct Strict(Option<String>);

impl Strict {
    /// Members that are there twice: a warning, or a fault, as the client wants it.
    pub fn of(call: &mut Call, document: &yaml::Yaml, validation: FieldValidation) -> Strict {
        if matches!(validation, FieldValidation::Warn) {
            call.warnings.extend(document.duplicates.iter().cloned());
        }
        let fault = document.strict();
        Strict(fault.filter(|_| matches!(validation, FieldValidation::Strict)))
    }

    /// Refuses the fault; conflicts come before it.
    pub fn check(&self) -> Result<(), Refusal> {
        match &self.0 {
            Some(fault) => {
                let text = format!("error strict decoding patch: {fault}");
                Err(Status::bad_request(text).into())
            }
            None => Ok(()),
        }
    }
}

/// The answer to a configuration that can't be applied.
pub fn apply_refusal(err: ApplyError) -> Refusal {
    match &err {
        ApplyError::Malformed(text) => Status::bad_request(text.clone()).into(),
        ApplyError::Internal(text) => Status::unclassified(text.clone()).into(),
        ApplyError::Conflict(all) => {
            let pairs = all.iter().map(|c| (c.manager.as_str(), c.field.as_str()));
            Status::apply_conflict(pairs).into()
        }
    }
}
