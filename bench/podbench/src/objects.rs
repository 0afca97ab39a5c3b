//! The objects that are made.

use std::time::Duration;

use anyhow::{Result, bail};
use benchkit::api::Conn;
use hyper::StatusCode;
use serde_json::{Value, json};

pub struct Place {
    pub namespace: String,
    pub image: String,
    pub shell: Option<String>,
    pub timeout: Duration,
}

impl Place {
    pub fn path(&self, resource: &str) -> String {
        match resource {
            "deployments" => format!("/apis/apps/v1/namespaces/{}/deployments", self.namespace),
            _ => format!("/api/v1/namespaces/{}/{resource}", self.namespace),
        }
    }

    /// Makes the namespace, and waits until Pods may be made in it (its ServiceAccount exists).
    pub async fn prepare(&self, conn: &mut Conn) -> Result<()> {
        let body =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        let reply = conn.post("/api/v1/namespaces", &body).await?;
        if reply.status != StatusCode::CONFLICT {
            reply.ok()?;
        }
        let account = format!("{}/default", self.path("serviceaccounts"));
        for _ in 0..self.timeout.as_millis() / 5 {
            if conn.get(&account).await?.status == StatusCode::OK {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bail!("no default ServiceAccount in {}", self.namespace)
    }

    fn spec(&self) -> Value {
        let mut container = json!({"name": "web", "image": self.image, "imagePullPolicy": "IfNotPresent",
                                   "ports": [{"name": "http", "containerPort": 8080}]});
        if let Some(shell) = &self.shell {
            container["command"] = json!(["sh", "-c", shell]);
        }
        json!({"terminationGracePeriodSeconds": 5, "containers": [container]})
    }

    /// A Pod that succeeds as soon as the cluster's DNS has answered it.
    pub fn asker(&self, name: &str) -> Value {
        let ask = "until nslookup kubernetes.default.svc.cluster.local; do :; done";
        let container = json!({"name": "ask", "image": self.image, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", ask]});
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "first"}},
               "spec": {"restartPolicy": "Never", "containers": [container]}})
    }

    pub fn pod(&self, name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "pods"}}, "spec": self.spec()})
    }

    pub fn deployment(&self, name: &str, replicas: usize) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
               "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
                        "template": {"metadata": {"labels": {"app": name}}, "spec": self.spec()}}})
    }

    pub fn service(&self, name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
               "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}})
    }
}
