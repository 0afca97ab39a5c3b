//! Writes stand-ins for the images of the end-to-end tests as archives:
//! `conformance-images AGNHOST NGINX_ROOT SAMPLE_APISERVER ETCD FOLDER IMAGE...`. A program that there is not is `-`;
//! what there is no stand-in for is left out.
//!
//! Called by `cargo xtask conformance`, which gets the programs ready.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use karve_testkit::conformance::Ingredients;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [agnhost, nginx_root, sample, etcd, folder, references @ ..] = arguments.as_slice() else {
        bail!("usage: conformance-images AGNHOST NGINX_ROOT SAMPLE_APISERVER ETCD FOLDER IMAGE...");
    };
    let folder = PathBuf::from(folder);
    let program = |path: &String| (path != "-").then(|| PathBuf::from(path));
    let ingredients = Ingredients {
        sample_apiserver: program(sample),
        etcd: program(etcd),
        agnhost: agnhost.into(),
        nginx_root: nginx_root.into(),
    };
    fs::create_dir_all(&folder).with_context(|| format!("make directory {}", folder.display()))?;
    for reference in references {
        let Some(image) = ingredients.image(reference)? else {
            continue;
        };
        let path = folder.join(format!("{}.tar", reference.replace(['/', ':'], "_")));
        let action = || format!("write {}", path.display());
        let file = File::create(&path).with_context(action)?;
        image.write_oci(BufWriter::new(file)).with_context(action)?;
        println!("{reference}");
    }
    Ok(())
}
