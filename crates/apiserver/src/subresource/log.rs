//! `log` of a Pod, streamed from its node; and the refusals of what else connects to containers.

use std::error::Error as _;
use std::fmt::Write as _;

use futures::TryStreamExt as _;
use http::{HeaderValue, Response, header};
use http_body_util::{BodyExt as _, BodyStream, Limited};
use hyper::body::Incoming;
use karve_api::field;
use karve_api::status::Status;
use serde_json::Value;

use crate::answer::{self, HttpResponse, Refusal};
use crate::body::{Body, BoxError};
use crate::call::Call;
use crate::kubelet;
use crate::object;
use crate::query::Query;
use crate::server::Server;

/// Of a node's error text so much is shown.
const ERROR_MAX: usize = 50 << 10;

/// Answers `GET pods/NAME/log`.
pub async fn get(server: &Server, call: &Call) -> Result<HttpResponse, Refusal> {
    let entry = server
        .store
        .get(&call.key())
        .ok_or_else(|| call.not_found())?;
    let pod = object::decode(entry.value(), &call.resource);
    let options = options(&call.query, call.name())?;
    let container = choose_container(&pod, call.query.text("container"), call.name())?;
    let node = kubelet::node_of(&pod);
    if node.is_empty() {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::NO_CONTENT;
        return Ok(response);
    }
    let path = format!(
        "/containerLogs/{}/{}/{container}{options}",
        call.namespace(),
        call.name()
    );
    let response = kubelet::get(server, node, &path)
        .await
        .map_err(|e| unreachable(&e))?;
    if !response.status().is_success() {
        return Err(refused(call, response).await);
    }
    let frames = BodyStream::new(response.into_body())
        .try_filter_map(|frame| async move { Ok(frame.into_data().ok()) })
        .map_err(BoxError::from);
    let mut response = answer::with_type(200, "text/plain", Body::stream(frames));
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    Ok(response)
}

fn unreachable(err: &kubelet::Error) -> Refusal {
    if let kubelet::Error::NoNode(node) = err {
        // Upstream names the resource of the request, not the node's.
        return Status::not_found("", "pods", node).into();
    }
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    Status::internal(text).into()
}

/// What the node says is wrong, as upstream passes it on.
async fn refused(call: &Call, response: Response<Incoming>) -> Refusal {
    let code = response.status().as_u16();
    let text = match Limited::new(response.into_body(), ERROR_MAX)
        .collect()
        .await
    {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes())
            .trim_end()
            .to_owned(),
        Err(err) => return Status::internal(err.to_string()).into(),
    };
    match code {
        400 => Status::bad_request(text),
        500 => Status::internal(text),
        404 => Status::failure(
            404,
            "NotFound",
            format!(
                "the server could not find the requested resource ( pods/log {})",
                call.name()
            ),
        ),
        code => Status::failure(code, "Unknown", text),
    }
    .into()
}

/// The container that is meant: the named one, or the only one.
fn choose_container(pod: &Value, wanted: &str, name: &str) -> Result<String, Refusal> {
    let names = |list: &str| -> Vec<String> {
        let list = pod["spec"][list].as_array();
        list.into_iter()
            .flatten()
            .filter_map(|c| c["name"].as_str())
            .map(str::to_owned)
            .collect()
    };
    let (containers, init) = (names("containers"), names("initContainers"));
    if !wanted.is_empty() {
        let known = [&containers, &init, &names("ephemeralContainers")];
        return match known.iter().any(|list| list.iter().any(|n| n == wanted)) {
            true => Ok(wanted.to_owned()),
            false => Err(Status::bad_request(format!(
                "container {wanted} is not valid for pod {name}"
            ))
            .into()),
        };
    }
    match &containers[..] {
        [only] => Ok(only.clone()),
        many => {
            let mut text = format!("a container name must be specified for pod {name}");
            if !many.is_empty() {
                let _ = write!(text, ", choose one of: [{}]", many.join(" "));
            }
            if !init.is_empty() {
                let _ = write!(text, " or one of the init containers: [{}]", init.join(" "));
            }
            Err(Status::bad_request(text).into())
        }
    }
}

/// The options for the node, as a query.
fn options(query: &Query, pod: &str) -> Result<String, Refusal> {
    let mut errors = Vec::new();
    let mut out = String::new();
    let mut add = |name: &str, value: &str| {
        let separator = if out.is_empty() { '?' } else { '&' };
        let _ = write!(out, "{separator}{name}={value}");
    };
    for name in ["follow", "previous", "timestamps"] {
        if query.flag(name) {
            add(name, "true");
        }
    }
    for (name, least) in [("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)] {
        let Some(number) = query.number(name)? else {
            continue;
        };
        let path = field::Path::root(name);
        match number >= least {
            true => add(name, &number.to_string()),
            false if least == 0 => {
                errors.push(field::Error::invalid(
                    &path,
                    number,
                    "must be greater than or equal to 0",
                ));
            }
            false => errors.push(field::Error::invalid(
                &path,
                number,
                "must be greater than 0",
            )),
        }
    }
    let time = query.text("sinceTime");
    if !time.is_empty() {
        if query.get("sinceSeconds").is_some() {
            let path = field::Path::root("[]");
            let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            errors.push(field::Error::forbidden(&path, why));
        }
        let time: jiff::Timestamp = time
            .parse()
            .map_err(|_| Status::bad_request(format!("sinceTime {time} is no time")))?;
        add("sinceTime", &time.to_string());
    }
    if query.get("stream").is_some() {
        errors.push(field::Error::forbidden(
            &field::Path::root("stream"),
            "may not be specified",
        ));
    }
    match errors.is_empty() {
        true => Ok(out),
        false => Err(Status::invalid("", "PodLogOptions", pod, &errors).into()),
    }
}

/// Answers `exec`, `attach` and `portforward`.
///
/// DEVIATION: not built; after upstream's checks the answer is 503.
pub fn connect(server: &Server, call: &Call) -> Result<HttpResponse, Refusal> {
    let entry = server
        .store
        .get(&call.key())
        .ok_or_else(|| call.not_found())?;
    let pod = object::decode(entry.value(), &call.resource);
    if call.path.subresource != "portforward" {
        choose_container(&pod, call.query.text("container"), call.name())?;
    }
    if kubelet::node_of(&pod).is_empty() {
        let why = format!("pod {} does not have a host assigned", call.name());
        return Err(Status::bad_request(why).into());
    }
    let why = format!("{} is not available in this server", call.path.subresource);
    Err(Status::unavailable(why).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn container_is_chosen_as_upstream_chooses_it() {
        let pod = |names: &[&str]| {
            let containers: Vec<Value> = names.iter().map(|n| json!({"name": n})).collect();
            json!({"spec": {"containers": containers}})
        };
        let choose = |names: &[&str], wanted: &str| {
            choose_container(&pod(names), wanted, "p").map_err(|r| r.status().message.clone())
        };
        let rows = [
            (&["c"][..], "", Ok("c")),
            (&["c", "d"], "d", Ok("d")),
            (
                &["c", "d"],
                "",
                Err("a container name must be specified for pod p, choose one of: [c d]"),
            ),
            (&["c"], "z", Err("container z is not valid for pod p")),
        ];
        for (names, wanted, want) in rows {
            assert_eq!(
                choose(names, wanted),
                want.map(str::to_owned).map_err(str::to_owned)
            );
        }
    }

    #[test]
    fn options_are_passed_on_when_they_are_right() {
        let parse =
            |text: &str| options(&Query::parse(Some(text)), "p").map_err(|r| r.status().code);
        assert_eq!(
            parse("follow=true&tailLines=0&container=c"),
            Ok("?follow=true&tailLines=0".into())
        );
        assert_eq!(parse("limitBytes=0"), Err(422));
        assert_eq!(parse("tailLines=x"), Err(400));
        assert_eq!(parse(""), Ok(String::new()));
    }
}
