//! A namespace of our own, with the `default` ServiceAccount that Pods ask for, and its removal.

use anyhow::Result;
use benchkit::api::Conn;
use hyper::StatusCode;
use serde_json::json;

/// Makes a fresh namespace and returns its name.
pub async fn make(conn: &mut Conn) -> Result<String> {
    let reply = conn
        .post("/api/v1/namespaces", &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "bench-"}}))
        .await?
        .ok()?;
    let name = reply["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    let reply = conn
        .post(
            &format!("/api/v1/namespaces/{name}/serviceaccounts"),
            &account,
        )
        .await?;
    if reply.status != StatusCode::CONFLICT {
        reply.ok()?; // a controller may have been faster
    }
    Ok(name)
}

/// Removes what we put into it, then the namespace (which needs a controller to go away).
pub async fn clear(conn: &mut Conn, name: &str, resource: &str) -> Result<()> {
    conn.delete(&format!(
        "/api/v1/namespaces/{name}/{resource}?gracePeriodSeconds=0"
    ))
    .await?;
    conn.delete(&format!("/api/v1/namespaces/{name}")).await?;
    Ok(())
}
