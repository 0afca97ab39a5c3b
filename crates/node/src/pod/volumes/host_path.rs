//! hostPath: a path of the machine, of the type that the pod expects.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::Path;

use k8s_openapi::api::core::v1::HostPathVolumeSource;

use super::Error;

/// Makes sure that the path is there and of the type that was asked for.
pub fn set_up(volume: &str, source: &HostPathVolumeSource) -> Result<(), Error> {
    let path = Path::new(&source.path);
    let failed = |action| {
        move |err| Error::Io {
            volume: volume.to_owned(),
            action,
            path: path.to_owned(),
            source: err,
        }
    };
    let wrong = |message| {
        Err(Error::SetUp {
            volume: volume.to_owned(),
            message,
        })
    };
    let wanted = source.type_.as_deref().unwrap_or_default();
    let found = match std::fs::metadata(path) {
        Ok(meta) => Some(meta.file_type()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => None,
        Err(err) => return Err(failed("stat")(err)),
    };
    let Some(found) = found else {
        return match wanted {
            // The runtime binds only what exists; containerd makes a missing directory too.
            "" | "DirectoryOrCreate" => std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(path)
                .map_err(failed("make directory")),
            "FileOrCreate" => std::fs::File::create_new(path)
                .map(drop)
                .map_err(failed("make file")),
            kind => wrong(format!(
                "hostPath type check failed, {0} is not a {1}, unable to determine its type: path \"{0}\" does not exist",
                path.display(),
                words(kind)
            )),
        };
    };
    let fits = match wanted {
        "Directory" | "DirectoryOrCreate" => found.is_dir(),
        "File" | "FileOrCreate" => found.is_file(),
        "Socket" => found.is_socket(),
        "CharDevice" => found.is_char_device(),
        "BlockDevice" => found.is_block_device(),
        _ => true,
    };
    if fits {
        return Ok(());
    }
    let is = match () {
        () if found.is_dir() => "Directory",
        () if found.is_file() => "File",
        () if found.is_socket() => "Socket",
        () if found.is_char_device() => "CharDevice",
        () => "BlockDevice",
    };
    wrong(format!(
        "hostPath type check failed: {} is not a {}, it's a {is}",
        path.display(),
        words(wanted)
    ))
}

fn words(kind: &str) -> &'static str {
    match kind {
        "Directory" | "DirectoryOrCreate" => "directory",
        "File" | "FileOrCreate" => "file",
        "Socket" => "socket file",
        "CharDevice" => "character device",
        _ => "block device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts of the recorded scenario vol-hostpath-types.
    #[test]
    fn a_host_path_of_the_wrong_type_is_refused_in_upstreams_words() {
        let rows = [
            (
                "/tmp/karve-hp-none",
                "Directory",
                "hostPath type check failed, /tmp/karve-hp-none is not a directory, unable to determine its type: \
                 path \"/tmp/karve-hp-none\" does not exist",
            ),
            (
                "/dev/null",
                "BlockDevice",
                "hostPath type check failed: /dev/null is not a block device, it's a CharDevice",
            ),
            (
                "/tmp",
                "File",
                "hostPath type check failed: /tmp is not a file, it's a Directory",
            ),
            (
                "/tmp",
                "Socket",
                "hostPath type check failed: /tmp is not a socket file, it's a Directory",
            ),
        ];
        for (path, type_, want) in rows {
            let source = HostPathVolumeSource {
                path: path.to_owned(),
                type_: Some(type_.to_owned()),
            };
            let error = set_up("v", &source).expect_err(want);
            assert_eq!(
                error.to_string(),
                format!("MountVolume.SetUp failed for volume \"v\" : {want}")
            );
        }
    }
}
