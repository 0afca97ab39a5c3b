//! What a node may ask for in the name of its pods: tokens and certificates.

use karve_api::field::quote;
use serde_json::Value;

use super::{Asked, Verdict};
use crate::admission::Operation;
use crate::authorize::Attributes;
use crate::object::Meta;
use crate::signing_request;

impl Asked<'_> {
    /// A token is bound to a pod of the node, and for an audience that the pod asks for.
    pub(super) fn token(&self) -> Verdict {
        if self.attributes.operation != Operation::Create {
            return Ok(());
        }
        let spec = &self.attributes.object()["spec"];
        let reference = &spec["boundObjectRef"];
        let text = |member: &str| reference[member].as_str().unwrap_or_default();
        if text("apiVersion") != "v1" || text("kind") != "Pod" || text("name").is_empty() {
            return Err("node requested token not bound to a pod".to_owned());
        }
        if text("uid").is_empty() {
            return Err("node requested token with a pod binding without a uid".to_owned());
        }
        let Some(pod) = self.stored("pods", self.attributes.namespace(), text("name")) else {
            return Err(format!("pod \"{}\" not found", text("name")));
        };
        if pod.meta("uid") != text("uid") {
            return Err(format!(
                "the UID in the bound object reference ({}) does not match the UID in record. The object might have been \
                 deleted and then recreated",
                text("uid")
            ));
        }
        if pod["spec"]["nodeName"] != self.node {
            return Err(
                "node requested token bound to a pod scheduled on a different node".to_owned(),
            );
        }
        self.audience(spec, &pod)
    }

    fn audience(&self, spec: &Value, pod: &Value) -> Verdict {
        let audiences: Vec<&str> = spec["audiences"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let audience = match audiences.as_slice() {
            [] => "",
            [one] => one,
            _ => return Err("node may only request 0 or 1 audiences".to_owned()),
        };
        let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        let mut sources =
            volumes.flat_map(|v| v["projected"]["sources"].as_array().into_iter().flatten());
        let asked = sources.any(|source| {
            let token = &source["serviceAccountToken"];
            token.is_object() && token["audience"].as_str().unwrap_or_default() == audience
        });
        if asked
            || self.may(
                "request-serviceaccounts-token-audience",
                audience,
                self.attributes.name(),
            )
        {
            return Ok(());
        }
        let user = &self.attributes.call.identity.user;
        Err(format!(
            "{user} is not authorized to request tokens for audience {}",
            quote(audience)
        ))
    }

    /// Whether a role lets the node ask beyond what its pods ask for.
    fn may(&self, verb: &str, resource: &str, name: &str) -> bool {
        let call = self.attributes.call;
        let asked = Attributes {
            version: &call.resource.version,
            namespace: self.attributes.namespace(),
            name,
            ..Attributes::resource(&call.identity, verb, &call.resource.group, resource)
        };
        self.server.authorizer.decide(&asked).allowed()
    }

    /// A certificate for a node is for this one.
    pub(super) fn signing_request(&self) -> Verdict {
        let spec = &self.attributes.object()["spec"];
        let signer = spec["signerName"].as_str().unwrap_or_default();
        let nodes = matches!(
            signer,
            "kubernetes.io/kubelet-serving" | "kubernetes.io/kube-apiserver-client-kubelet"
        );
        if self.attributes.operation != Operation::Create || !nodes {
            return Ok(());
        }
        let subject = signing_request::subject(spec["request"].as_str().unwrap_or_default());
        let subject = subject.map_err(|why| format!("unable to parse csr: {why}"))?;
        let wanted = format!("system:node:{}", self.node);
        match subject.common_name == wanted {
            true => Ok(()),
            false => Err(format!("can only create a node CSR with CN={wanted}")),
        }
    }

    /// A pod's certificate is for a pod that runs here, under its account, and asked for by its volumes.
    pub(super) fn pod_certificate(&self) -> Verdict {
        if self.attributes.operation != Operation::Create {
            return Err(format!(
                "unexpected operation {}",
                self.attributes.operation
            ));
        }
        let spec = &self.attributes.object()["spec"];
        let text = |member: &str| spec[member].as_str().unwrap_or_default();
        let namespace = self.attributes.namespace();
        let shown = quote(&format!("{namespace}/{}", text("podName")));
        if text("nodeName") != self.node {
            return Err(format!(
                "PodCertificateRequest.Spec.NodeName={}, which is not the requesting node {}",
                quote(text("nodeName")),
                quote(self.node)
            ));
        }
        let pod = self.stored("pods", namespace, text("podName"));
        let Some(pod) = pod.filter(|pod| pod.meta("uid") == text("podUID")) else {
            return Err(format!(
                "while retrieving pod {shown} named in the PodCertificateRequest: not found"
            ));
        };
        if pod["spec"]["nodeName"] != self.node {
            let node = quote(self.node);
            return Err(format!(
                "pod {shown} is not running on node {node} named in the PodCertificateRequest"
            ));
        }
        if pod["metadata"]["annotations"]
            .get("kubernetes.io/config.mirror")
            .is_some()
        {
            return Err(format!("pod {shown} is a mirror pod"));
        }
        let (account, running) = (
            text("serviceAccountName"),
            &pod["spec"]["serviceAccountName"],
        );
        if running != account {
            return Err(format!(
                "PodCertificateRequest for pod {shown} contains serviceAccountName ({}) that differs from running pod ({})",
                quote(account),
                quote(running.as_str().unwrap_or_default())
            ));
        }
        let signer = text("signerName");
        let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        let mut sources =
            volumes.flat_map(|v| v["projected"]["sources"].as_array().into_iter().flatten());
        let asked = sources.any(|source| source["podCertificate"]["signerName"] == signer);
        let verb = "request-serviceaccounts-podcertificate-signer";
        match asked || self.may(verb, &signer.replace('/', ":"), account) {
            true => Ok(()),
            false => Err(format!(
                "pod {shown} does not mount a podCertificate projected volume for signer {}",
                quote(signer)
            )),
        }
    }
}
