use std::fs::File;
use std::path::PathBuf;

use super::archive::{ImageArchive, Layer, Owner};
use super::*;

struct Fixture {
    dir: tempfile::TempDir,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let store = Store::open(&dir.path().join("images")).expect("open");
        Self { dir, store }
    }

    fn write(&self, name: &str, write: impl FnOnce(File) -> std::io::Result<()>) -> PathBuf {
        let path = self.dir.path().join(name);
        write(File::create(&path).expect("create")).expect("write");
        path
    }

    /// How many blobs, layers and files of unfinished work there are.
    fn counts(&self) -> [usize; 3] {
        ["blobs/sha256", "layers", "tmp"].map(|name| {
            std::fs::read_dir(self.store.root().join(name))
                .expect("list")
                .count()
        })
    }
}

fn reference(text: &str) -> ImageRef {
    text.parse().expect("reference")
}

fn layer(content: &str) -> Vec<u8> {
    let mut layer = Layer::default();
    layer
        .file("file", content.as_bytes(), Owner::root(0o644))
        .expect("add file");
    layer.finish().expect("finish")
}

fn image(name: &str, layers: &[&str]) -> ImageArchive {
    let config = ImageConfig {
        cmd: Some(vec!["run".to_owned()]),
        ..ImageConfig::default()
    };
    ImageArchive {
        names: vec![reference(name)],
        config,
        layers: layers.iter().map(|text| layer(text)).collect(),
    }
}

#[test]
fn oci_and_docker_archives_give_the_same_image() {
    let fixture = Fixture::new();
    let source = image("redis", &["one", "two"]);
    let oci = fixture
        .store
        .load(&fixture.write("oci.tar", |file| source.write_oci(file)))
        .expect("load OCI");
    let docker = fixture
        .store
        .load(&fixture.write("docker.tar", |file| source.write_docker(file)))
        .expect("load docker");
    assert_eq!(oci[0].reference, "docker.io/library/redis:latest");
    assert_eq!(
        (&oci[0].id, &oci[0].layers),
        (&docker[0].id, &docker[0].layers)
    );
    assert_eq!(docker[0].config.cmd, Some(vec!["run".to_owned()]));
    assert_eq!(docker[0].image_id(), docker[0].id.to_string());
    let dirs = fixture.store.layer_dirs(&docker[0]).expect("layers");
    assert_eq!(
        std::fs::read_to_string(dirs[1].join("file")).expect("read"),
        "two"
    );
    assert_eq!(
        fixture.store.image(&reference("redis")).expect("look up"),
        Some(docker[0].clone())
    );
    assert_eq!(
        fixture.store.image(&reference("redis:7")).expect("look up"),
        None
    );
}

#[test]
fn compressed_archives_are_loaded() {
    let fixture = Fixture::new();
    let path = fixture.write("image.tar.gz", |file| {
        let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        image("a", &["one"]).write_docker(&mut gzip)?;
        gzip.finish().map(drop)
    });
    assert_eq!(fixture.store.load(&path).expect("load").len(), 1);
}

#[test]
fn corrupt_archives_are_refused_whole() {
    let fixture = Fixture::new();
    let mut oci = Vec::new();
    image("a", &["one"]).write_oci(&mut oci).expect("write");
    let mut docker = Vec::new();
    image("a", &["one"])
        .write_docker(&mut docker)
        .expect("write");
    let changed = |bytes: &[u8], from: &[u8]| {
        let at = bytes
            .windows(from.len())
            .position(|window| window == from)
            .expect("find");
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let blob = {
        // The compressed layer begins with gzip's magic number.
        changed(&oci, &[0x1f, 0x8b, 0x08])
    };
    for (what, bytes) in [
        ("truncated", oci[..oci.len() / 2].to_vec()),
        ("changed blob", blob),
        ("changed configuration", changed(&docker, b"\"run\"")),
        ("changed layer", changed(&docker, b"one")),
        ("no archive", b"hello".repeat(1000)),
        ("empty", Vec::new()),
    ] {
        let path = fixture.write("bad.tar", |mut file| {
            std::io::Write::write_all(&mut file, &bytes)
        });
        let error = fixture.store.load(&path).expect_err(what);
        assert!(
            matches!(error, ImageError::Corrupt { .. }),
            "{what}: {error:?}"
        );
        assert!(error.to_string().contains("bad.tar"), "{what}: {error}");
        assert_eq!(fixture.counts(), [0, 0, 0], "{what}");
        assert!(fixture.store.images().expect("list").is_empty(), "{what}");
    }
}

#[test]
fn removed_names_take_their_content_unless_it_is_used() {
    let fixture = Fixture::new();
    for (name, layers) in [("a", &["one", "two"][..]), ("b", &["one", "three"])] {
        fixture
            .store
            .load(&fixture.write("x.tar", |file| image(name, layers).write_oci(file)))
            .expect("load");
    }
    assert_eq!(fixture.counts(), [4, 3, 0]);
    let held = fixture
        .store
        .image(&reference("b"))
        .expect("look up")
        .expect("image");
    let owner = fixture.dir.path().join("container");
    std::fs::create_dir(&owner).expect("make owner");
    fixture
        .store
        .hold(&held, "container", &owner)
        .expect("hold");
    assert!(fixture.store.remove(&reference("a")).expect("remove"));
    assert!(!fixture.store.remove(&reference("a")).expect("remove again"));
    assert_eq!(fixture.counts(), [2, 2, 0]);
    assert!(fixture.store.remove(&reference("b")).expect("remove"));
    assert_eq!(fixture.counts(), [2, 2, 0], "still held");
    std::fs::remove_dir(&owner).expect("remove owner");
    gc::collect_soon(&fixture.store).expect("collect");
    assert_eq!(fixture.counts(), [0, 0, 0]);
    assert!(fixture.store.hold(&held, "late", &owner).is_err());
}

#[test]
fn garbage_waits_for_content_that_is_being_added() {
    let fixture = Fixture::new();
    fixture
        .store
        .load(&fixture.write("x.tar", |file| image("a", &["one"]).write_oci(file)))
        .expect("load");
    let adding = fixture.store.add().expect("add");
    fixture.store.remove(&reference("a")).expect("remove");
    assert_eq!(fixture.counts(), [2, 1, 1]);
    adding.commit(vec![]).expect("commit");
    assert_eq!(fixture.counts(), [0, 0, 0]);
}

#[test]
fn a_changed_image_takes_over_its_name() {
    let fixture = Fixture::new();
    for content in ["one", "two"] {
        fixture
            .store
            .load(&fixture.write("x.tar", |file| image("a", &[content]).write_oci(file)))
            .expect("load");
    }
    assert_eq!(fixture.store.images().expect("list").len(), 1);
    assert_eq!(fixture.counts(), [2, 1, 0]);
}

#[tokio::test]
async fn the_service_answers_as_the_store_does() {
    let fixture = Fixture::new();
    let socket = fixture.dir.path().join("images.sock");
    let shutdown = tokio_util::sync::CancellationToken::new();
    let server = {
        let (socket, store, shutdown) = (socket.clone(), fixture.store.clone(), shutdown.clone());
        tokio::spawn(async move { service::serve(&socket, store, shutdown).await })
    };
    while !socket.exists() {
        tokio::task::yield_now().await;
    }
    let (remote, local) = (
        Client::remote(&socket),
        Client::local(fixture.store.clone()),
    );
    let path = fixture.write("x.tar", |file| image("a", &["one"]).write_oci(file));
    let loaded = remote.load(&path).await.expect("load");
    assert_eq!(local.list().await.expect("list"), loaded);
    assert_eq!(remote.list().await.expect("list"), loaded);
    assert_eq!(
        remote.status(&reference("a")).await.expect("status"),
        Some(loaded[0].clone())
    );
    assert_eq!(remote.status(&reference("b")).await.expect("status"), None);
    let bad = fixture.write("bad.tar", |mut file| {
        std::io::Write::write_all(&mut file, b"nothing")
    });
    assert!(matches!(
        remote.load(&bad).await,
        Err(ImageError::Corrupt { .. })
    ));
    assert!(remote.remove(&reference("a")).await.expect("remove"));
    assert!(!remote.remove(&reference("a")).await.expect("remove"));
    shutdown.cancel();
    server.await.expect("join").expect("serve");
    assert!(!socket.exists());
    assert!(matches!(
        remote.list().await,
        Err(ImageError::Service { .. })
    ));
}

#[tokio::test]
async fn a_registry_that_is_not_there_gives_containerds_words() {
    let fixture = Fixture::new();
    let client = Client::local(fixture.store.clone());
    let error = client
        .pull(&reference("127.0.0.1:1/none/such:1"))
        .await
        .expect_err("pull");
    assert_eq!(
        error.to_string(),
        "failed to pull and unpack image \"127.0.0.1:1/none/such:1\": failed to resolve reference \
         \"127.0.0.1:1/none/such:1\": failed to do request: Head \
         \"http://127.0.0.1:1/v2/none/such/manifests/1\": dial tcp 127.0.0.1:1: connect: connection refused"
    );
    assert_eq!(fixture.counts(), [0, 0, 0]);
}
