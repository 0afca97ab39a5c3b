//! The images that recordings of a whole cluster have on their node: one tree, in which busybox is every command.

use std::path::Path;

use anyhow::Result;
use karve_runtime::images::ImageConfig;
use karve_runtime::images::archive::{ImageArchive, Layer, Owner};

use crate::{busybox, elf};

/// Names and users of the images that differ in nothing else.
const PLAIN: [(&str, &str); 3] = [
    ("docker.io/library/busybox:1.37", ""),
    ("karve.test/nonroot:1", "1000"),
    ("karve.test/named:1", "app"),
];
const AGNHOST: &str = "registry.k8s.io/e2e-test-images/agnhost:2.66.1";

/// All of them; upstream's `agnhost` only when its program is given.
pub fn images(agnhost: Option<&Path>) -> Result<Vec<ImageArchive>> {
    let mut images = Vec::new();
    for (name, user) in PLAIN {
        let mut image = tree(name)?;
        image.config.user = Some(user.to_owned()).filter(|user| !user.is_empty());
        images.push(image);
    }
    if let Some(program) = agnhost {
        let mut image = tree(AGNHOST)?;
        let mut layer = Layer::default();
        elf::add_file(&mut layer, program, "agnhost", 0o755)?;
        image.layers.push(layer.finish()?);
        image.config = ImageConfig {
            entrypoint: Some(vec!["/agnhost".to_owned()]),
            cmd: Some(vec!["pause".to_owned()]),
            ..image.config
        };
        images.push(image);
    }
    Ok(images)
}

fn tree(name: &str) -> Result<ImageArchive> {
    let mut image = busybox::image(name)?;
    let mut layer = Layer::default();
    let files: [(&str, &[u8]); 3] = [
        (
            "etc/passwd",
            b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        ),
        (
            "etc/group",
            b"root:x:0:\napp:x:1000:\nextra:x:2000:app\nnogroup:x:65534:\n",
        ),
        ("etc/noexec", b"not a program\n"),
    ];
    for (path, text) in files {
        layer.file(path, text, Owner::root(0o644))?;
    }
    image.layers.push(layer.finish()?);
    Ok(image)
}
