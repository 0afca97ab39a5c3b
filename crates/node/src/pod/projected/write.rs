//! All files of a volume at once, as kubelet's atomic writer has it: readers see the old ones or the new ones.
//!
//! `NAME -> ..data/NAME`, `..data -> ..TIME`, and the files in `..TIME`, which is made anew and swapped in by a rename.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, chown, symlink,
};
use std::path::{Path, PathBuf};

use k8s_openapi::jiff::Timestamp;

use super::content::{File, Owner, top};

/// What was tried, on what, and what came of it.
type Failure = (&'static str, PathBuf, io::Error);

const DATA: &str = "..data";
const NEXT: &str = "..data_tmp";

fn on<T>(action: &'static str, path: &Path, result: io::Result<T>) -> Result<T, Failure> {
    result.map_err(|err| (action, path.to_owned(), err))
}

/// Makes `dir` hold these files and no others.
pub fn replace(dir: &Path, files: &[File], owner: Owner) -> Result<(), Failure> {
    on("make directory", dir, fs::create_dir_all(dir))?;
    let old = fs::read_link(dir.join(DATA)).ok();
    let name = format!("..{}", Timestamp::now().as_nanosecond());
    let fresh = dir.join(&name);
    make_dir(&fresh)?;
    for file in files {
        write(&fresh, file, owner)?;
    }
    let next = dir.join(NEXT);
    // Left by a writer that was killed.
    let _ = fs::remove_file(&next);
    on("link", &next, symlink(&name, &next))?;
    let data = dir.join(DATA);
    on("rename", &data, fs::rename(&next, &data))?;
    link(dir, files)?;
    if let Some(old) = old {
        let old = dir.join(old);
        on("remove", &old, fs::remove_dir_all(&old))?;
    }
    Ok(())
}

fn make_dir(path: &Path) -> Result<(), Failure> {
    on(
        "make directory",
        path,
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(path),
    )
}

fn write(dir: &Path, file: &File, owner: Owner) -> Result<(), Failure> {
    let path = dir.join(&file.path);
    if let Some(parent) = path.parent() {
        make_dir(parent)?;
    }
    let opened = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path);
    let mut opened = on("make file", &path, opened)?;
    on("write", &path, opened.write_all(&file.data))?;
    // A group that is to read may; a user alone needs no more than the mode says.
    let mode = if owner.group.is_some() {
        file.mode | 0o040
    } else {
        file.mode
    };
    if owner != Owner::default() {
        on("own", &path, chown(&path, owner.user, owner.group))?;
    }
    on(
        "open",
        &path,
        opened.set_permissions(fs::Permissions::from_mode(mode)),
    )
}

/// Names for the files, and none for files that are gone.
fn link(dir: &Path, files: &[File]) -> Result<(), Failure> {
    for name in files.iter().filter_map(|file| top(&file.path)) {
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
        let name = entry.file_name();
        let wanted = files.iter().any(|file| top(&file.path) == Some(&*name));
        if !wanted && !name.as_encoded_bytes().starts_with(b"..") {
            let path = entry.path();
            on("remove", &path, fs::remove_file(&path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, data: &str) -> File {
        File {
            path: path.into(),
            data: data.into(),
            mode: 0o644,
        }
    }

    #[test]
    fn files_are_replaced_together_and_leave_nothing_behind() {
        let folder = tempfile::tempdir().expect("a directory");
        let dir = folder.path().join("v");
        replace(
            &dir,
            &[file("token", "1"), file("deep/er", "x"), file("old", "")],
            Owner::default(),
        )
        .expect("made");
        replace(
            &dir,
            &[file("token", "2"), file("deep/er", "y")],
            Owner::default(),
        )
        .expect("replaced");
        let read = |name: &str| fs::read_to_string(dir.join(name)).ok();
        assert_eq!(
            (read("token").as_deref(), read("deep/er").as_deref()),
            (Some("2"), Some("y"))
        );
        let mut names: Vec<String> = fs::read_dir(&dir)
            .expect("there")
            .map(|e| e.expect("read").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        assert_eq!(
            names
                .iter()
                .filter(|n| !n.starts_with(".."))
                .collect::<Vec<_>>(),
            ["deep", "token"]
        );
        // `..data` and the one directory behind it.
        assert_eq!(names.len(), 4, "{names:?}");
        assert_eq!(
            fs::metadata(dir.join("token"))
                .expect("there")
                .permissions()
                .mode()
                & 0o777,
            0o644
        );
    }
}
