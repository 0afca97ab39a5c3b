//! Writes the images of the cluster recordings as archives: `recorded-images FOLDER [AGNHOST]`.
//!
//! Called by `cargo xtask recorded-cluster`, which gets the programs ready.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(
        arguments
            .next()
            .context("usage: recorded-images FOLDER [AGNHOST]")?,
    );
    let agnhost = arguments.next();
    fs::create_dir_all(&folder).with_context(|| format!("make directory {}", folder.display()))?;
    for image in karve_testkit::recorded::images(agnhost.as_deref().map(Path::new))? {
        let name = image.names[0].to_string();
        let path = folder.join(format!("{}.tar", name.replace(['/', ':'], "_")));
        let action = || format!("write {}", path.display());
        let file = File::create(&path).with_context(action)?;
        image.write_oci(BufWriter::new(file)).with_context(action)?;
        println!("{name}");
    }
    Ok(())
}
