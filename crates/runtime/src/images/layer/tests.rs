use std::io::Cursor;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use tar::{Builder, EntryType, Header};

use super::*;

/// An archive in the making, of entries that no sane writer makes.
struct Archive(Builder<Vec<u8>>);

impl Archive {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn entry(mut self, path: &str, kind: EntryType, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        // Not by set_path, which refuses what is tried here.
        header.as_gnu_mut().expect("GNU header").name[..path.len()]
            .copy_from_slice(path.as_bytes());
        header.as_gnu_mut().expect("GNU header").linkname[..link.len()]
            .copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o640);
        header.set_uid(1000);
        header.set_gid(1001);
        header.set_mtime(1_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content).expect("append");
        self
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.entry(path, EntryType::Regular, "", content.as_bytes())
    }

    fn dir(self, path: &str) -> Self {
        self.entry(path, EntryType::Directory, "", b"")
    }

    fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            body.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
        }
        self.entry("pax", EntryType::XHeader, "", &body)
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("finish")
    }

    fn unpack(self) -> (tempfile::TempDir, Result<Digest, LayerError>) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = dir.path().join("root");
        std::fs::create_dir(&root).expect("make root");
        let result = unpack(Cursor::new(self.bytes()), &root);
        (dir, result)
    }
}

fn read(dir: &tempfile::TempDir, path: &str) -> String {
    std::fs::read_to_string(dir.path().join("root").join(path))
        .unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn has_xattr(path: &Path, name: &str) -> bool {
    rustix::fs::getxattr(path, name, &mut [0_u8; 8][..]).is_ok()
}

#[test]
fn entries_have_their_owner_mode_time_and_content() {
    let (dir, result) = Archive::new()
        .dir("a/")
        .file("a/file", "text")
        .entry("a/link", EntryType::Symlink, "/etc/passwd", b"")
        .entry("a/hard", EntryType::Link, "a/file", b"")
        .entry("a/pipe", EntryType::Fifo, "", b"")
        .unpack();
    result.expect("unpack");
    assert_eq!(read(&dir, "a/file"), "text");
    let root = dir.path().join("root");
    let file = std::fs::metadata(root.join("a/file")).expect("metadata");
    assert_eq!(
        (file.uid(), file.gid(), file.mode() & 0o7777, file.mtime()),
        (1000, 1001, 0o640, 1_000_000)
    );
    assert_eq!(
        std::fs::metadata(root.join("a/hard"))
            .expect("metadata")
            .ino(),
        file.ino()
    );
    assert_eq!(
        std::fs::metadata(root.join("a")).expect("metadata").mtime(),
        1_000_000
    );
    assert_eq!(
        std::fs::read_link(root.join("a/link")).expect("read link"),
        Path::new("/etc/passwd")
    );
    assert_eq!(
        std::fs::symlink_metadata(root.join("a/link"))
            .expect("metadata")
            .uid(),
        1000
    );
    assert!(
        std::fs::metadata(root.join("a/pipe"))
            .expect("metadata")
            .file_type()
            .is_fifo()
    );
}

#[test]
fn paths_that_lead_out_are_refused_and_symlinks_do_not_lead_out() {
    for archive in [
        Archive::new().file("../evil", "x"),
        Archive::new().file("a/../../evil", "x"),
        Archive::new()
            .file("a", "x")
            .entry("b", EntryType::Link, "../../etc/passwd", b""),
        Archive::new().entry(".wh...", EntryType::Regular, "", b""),
        Archive::new().pax(&[("path", "../evil")]).file("fine", "x"),
    ] {
        let (dir, result) = archive.unpack();
        assert!(result.is_err());
        assert!(!dir.path().join("evil").exists());
    }
    let (dir, result) = Archive::new()
        .entry("out", EntryType::Symlink, "../..", b"")
        .entry("abs", EntryType::Symlink, "/", b"")
        .file("out/evil", "one")
        .file("abs/evil2", "two")
        .unpack();
    result.expect("unpack");
    assert!(!dir.path().join("evil").exists());
    assert_eq!(
        (read(&dir, "evil"), read(&dir, "evil2")),
        ("one".to_owned(), "two".to_owned())
    );
}

#[test]
fn absolute_paths_are_taken_from_the_root_of_the_layer() {
    let (dir, result) = Archive::new().file("/etc/karve-test", "x").unpack();
    result.expect("unpack");
    assert_eq!(read(&dir, "etc/karve-test"), "x");
    assert!(!Path::new("/etc/karve-test").exists());
}

#[test]
fn whiteouts_take_overlayfs_form() {
    let (dir, result) = Archive::new()
        .dir("kept/")
        .file("kept/.wh.gone", "")
        .dir("opaque/")
        .file("opaque/.wh..wh..opq", "")
        .file(".wh.replaced", "")
        .dir("replaced/")
        .file("again", "new")
        .file(".wh.again", "")
        .file(".wh..wh.plnk", "")
        .unpack();
    result.expect("unpack");
    let root = dir.path().join("root");
    let gone = std::fs::metadata(root.join("kept/gone")).expect("metadata");
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert!(has_xattr(&root.join("opaque"), "trusted.overlay.opaque"));
    assert!(has_xattr(&root.join("replaced"), "trusted.overlay.opaque"));
    assert_eq!(read(&dir, "again"), "new");
    assert!(!root.join(".wh..wh.plnk").exists());
}

#[test]
fn later_entries_replace_earlier_ones() {
    let (dir, result) = Archive::new()
        .file("x", "file")
        .dir("x/")
        .file("x/inside", "1")
        .file("y", "target")
        .entry("z", EntryType::Symlink, "y", b"")
        .file("z", "not through the link")
        .unpack();
    result.expect("unpack");
    assert_eq!(
        (read(&dir, "x/inside"), read(&dir, "y")),
        ("1".to_owned(), "target".to_owned())
    );
    assert_eq!(read(&dir, "z"), "not through the link");
}

#[test]
fn extended_records_are_read_and_overlay_attributes_dropped() {
    let long = "d/".repeat(120) + "name";
    let (dir, result) = Archive::new()
        .pax(&[
            ("path", long.as_str()),
            ("uid", "70000"),
            ("mtime", "12.5"),
            ("SCHILY.xattr.user.color", "red"),
            ("SCHILY.xattr.trusted.overlay.redirect", "/etc"),
        ])
        .file("short", "long")
        .unpack();
    result.expect("unpack");
    assert_eq!(read(&dir, &long), "long");
    let path = dir.path().join("root").join(&long);
    let file = std::fs::metadata(&path).expect("metadata");
    assert_eq!(
        (file.uid(), file.mtime(), file.mtime_nsec()),
        (70_000, 12, 500_000_000)
    );
    assert!(has_xattr(&path, "user.color") && !has_xattr(&path, "trusted.overlay.redirect"));
}

#[test]
fn truncated_and_oversized_archives_are_refused() {
    let mut bytes = Archive::new().file("file", &"x".repeat(5000)).bytes();
    bytes.truncate(3000);
    let dir = tempfile::tempdir().expect("temporary directory");
    assert!(unpack(Cursor::new(bytes), dir.path()).is_err());
    let big = "x".repeat(2 << 20);
    let (_dir, result) = Archive::new()
        .entry("pax", EntryType::XHeader, "", big.as_bytes())
        .file("f", "")
        .unpack();
    assert!(matches!(result, Err(LayerError::Refused(_))));
}

#[test]
fn set_user_id_survives_the_change_of_owner() {
    let mut header = Header::new_gnu();
    header.set_path("su").expect("path");
    header.set_mode(0o4755);
    header.set_uid(7);
    header.set_gid(7);
    header.set_mtime(0);
    header.set_size(0);
    header.set_cksum();
    let mut archive = Archive::new();
    archive.0.append(&header, &b""[..]).expect("append");
    let (dir, result) = archive.unpack();
    result.expect("unpack");
    let mode = std::fs::metadata(dir.path().join("root/su"))
        .expect("metadata")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o4755);
}

#[test]
fn compressed_archives_give_the_digest_of_the_plain_one() {
    use std::io::Write;
    let plain = Archive::new().file("file", "text").bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&plain).expect("compress");
    let gzip = gzip.finish().expect("compress");
    let zstd = zstd::stream::encode_all(Cursor::new(&plain), 0).expect("compress");
    for archive in [plain.clone(), gzip, zstd] {
        let dir = tempfile::tempdir().expect("temporary directory");
        assert_eq!(
            unpack(Cursor::new(archive), dir.path()).expect("unpack"),
            Digest::of(&plain)
        );
    }
}

/// Names and targets from which hostile archives are put together.
const PIECES: [&str; 9] = [
    "a",
    "b",
    "a/b",
    "../x",
    "/",
    "/etc",
    "a/../../x",
    ".wh.a",
    "a/.wh..wh..opq",
];
const KINDS: [EntryType; 5] = [
    EntryType::Regular,
    EntryType::Directory,
    EntryType::Symlink,
    EntryType::Link,
    EntryType::Fifo,
];

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    /// Whatever the entries and whatever was damaged: no panic, and nothing outside the root.
    #[test]
    fn hostile_archives_stay_inside(
        entries in proptest::collection::vec((0..PIECES.len(), 0..KINDS.len(), 0..PIECES.len()), 1..12),
        damage in proptest::collection::vec((0_usize..8192, 0_u8..), 0..4),
    ) {
        let mut archive = Archive::new();
        for (path, kind, link) in entries {
            let kind = KINDS[kind];
            let content: &[u8] = if kind == EntryType::Regular { b"content" } else { b"" };
            archive = archive.entry(PIECES[path], kind, PIECES[link], content);
        }
        let mut bytes = archive.bytes();
        for (at, byte) in damage {
            let length = bytes.len();
            bytes[at % length] = byte;
        }
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = dir.path().join("root");
        std::fs::create_dir(&root).expect("make root");
        let _ = unpack(Cursor::new(bytes), &root);
        let beside: Vec<_> = std::fs::read_dir(dir.path())
            .expect("list")
            .map(|entry| entry.expect("entry").file_name())
            .collect();
        proptest::prop_assert_eq!(beside, ["root"]);
    }
}
