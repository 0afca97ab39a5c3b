//! Stand-ins for the images of Kubernetes' end-to-end tests, from Debian's packages and upstream's programs.
//!
//! Which image is meant is told by the last part of its name: the tags are those of the test program. Deliberately
//! absent: images that only tests of volumes, devices and clouds use.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use karve_runtime::images::archive::{ImageArchive, Layer, Owner};
use karve_runtime::images::{ImageConfig, ImageRef};

use crate::{busybox, elf};

/// What images are made from.
pub struct Ingredients {
    /// Upstream's `agnhost`, static.
    pub agnhost: PathBuf,
    /// Where Debian's nginx was unpacked.
    pub nginx_root: PathBuf,
    /// Upstream's `sample-apiserver`, static.
    pub sample_apiserver: Option<PathBuf>,
    /// Upstream's `etcd`, static.
    pub etcd: Option<PathBuf>,
}

impl Ingredients {
    /// The image called `reference`, if there is a stand-in for it.
    pub fn image(&self, reference: &str) -> Result<Option<ImageArchive>> {
        let name: ImageRef = reference
            .parse()
            .with_context(|| format!("read image name {reference}"))?;
        let path = reference
            .rsplit_once(':')
            .map_or(reference, |(path, _)| path);
        let short = path.rsplit('/').next().unwrap_or(path);
        let image = match short {
            "agnhost" if !reference.contains("authenticated") => {
                self.agnhost(&["pause"], reference)?
            }
            "pause" => self.agnhost(&["pause"], "")?,
            "busybox" => busybox::image(reference)?,
            "etcd" => match &self.etcd {
                Some(program) => daemon(program, "usr/local/bin/etcd")?,
                None => return Ok(None),
            },
            "glibc-dns-testing" | "jessie-dnsutils" => self.agnhost(&["pause"], "")?,
            "kitten" | "nautilus" => self.picture(short)?,
            "nginx" => self.nginx(reference)?,
            "nonroot" => {
                let mut image = busybox::image(reference)?;
                image.config.user = Some("1234".to_owned());
                image
            }
            "sample-apiserver" => match &self.sample_apiserver {
                Some(program) => daemon(program, "sample-apiserver")?,
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(ImageArchive {
            names: vec![name],
            ..image
        }))
    }

    /// agnhost and a busybox. `mark` makes images differ that are the same otherwise: updates go from one to another.
    fn agnhost(&self, command: &[&str], mark: &str) -> Result<ImageArchive> {
        let mut image = busybox::image("agnhost")?;
        let mut layer = Layer::default();
        elf::add_file(&mut layer, &self.agnhost, "agnhost", 0o755)?;
        layer.directory("uploads", Owner::root(0o777))?;
        layer.file("etc/image", mark.as_bytes(), Owner::root(0o644))?;
        image.layers.push(layer.finish()?);
        image.config = ImageConfig {
            env: Some(vec!["PATH=/bin:/".to_owned()]),
            entrypoint: Some(vec!["/agnhost".to_owned()]),
            cmd: Some(command.iter().map(|&word| word.to_owned()).collect()),
            ..ImageConfig::default()
        };
        Ok(image)
    }

    /// Serves a file that names a picture.
    fn picture(&self, name: &str) -> Result<ImageArchive> {
        let mut image = self.agnhost(&["test-webserver"], name)?;
        let mut layer = Layer::default();
        let data = format!("{{\"image\": \"{name}.jpg\"}}\n");
        layer.file("data.json", data.as_bytes(), Owner::root(0o644))?;
        layer.file(
            "etc/os-release",
            b"NAME=\"Alpine Linux\"\n",
            Owner::root(0o644),
        )?;
        image.layers.push(layer.finish()?);
        Ok(image)
    }

    fn nginx(&self, mark: &str) -> Result<ImageArchive> {
        let mut image = busybox::image("nginx")?;
        let search: Vec<PathBuf> = [
            "usr/lib/x86_64-linux-gnu",
            "usr/lib/aarch64-linux-gnu",
            "usr/lib",
        ]
        .map(|dir| self.nginx_root.join(dir))
        .into_iter()
        .filter(|dir| dir.is_dir())
        .collect();
        let mut layer = Layer::default();
        elf::add_program(
            &mut layer,
            &self.nginx_root.join("usr/sbin/nginx"),
            "usr/sbin/nginx",
            &search,
        )?;
        for folder in [
            "var/log/nginx",
            "var/lib/nginx/body",
            "var/lib/nginx/proxy",
            "run",
        ] {
            layer.directory(folder, Owner::root(0o755))?;
        }
        let configuration = include_str!("conformance/nginx.conf");
        layer.file(
            "etc/nginx/nginx.conf",
            configuration.as_bytes(),
            Owner::root(0o644),
        )?;
        let page = Path::new("usr/share/nginx/html/index.html");
        elf::add_file(
            &mut layer,
            &self.nginx_root.join(page),
            "usr/share/nginx/html/index.html",
            0o644,
        )?;
        layer.file("etc/image", mark.as_bytes(), Owner::root(0o644))?;
        image.layers.push(layer.finish()?);
        image.config.entrypoint = Some(vec!["/usr/sbin/nginx".to_owned()]);
        image.config.cmd = Some(["-g", "daemon off;"].map(str::to_owned).to_vec());
        Ok(image)
    }
}

/// A program at its place beside a busybox, and nothing else.
fn daemon(program: &Path, place: &str) -> Result<ImageArchive> {
    let mut image = busybox::image("daemon")?;
    let mut layer = Layer::default();
    elf::add_file(&mut layer, program, place, 0o755)?;
    image.layers.push(layer.finish()?);
    image.config.entrypoint = Some(vec![format!("/{place}")]);
    image.config.cmd = None;
    Ok(image)
}
