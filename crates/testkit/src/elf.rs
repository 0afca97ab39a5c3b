//! The files that a program of this machine needs to run elsewhere: itself and what its loader lists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use karve_runtime::images::archive::{Layer, Owner};

/// The libraries of a program, and the loader; empty when it is static.
///
/// `search` are directories with libraries that are not installed.
pub fn libraries(program: &Path, search: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let action = || format!("list libraries of {}", program.display());
    let mut ldd = Command::new("ldd");
    ldd.arg(program).env("LC_ALL", "C");
    if !search.is_empty() {
        let paths: Vec<String> = search.iter().map(|dir| dir.display().to_string()).collect();
        ldd.env("LD_LIBRARY_PATH", paths.join(":"));
    }
    let output = ldd.output().with_context(action)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    if all.contains("not a dynamic executable") || all.contains("statically linked") {
        return Ok(BTreeSet::new());
    }
    ensure!(
        output.status.success() && !text.contains("not found"),
        "{}: {all}",
        action()
    );
    Ok(parse(&text))
}

/// `name => /path (address)`, or `/path/of/loader (address)`; the kernel's own has no path.
fn parse(text: &str) -> BTreeSet<PathBuf> {
    let path = |line: &str| {
        let line = line.split_once("=>").map_or(line, |(_, path)| path);
        let path = line.split_whitespace().next()?;
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    text.lines().filter_map(path).collect()
}

/// Puts the program into the layer as `path`, and its libraries where its loader looks for them.
pub fn add_program(
    layer: &mut Layer,
    program: &Path,
    path: &str,
    search: &[PathBuf],
) -> Result<()> {
    add_file(layer, program, path, 0o755)?;
    for library in libraries(program, search)? {
        add_file(layer, &library, &image_path(&library, search), 0o755)?;
    }
    Ok(())
}

/// Puts a file of this machine into the layer.
pub fn add_file(layer: &mut Layer, file: &Path, path: &str, mode: u32) -> Result<()> {
    let content = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    layer
        .file(path, &content, Owner::root(mode))
        .with_context(|| format!("add {path} to the image"))?;
    Ok(())
}

/// Installed libraries keep their path; others go where the loader looks by default.
fn image_path(library: &Path, search: &[PathBuf]) -> String {
    let name = library.file_name().unwrap_or_default();
    let path = if search.iter().any(|dir| library.starts_with(dir)) {
        Path::new("/usr/lib").join(name)
    } else {
        library.to_path_buf()
    };
    path.display()
        .to_string()
        .trim_start_matches('/')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loaders_list_is_read() {
        let text = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibm.so.6 => /lib/x/libm.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x0f)\n";
        let expected = ["/lib/x/libm.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(parse(text), BTreeSet::from(expected));
    }

    #[test]
    fn uninstalled_libraries_go_to_the_default_path() {
        let search = [PathBuf::from("/tmp/x/usr/lib")];
        assert_eq!(
            image_path(Path::new("/tmp/x/usr/lib/libz.so.1"), &search),
            "usr/lib/libz.so.1"
        );
        assert_eq!(
            image_path(Path::new("/lib64/ld.so"), &search),
            "lib64/ld.so"
        );
    }
}
