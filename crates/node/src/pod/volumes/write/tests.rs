use k8s_openapi::api::core::v1::PodSpec;
use serde_json::json;

use super::*;

fn file(path: &str, data: &str) -> File {
    File {
        path: path.into(),
        data: data.into(),
        mode: 0o644,
        user: None,
    }
}

/// The names in a directory, and how many of the writer's own.
fn names(dir: &Path) -> (Vec<String>, usize) {
    let all = fs::read_dir(dir).expect("there");
    let mut all: Vec<String> = all
        .map(|e| e.expect("read").file_name().into_string().expect("text"))
        .collect();
    all.sort();
    let (own, shown): (Vec<_>, Vec<_>) = all.into_iter().partition(|n| n.starts_with(".."));
    (shown, own.len())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o7777
}

#[test]
fn files_are_replaced_together_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().expect("a directory");
    let dir = folder.path().join("v");
    let old = [file("token", "1"), file("deep/er", "x"), file("old", "")];
    replace(&dir, &old, &[], None).expect("made");
    // As a writer leaves it that was killed.
    fs::create_dir(dir.join("..2020_01_01_00_00_00.1")).expect("made");
    symlink("..2020_01_01_00_00_00.1", dir.join(NEXT)).expect("made");
    let new = [file("token", "2"), file("deep/er", "y")];
    replace(&dir, &new, &[], None).expect("replaced");
    let read = |name: &str| fs::read_to_string(dir.join(name)).ok();
    assert_eq!(
        (read("token").as_deref(), read("deep/er").as_deref()),
        (Some("2"), Some("y"))
    );
    // `..data` and the one directory behind it.
    assert_eq!(
        names(&dir),
        (vec!["deep".to_owned(), "token".to_owned()], 2)
    );
    assert_eq!((mode(&dir), mode(&dir.join("token"))), (0o777, 0o644));
}

#[test]
fn what_is_as_it_should_be_is_left_alone() {
    let folder = tempfile::tempdir().expect("a directory");
    let dir = folder.path().join("v");
    let files = [file("a", "1"), file("b/c", "2")];
    replace(&dir, &files, &[], None).expect("made");
    let first = fs::read_link(dir.join(DATA)).expect("a link");
    fs::remove_file(dir.join("a")).expect("removed");
    replace(&dir, &files, &[], None).expect("mended");
    assert_eq!(fs::read_link(dir.join(DATA)).expect("a link"), first);
    assert_eq!(names(&dir).0, ["a", "b"]);
    replace(&dir, &files[..1], &[], None).expect("replaced");
    assert_ne!(fs::read_link(dir.join(DATA)).expect("a link"), first);
    assert_eq!(names(&dir).0, ["a"]);
    replace(&dir, &[], &[], None).expect("emptied");
    assert_eq!(names(&dir), (vec![], 2));
}

#[test]
fn mount_points_of_other_volumes_stay() {
    let folder = tempfile::tempdir().expect("a directory");
    let dir = folder.path().join("v");
    let nested = [PathBuf::from("in/side")];
    replace(&dir, &[file("a", "1")], &nested, None).expect("made");
    replace(&dir, &[file("a", "2")], &nested, None).expect("replaced");
    assert!(dir.join("in/side").is_dir());
    assert_eq!(names(&dir).0, ["a", "in"]);
}

#[test]
fn a_group_may_read_all_of_it() {
    let folder = tempfile::tempdir().expect("a directory");
    let dir = folder.path().join("v");
    let own = nix::unistd::getgid().as_raw();
    let spec: PodSpec =
        serde_json::from_value(json!({"containers": [], "securityContext": {"fsGroup": own}}))
            .expect("a spec");
    let secret = File {
        mode: 0o600,
        ..file("deep/er/token", "1")
    };
    replace(&dir, &[secret], &[], Group::of(&spec)).expect("made");
    assert_eq!(mode(&dir), 0o2777);
    assert_eq!(mode(&dir.join("deep")), 0o2755);
    assert_eq!(mode(&dir.join("deep/er/token")), 0o640);
}
