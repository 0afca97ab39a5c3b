//! A real registry on loopback: Debian's `docker-registry`, filled from an archive.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::{TestHost, eventually};

/// Where it listens, in the test's own network.
pub const ADDRESS: &str = "localhost:5000";

/// A registry that ends with the test.
pub struct Registry {
    process: Child,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Registry {
    /// Starts one on the host.
    pub fn start(host: &TestHost) -> Self {
        let config = host.folder().join("registry.yml");
        let storage = host.folder().join("registry");
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {ADDRESS}\n",
            storage.display()
        );
        fs::write(&config, text).expect("write the registry's configuration");
        let process = host
            .command("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("run docker-registry");
        eventually("the registry listens", || TcpStream::connect(ADDRESS));
        Self { process }
    }

    /// Pushes the image of an OCI archive as `repository:tag`.
    pub fn push(&self, host: &TestHost, archive: &Path, repository: &str, tag: &str) {
        let layout = host.folder().join("layout");
        fs::create_dir_all(&layout).expect("make a folder");
        let unpacked = Command::new("tar")
            .arg("-xf")
            .arg(archive)
            .arg("-C")
            .arg(&layout)
            .status();
        assert!(unpacked.expect("run tar").success());
        let index: Value = read_json(&layout.join("index.json"));
        let manifest_path = blob(&layout, &index["manifests"][0]);
        let manifest: Value = read_json(&manifest_path);
        let layers = manifest["layers"].as_array().expect("layers").iter();
        for descriptor in layers.chain([&manifest["config"]]) {
            let content = fs::read(blob(&layout, descriptor)).expect("read a blob");
            let begun = send("POST", &format!("/v2/{repository}/blobs/uploads/"), "", &[]);
            let location = header(&begun, "location").expect("a place to upload to");
            let place = location
                .split_once(ADDRESS)
                .map_or(location.as_str(), |(_, place)| place);
            let digest = descriptor["digest"]
                .as_str()
                .expect("a digest")
                .replace(':', "%3A");
            let sent = send(
                "PUT",
                &format!("{place}&digest={digest}"),
                "application/octet-stream",
                &content,
            );
            assert!(sent.starts_with("HTTP/1.1 201"), "{sent}");
        }
        let kind = manifest["mediaType"].as_str().expect("a media type");
        let bytes = fs::read(&manifest_path).expect("read the manifest");
        let sent = send(
            "PUT",
            &format!("/v2/{repository}/manifests/{tag}"),
            kind,
            &bytes,
        );
        assert!(sent.starts_with("HTTP/1.1 201"), "{sent}");
    }
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("read JSON")).expect("JSON")
}

fn blob(layout: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().expect("a digest");
    layout.join("blobs").join(digest.replace(':', "/"))
}

/// One request; the whole answer.
fn send(method: &str, path: &str, kind: &str, body: &[u8]) -> String {
    let exchange = || -> io::Result<String> {
        let mut stream = TcpStream::connect(ADDRESS)?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {ADDRESS}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        )?;
        stream.write_all(body)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    exchange().unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

fn header(answer: &str, name: &str) -> Option<String> {
    let mut lines = answer.lines().filter_map(|line| line.split_once(": "));
    lines
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
}
