//! Pulls from a real registry on this test's own loopback.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use karve_runtime::images::{Client, Digest, ImageError, ImageRef, Progress};
use libtest_mimic::Trial;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, RegistryOperation};
use serde_json::{Value, json};

use crate::cluster::{Cluster, exit, trial, until};

const ADDRESS: &str = "127.0.0.1:5000";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Debian's `docker-registry`, ended with the test.
struct Registry {
    process: Child,
    client: oci_client::Client,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Registry {
    async fn start(dir: &Path) -> Self {
        let config = dir.join("registry.yml");
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {ADDRESS}\n",
            dir.join("registry").display()
        );
        std::fs::write(&config, text).expect("write configuration");
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("run docker-registry (package docker-registry)");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = oci_client::Client::new(ClientConfig {
            protocol: ClientProtocol::Http,
            ..ClientConfig::default()
        });
        let registry = Self { process, client };
        until(|| std::net::TcpStream::connect(ADDRESS).is_ok()).await;
        registry
    }

    async fn push_blob(&self, name: &Reference, content: &[u8]) -> Value {
        let digest = Digest::of(content);
        self.client
            .push_blob(name, content.to_vec(), digest.as_str())
            .await
            .expect("push blob");
        json!({ "mediaType": "application/octet-stream", "digest": digest, "size": content.len() })
    }

    async fn push_manifest(&self, name: &Reference, manifest: &Value, media_type: &str) -> Value {
        let bytes = serde_json::to_vec(manifest).expect("write manifest");
        let (digest, size) = (Digest::of(&bytes), bytes.len());
        let kind = media_type.parse().expect("media type");
        self.client
            .push_manifest_raw(name, bytes, kind)
            .await
            .expect("push manifest");
        json!({ "mediaType": media_type, "digest": digest, "size": size })
    }

    /// Pushes the test's own image as `name`, in an index with another platform's when `indexed`.
    async fn push(&self, cluster: &Cluster, name: &str, indexed: bool) {
        let name: Reference = name.parse().expect("reference");
        self.client
            .auth(&name, &RegistryAuth::Anonymous, RegistryOperation::Push)
            .await
            .expect("authenticate");
        let layer = crate::cluster::busybox_layer();
        let layer_entry = self.push_blob(&name, layer).await;
        let config = json!({
            "os": "linux", "architecture": "amd64", "config": { "Cmd": ["echo", "pulled"] },
            "rootfs": { "type": "layers", "diff_ids": [Digest::of(layer)] },
        });
        let config_entry = self
            .push_blob(&name, &serde_json::to_vec(&config).expect("write"))
            .await;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config_entry, "layers": [layer_entry],
        });
        if !indexed {
            self.push_manifest(&name, &manifest, OCI_MANIFEST).await;
            return;
        }
        let by_digest = |entry: &Value| {
            name.clone_with_digest(entry["digest"].as_str().expect("digest").to_owned())
        };
        let bytes = serde_json::to_vec(&manifest).expect("write");
        let own_name = by_digest(&json!({ "digest": Digest::of(&bytes) }));
        let mut own = self.push_manifest(&own_name, &manifest, OCI_MANIFEST).await;
        let arch = if cfg!(target_arch = "x86_64") {
            "amd64"
        } else {
            "arm64"
        };
        own["platform"] = json!({ "os": "linux", "architecture": arch });
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [own] });
        self.push_manifest(&name, &index, OCI_INDEX).await;
        let _ = cluster;
    }
}

fn reference(name: &str) -> ImageRef {
    format!("{ADDRESS}/{name}").parse().expect("reference")
}

pub fn trials() -> Vec<Trial> {
    vec![trial(
        "images_are_pulled_from_a_registry_and_run",
        async |cluster| {
            let registry = Registry::start(cluster.path()).await;
            registry
                .push(&cluster, &format!("{ADDRESS}/plain:1"), false)
                .await;
            registry
                .push(&cluster, &format!("{ADDRESS}/many/platforms:1"), true)
                .await;
            let client = Client::local(cluster.store.clone());
            let steps = Mutex::new(Vec::new());
            let report = |step: Progress| steps.lock().expect("lock").push(step);
            let image = client
                .pull_with(&reference("plain:1"), &report)
                .await
                .expect("pull");
            assert_eq!(
                steps.lock().expect("lock").first(),
                Some(&Progress::Resolving)
            );
            assert!(matches!(
                steps.lock().expect("lock").last(),
                Some(Progress::LayerDone { .. })
            ));
            assert_eq!(
                image.repo_digests,
                [format!("{ADDRESS}/plain@{}", image.manifest)]
            );
            assert_eq!(image.image_id(), image.repo_digests[0]);

            let indexed = client
                .pull(&reference("many/platforms:1"))
                .await
                .expect("pull by index");
            assert_eq!(indexed.id, image.id);
            assert!(
                !indexed
                    .repo_digests
                    .iter()
                    .any(|name| name.ends_with(image.manifest.as_str())
                        && name.contains("many/platforms"))
            );
            let by_digest = reference(&format!("plain@{}", image.manifest));
            let found = client
                .status(&by_digest)
                .await
                .expect("status")
                .expect("image by digest");
            assert_eq!(found.id, image.id);

            let runtime = cluster.runtime().await;
            let mut config = cluster.container("a", "");
            config.command = vec![];
            config.image = indexed;
            let status = cluster.run(&runtime, config).await;
            assert_eq!(
                (exit(&status), cluster.output("a")),
                ((0, "Completed"), vec!["pulled".to_owned()])
            );

            let error = client
                .pull(&reference("no/such:1"))
                .await
                .expect_err("pull");
            assert!(matches!(error, ImageError::NotFound { .. }), "{error:?}");
            let name = format!("{ADDRESS}/no/such:1");
            assert_eq!(
                error.to_string(),
                format!(
                    "failed to pull and unpack image \"{name}\": failed to resolve reference \"{name}\": {name}: not found"
                )
            );
        },
    )]
}
