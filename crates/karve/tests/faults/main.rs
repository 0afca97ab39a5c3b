//! What happens to `karve api` when things go wrong around it: kills, full disks, clients that send nonsense.

mod clients;
mod overload;
mod served;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use http::{Request, StatusCode};
use kube::api::{ListParams, PostParams};
use kube::client::Body;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use served::{Served, config_map, version};

const WRITERS: usize = 64;
/// `KARVE_KILL_ROUNDS=100` plays the whole of it.
const ROUNDS: usize = 4;

/// Versions of acknowledged objects, by name.
type Acknowledged = Arc<Mutex<BTreeMap<String, u64>>>;

/// Writes until the server is gone.
async fn write(
    maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap>,
    prefix: String,
    known: Acknowledged,
) {
    for i in 0.. {
        let name = format!("{prefix}-{i}");
        let Ok(made) = maps
            .create(&PostParams::default(), &config_map(&name, 200))
            .await
        else {
            return;
        };
        known
            .lock()
            .expect("no writer panics")
            .insert(name, version(&made));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_survive_sigkill_and_the_revision_never_goes_back() {
    let rounds = std::env::var("KARVE_KILL_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok());
    let data = tempfile::tempdir().expect("temporary directory");
    let known = Acknowledged::default();
    for round in 0..rounds.unwrap_or(ROUNDS) {
        let mut served = Served::start(data.path()).await;
        check(&served, &known).await;
        let before = known.lock().expect("no writer panics").len();
        let writers: Vec<_> = (0..WRITERS)
            .map(|w| {
                tokio::spawn(write(
                    served.config_maps(),
                    format!("r{round}-w{w}"),
                    known.clone(),
                ))
            })
            .collect();
        // Between the first writes and well into the load.
        let until = before + 1 + round * 97 % 800;
        while known.lock().expect("no writer panics").len() < until {
            tokio::task::yield_now().await;
        }
        served.kill();
        for writer in writers {
            writer.await.expect("a writer ends");
        }
    }
    let served = Served::start(data.path()).await;
    check(&served, &known).await;
    assert!(served.stop(), "SIGTERM ends it well");
}

/// All that was acknowledged is there as it was, and what comes is newer.
async fn check(served: &Served, known: &Acknowledged) {
    let maps = served.config_maps();
    let list = maps.list(&ListParams::default()).await.expect("lists");
    let known = known.lock().expect("no writer panics").clone();
    let there: BTreeMap<String, u64> = list
        .iter()
        .map(|map| (map.metadata.name.clone().unwrap_or_default(), version(map)))
        .collect();
    for (name, version) in &known {
        assert_eq!(there.get(name), Some(version), "{name}");
    }
    let newest = known.values().copied().max().unwrap_or(0);
    let listed: u64 = list
        .metadata
        .resource_version
        .unwrap_or_default()
        .parse()
        .expect("a number");
    assert!(listed >= newest, "{listed} is older than {newest}");
    let name = format!("check-{listed}");
    let made = maps
        .create(&PostParams::default(), &config_map(&name, 1))
        .await
        .expect("creates");
    assert!(version(&made) > listed);
}

/// A small disk, gone with the value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, megabytes: u32) -> SmallDisk {
        std::fs::create_dir(at).expect("made");
        let size = format!("size={megabytes}m");
        mount(
            Some("tmpfs"),
            at,
            Some("tmpfs"),
            MsFlags::empty(),
            Some(size.as_str()),
        )
        .expect("mounted");
        SmallDisk(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The folder is temporary; what is left in it goes with it.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_writes_and_nothing_else() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let disk = SmallDisk::mount(&folder.path().join("disk"), 24);
    let ballast = disk.0.join("ballast");
    let data = disk.0.join("data");
    std::fs::write(&ballast, vec![0; 8 << 20]).expect("written");
    let served = Served::start(&data).await;
    let maps = served.config_maps();
    let mut known = Vec::new();
    let refused = loop {
        let name = format!("map-{}", known.len());
        match maps
            .create(&PostParams::default(), &config_map(&name, 200_000))
            .await
        {
            Ok(made) => known.push((name, version(&made))),
            Err(err) => break err,
        }
        assert!(known.len() < 200, "the disk is small");
    };
    let kube::Error::Api(status) = refused else {
        panic!("{refused} is no status");
    };
    assert_eq!(
        (status.code, status.reason.as_str()),
        (500, "InternalError")
    );
    assert!(
        status.message.contains("database or disk is full"),
        "{}",
        status.message
    );
    let list = maps
        .list(&ListParams::default())
        .await
        .expect("reads go on");
    assert_eq!(
        list.items
            .iter()
            .filter(|m| known
                .iter()
                .any(|(n, _)| m.metadata.name.as_ref() == Some(n)))
            .count(),
        known.len()
    );
    std::fs::remove_file(&ballast).expect("removed");
    let made = maps
        .create(&PostParams::default(), &config_map("after", 200_000))
        .await;
    known.push((
        "after".to_owned(),
        version(&made.expect("there is room again")),
    ));
    assert!(served.stop());
    let served = Served::start(&data).await;
    for (name, wanted) in known {
        let map = served
            .config_maps()
            .get(&name)
            .await
            .expect("nothing is lost");
        assert_eq!(version(&map), wanted, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_answered_with_a_clear_status() {
    let data = tempfile::tempdir().expect("temporary directory");
    let served = Served::start(data.path()).await;
    let path = "/api/v1/namespaces/default/configmaps";
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let yaml_bomb = (1..30).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, i| {
        let inner = vec![format!("*a{}", i - 1); 9].join(",");
        format!("{text}a{i}: &a{i} [{inner}]\n")
    });
    let rows = [
        (
            "application/json",
            "x".repeat(100 << 20),
            413,
            "Request entity too large: limit is 3145728",
        ),
        (
            "application/json",
            format!("{{\"data\":{nested}}}"),
            400,
            "max depth",
        ),
        ("application/yaml", yaml_bomb, 400, ""),
        ("application/json", "\u{0}".to_owned(), 400, ""),
    ];
    for (kind, body, code, text) in rows {
        let request = Request::post(path)
            .header("content-type", kind)
            .body(Body::from(body.into_bytes()));
        let answer = served
            .client
            .clone()
            .send(request.expect("a request"))
            .await
            .expect("an answer");
        let (head, body) = answer.into_parts();
        let said = body.collect_bytes().await.expect("a body");
        let said = String::from_utf8_lossy(&said);
        assert_eq!(head.status.as_u16(), code, "{said}");
        assert!(
            said.contains("\"kind\":\"Status\"") && said.contains(text),
            "{said}"
        );
    }
    // More labels than any object has, in as long a URL as there may be; and in a longer one.
    let selector = |count: usize| format!("{path}?labelSelector={}", vec!["a"; count].join(","));
    for (count, wanted) in [
        (30_000, StatusCode::OK),
        (1_000_000, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
    ] {
        let code = raw_get(&served, &selector(count)).await;
        assert_eq!(code, wanted.as_u16(), "{count} terms");
    }
    let maps = served.config_maps();
    maps.create(&PostParams::default(), &config_map("well", 1))
        .await
        .expect("it is well");
}

/// The status code of a GET whose path is longer than what clients' own types hold.
async fn raw_get(served: &Served, path: &str) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = served.connect().await;
    let head = format!("GET {path} HTTP/1.1\r\nhost: karve\r\nconnection: close\r\n\r\n");
    // The server may have answered, and closed, before it has read all of it.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.expect("an answer");
    let code = std::str::from_utf8(&start[9..]).expect("digits");
    code.parse().expect("a code")
}
