//! All files of a volume at once, as kubelet's atomic writer has it: readers see the old ones or the new ones.
//!
//! `NAME -> ..data/NAME`, `..data -> ..TIME`, and the files in `..TIME`, which is made anew and swapped in by a rename.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, chown, symlink,
};
use std::path::{Component, Path, PathBuf};

use k8s_openapi::jiff::Timestamp;

use super::content::File;
use super::owner::Group;

/// What was tried, on what, and what came of it.
pub type Failure = (&'static str, PathBuf, io::Error);

const DATA: &str = "..data";
const NEXT: &str = "..data_tmp";

fn on<T>(action: &'static str, path: &Path, result: io::Result<T>) -> Result<T, Failure> {
    result.map_err(|err| (action, path.to_owned(), err))
}

/// Makes `dir` hold these files and no others, beside the directories of `nested`. What it holds already is left alone.
pub fn replace(
    dir: &Path,
    files: &[File],
    nested: &[PathBuf],
    group: Option<Group>,
) -> Result<(), Failure> {
    prepare(dir, nested, group)?;
    let data = dir.join(DATA);
    if !holds(&data, files) {
        let name = format!("{}", Timestamp::now().strftime("..%Y_%m_%d_%H_%M_%S.%f"));
        let fresh = dir.join(&name);
        make_dir(&fresh, group)?;
        for file in files {
            write(&fresh, file, group)?;
        }
        let next = dir.join(NEXT);
        // Left by a writer that was killed.
        let _ = fs::remove_file(&next);
        on("link", &next, symlink(&name, &next))?;
        on("rename", &data, fs::rename(&next, &data))?;
    }
    link(dir, files)?;
    sweep(dir)
}

/// The volume itself.
fn prepare(dir: &Path, nested: &[PathBuf], group: Option<Group>) -> Result<(), Failure> {
    if !dir.exists() {
        on("make directory", dir, fs::create_dir_all(dir))?;
        // As an emptyDir; the pod's directory above is closed, and the mount is read-only.
        let open = fs::Permissions::from_mode(0o777);
        on("open directory", dir, fs::set_permissions(dir, open))?;
    }
    if let Some(group) = group {
        on("give to fsGroup", dir, group.take(dir, false))?;
    }
    for path in nested {
        make_dir(&dir.join(path), group)?;
    }
    Ok(())
}

/// Whether the data directory has exactly these files.
fn holds(data: &Path, files: &[File]) -> bool {
    let mut found = BTreeSet::new();
    let whole = walk(data, Path::new(""), &mut found).is_ok();
    whole
        && found.len() == files.len()
        && files.iter().all(|file| {
            found.contains(&file.path)
                && fs::read(data.join(&file.path)).is_ok_and(|data| data == file.data)
        })
}

fn walk(data: &Path, below: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(data.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            walk(data, &path, found)?;
        } else {
            found.insert(path);
        }
    }
    Ok(())
}

fn make_dir(path: &Path, group: Option<Group>) -> Result<(), Failure> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path);
    on("make directory", path, made)?;
    match group {
        Some(group) => on("give to fsGroup", path, group.take(path, false)),
        None => Ok(()),
    }
}

fn write(dir: &Path, file: &File, group: Option<Group>) -> Result<(), Failure> {
    let path = dir.join(&file.path);
    // From the volume down, so that each directory is the group's.
    let mut parents: Vec<&Path> = file.path.ancestors().skip(1).collect();
    parents.reverse();
    for parent in parents.into_iter().filter(|p| !p.as_os_str().is_empty()) {
        make_dir(&dir.join(parent), group)?;
    }
    let opened = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path);
    let mut opened = on("make file", &path, opened)?;
    on("write", &path, opened.write_all(&file.data))?;
    if file.user.is_some() {
        on("own", &path, chown(&path, file.user, None))?;
    }
    let mode = fs::Permissions::from_mode(file.mode);
    on("open", &path, opened.set_permissions(mode))?;
    match group {
        Some(group) => on("give to fsGroup", &path, group.take(&path, false)),
        None => Ok(()),
    }
}

/// Names for the files, and none for files that are gone.
fn link(dir: &Path, files: &[File]) -> Result<(), Failure> {
    let names: BTreeSet<&OsStr> = files.iter().filter_map(|file| top(&file.path)).collect();
    for name in &names {
        let path = dir.join(name);
        match symlink(Path::new(DATA).join(name), &path) {
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => {
                return Err(("link", path, err));
            }
            _ => {}
        }
    }
    for entry in on("read", dir, fs::read_dir(dir))? {
        let entry = on("read", dir, entry)?;
        let (name, path) = (entry.file_name(), entry.path());
        // Directories are mount points of other volumes.
        let link = path.is_symlink() && name != DATA && name != NEXT;
        if link && !names.contains(&*name) {
            on("remove", &path, fs::remove_file(&path))?;
        }
    }
    Ok(())
}

/// The first of a path's names.
fn top(path: &Path) -> Option<&OsStr> {
    match path.components().next() {
        Some(Component::Normal(name)) => Some(name),
        _ => None,
    }
}

/// Removes what was swapped out, and what a writer that was killed left behind.
fn sweep(dir: &Path) -> Result<(), Failure> {
    let current = on("read link", dir, fs::read_link(dir.join(DATA)))?;
    for entry in on("read", dir, fs::read_dir(dir))? {
        let entry = on("read", dir, entry)?;
        let (name, path) = (entry.file_name(), entry.path());
        let data = name.as_encoded_bytes().starts_with(b"..") && !path.is_symlink();
        if data && Path::new(&name) != current {
            on("remove", &path, fs::remove_dir_all(&path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
