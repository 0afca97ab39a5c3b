use super::*;
use crate::field::{Error, Path};
use serde_json::json;

#[test]
fn answers_read_as_upstreams() {
    let spec = Path::root("spec");
    let table = [
        (
            Status::not_found("apps", "deployments", "x"),
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "deployments.apps \"x\" not found", "reason": "NotFound",
                "details": {"name": "x", "group": "apps", "kind": "deployments"}, "code": 404}),
        ),
        (
            Status::unknown_resource(),
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "the server could not find the requested resource", "reason": "NotFound",
                "details": {}, "code": 404}),
        ),
        (
            Status::invalid(
                "",
                "Service",
                "s",
                &[Error::required(&spec, ""), Error::forbidden(&spec, "no")],
            ),
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "Service \"s\" is invalid: [spec: Required value, spec: Forbidden: no]", "reason": "Invalid",
                "details": {"name": "s", "kind": "Service", "causes": [
                    {"reason": "FieldValueRequired", "message": "Required value", "field": "spec"},
                    {"reason": "FieldValueForbidden", "message": "Forbidden: no", "field": "spec"}]}, "code": 422}),
        ),
        (
            Status::forbidden_resource(Denied {
                user: "alice",
                verb: "list",
                group: "",
                resource: "pods",
                subresource: "",
                namespace: "y",
                name: "",
                reason: "",
            }),
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "pods is forbidden: User \"alice\" cannot list resource \"pods\" in API group \"\" in the namespace \"y\"",
                "reason": "Forbidden", "details": {"kind": "pods"}, "code": 403}),
        ),
        (
            Status::forbidden_path("system:anonymous", "get", "/metrics", ""),
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "forbidden: User \"system:anonymous\" cannot get path \"/metrics\"", "reason": "Forbidden",
                "details": {}, "code": 403}),
        ),
        (
            Status::version_too_large(99, 5),
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "Timeout: Too large resource version: 99, current: 5", "reason": "Timeout",
                "details": {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                    "retryAfterSeconds": 1}, "code": 504}),
        ),
        (
            Status::deleted("", "configmaps", "a", "u"),
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "details": {"name": "a", "kind": "configmaps", "uid": "u"}}),
        ),
        (
            Status::internal("x"),
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "Internal error occurred: x", "reason": "InternalError",
                "details": {"causes": [{"message": "x"}]}, "code": 500}),
        ),
        (
            Status::apply_conflict([("\"m1\"", ".data.a"), ("\"m1\"", ".data.b")]),
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "Apply failed with 2 conflicts: conflicts with \"m1\":\n- .data.a\n- .data.b", "reason": "Conflict",
                "details": {"causes": [
                    {"reason": "FieldManagerConflict", "message": "conflict with \"m1\"", "field": ".data.a"},
                    {"reason": "FieldManagerConflict", "message": "conflict with \"m1\"", "field": ".data.b"}]}, "code": 409}),
        ),
    ];
    for (status, body) in table {
        assert_eq!(status.to_value(), body);
    }
}

#[test]
fn a_status_is_written_in_upstreams_order() {
    let text = serde_json::to_string(&Status::deleted("", "pods", "p", "u")).expect("serializes");
    assert_eq!(
        text,
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","details":{"name":"p","kind":"pods","uid":"u"}}"#
    );
}
