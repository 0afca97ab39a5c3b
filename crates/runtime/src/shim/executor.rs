//! Executes the container's program: looked up in `PATH` as runc does, with runc's words when it fails.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};

use super::seccomp;
use crate::error::errno_text;
use crate::files;
use crate::spec::Seccomp;

/// How messages of this module begin.
pub(super) const EXEC_ERROR: &str = "exec: ";

/// Arguments and variables in the order of the configuration (`libcontainer` keeps no order).
#[derive(Clone)]
pub(super) struct PathExecutor {
    args: Vec<String>,
    env: Vec<String>,
    seccomp: Seccomp,
}

impl PathExecutor {
    /// From the OCI configuration at `path`.
    pub(super) fn read(path: &Path, seccomp: Seccomp) -> io::Result<Self> {
        #[derive(serde::Deserialize)]
        struct Document {
            process: Process,
        }
        #[derive(serde::Deserialize)]
        struct Process {
            args: Vec<String>,
            env: Vec<String>,
        }
        let document: Document = files::read_json(path)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Self {
            args: document.process.args,
            env: document.process.env,
            seccomp,
        })
    }

    fn lookup(&self) -> Result<PathBuf, String> {
        let name = self.args.first().map(String::as_str).unwrap_or_default();
        let path = self
            .env
            .iter()
            .find_map(|variable| variable.strip_prefix("PATH="))
            .unwrap_or_default();
        lookup(name, path)
    }
}

/// As Go's `exec.LookPath`, whose errors people know from runc.
fn lookup(name: &str, path: &str) -> Result<PathBuf, String> {
    let refuse = |reason: &str| Err(format!("{EXEC_ERROR}{name:?}: {reason}"));
    if name.contains('/') {
        return match check(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(Unfit::Missing(error)) => refuse(&format!("stat {name}: {error}")),
            Err(Unfit::Directory) => refuse("is a directory"),
            Err(Unfit::NotExecutable) => refuse("permission denied"),
        };
    }
    path.split(':')
        // An empty element means the working directory.
        .map(|dir| Path::new(if dir.is_empty() { "." } else { dir }).join(name))
        .find(|candidate| check(candidate).is_ok())
        .map_or_else(|| refuse("executable file not found in $PATH"), Ok)
}

/// Why a file can't be executed.
enum Unfit {
    Missing(String),
    Directory,
    NotExecutable,
}

fn check(path: &Path) -> Result<(), Unfit> {
    let metadata = std::fs::metadata(path).map_err(|error| {
        let text = error
            .raw_os_error()
            .map_or_else(|| error.to_string(), errno_text);
        Unfit::Missing(text)
    })?;
    if metadata.is_dir() {
        return Err(Unfit::Directory);
    }
    match metadata.mode() & 0o111 {
        0 => Err(Unfit::NotExecutable),
        _ => Ok(()),
    }
}

impl Executor for PathExecutor {
    fn validate(&self, _spec: &Spec) -> Result<(), ExecutorValidationError> {
        self.lookup()
            .map(drop)
            .map_err(ExecutorValidationError::ArgValidationError)
    }

    fn setup_envs(&self, _envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // They are handed to execve in their own order.
        Ok(())
    }

    fn exec(&self, _spec: &Spec) -> Result<(), ExecutorError> {
        let path = self.lookup().map_err(ExecutorError::Other)?;
        let strings = |list: &[String]| {
            list.iter()
                .map(|text| CString::new(text.as_bytes()))
                .collect()
        };
        let args: Vec<CString> = Result::map_err(strings(&self.args), |_: std::ffi::NulError| {
            ExecutorError::InvalidArg
        })?;
        let env: Vec<CString> = Result::map_err(strings(&self.env), |_: std::ffi::NulError| {
            ExecutorError::InvalidArg
        })?;
        let program = CString::new(path.into_os_string().into_encoded_bytes())
            .map_err(|_| ExecutorError::InvalidArg)?;
        karve_sys::process::restore_default_signals()
            .map_err(|error| ExecutorError::Other(error.to_string()))?;
        // Last of all: from here on this process may do no more than its program.
        seccomp::install(self.seccomp)
            .map_err(|error| ExecutorError::Other(format!("install seccomp filter: {error}")))?;
        let error =
            nix::unistd::execve(&program, &args, &env).expect_err("execve returns on failure only");
        // Too late for an error of the start; as with runc it is found in the container's log.
        eprintln!(
            "exec {}: {}",
            program.to_string_lossy(),
            errno_text(error as i32)
        );
        Err(ExecutorError::Other(format!("{EXEC_ERROR}{error}")))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn programs_are_found_and_refused_as_by_runc() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = dir.path();
        let file = |name: &str, mode| {
            std::fs::write(root.join(name), "").expect("write");
            std::fs::set_permissions(root.join(name), std::fs::Permissions::from_mode(mode))
                .expect("chmod");
        };
        file("run", 0o755);
        file("text", 0o644);
        let path = format!("/nowhere:{}", root.display());
        let full = |name: &str| root.join(name).display().to_string();
        assert_eq!(lookup("run", &path), Ok(root.join("run")));
        assert_eq!(lookup(&full("run"), ""), Ok(root.join("run")));
        for (name, reason) in [
            (
                "text".to_owned(),
                "executable file not found in $PATH".to_owned(),
            ),
            (
                "absent".to_owned(),
                "executable file not found in $PATH".to_owned(),
            ),
            (full("text"), "permission denied".to_owned()),
            (
                full("absent"),
                format!("stat {}: no such file or directory", full("absent")),
            ),
            (root.display().to_string(), "is a directory".to_owned()),
        ] {
            assert_eq!(
                lookup(&name, &path),
                Err(format!("exec: \"{name}\": {reason}"))
            );
        }
    }
}
