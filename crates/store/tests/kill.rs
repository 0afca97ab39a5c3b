//! A process that writes is killed in the middle; every write that it had been told of is there afterwards.
//!
//! Without a test harness, because the test is its own child: with a directory as argument it writes until it is killed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use karve_store::{Expect, Op, Options, Range, Store, Value};

const WRITERS: u64 = 8;
const KILL_AFTER: [usize; 4] = [1, 50, 700, 2000];

fn main() {
    match std::env::args_os()
        .nth(1)
        .filter(|a| !a.to_string_lossy().starts_with('-'))
    {
        Some(directory) if Path::new(&directory).is_dir() => write_forever(Path::new(&directory)),
        _ => acknowledged_writes_survive_sigkill(),
    }
}

fn open(directory: &Path) -> Store {
    Store::open(directory.join("state.db"), Options::default()).expect("store opens")
}

fn write_forever(directory: &Path) {
    let store = open(directory);
    let out = Arc::new(std::sync::Mutex::new(std::io::stdout()));
    let writers = (0..WRITERS).map(|writer| {
        let (store, out) = (store.clone(), out.clone());
        std::thread::spawn(move || {
            for i in 0u64.. {
                let key = format!("/w{writer}/{}", i % 40);
                let op = Op {
                    key: key.as_str().into(),
                    expect: Expect::Any,
                    action: karve_store::Action::Put(Value::plain(format!("{i:0300}"))),
                };
                let events = store
                    .commit_blocking(vec![op])
                    .expect("write is acknowledged");
                let mut out = out.lock().expect("no writer panics");
                writeln!(out, "{key} {i} {}", events[0].revision()).expect("parent reads");
            }
        })
    });
    writers
        .collect::<Vec<_>>()
        .into_iter()
        .for_each(|w| w.join().expect("writer runs on"));
}

fn acknowledged_writes_survive_sigkill() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut acknowledged: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for lines in KILL_AFTER {
        let mut child = Command::new(std::env::current_exe().expect("own path"))
            .arg(directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("child starts");
        let mut output = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut note = |line: String| {
            let mut parts = line.split(' ');
            if let (Some(key), Some(i), Some(revision)) = (parts.next(), parts.next(), parts.next())
                && let (Ok(i), Ok(revision)) = (i.parse(), revision.parse())
            {
                acknowledged.insert(key.into(), (i, revision));
            }
        };
        (&mut output)
            .take(lines)
            .for_each(|line| note(line.expect("line")));
        child.kill().expect("child is killed");
        // The rest of the pipe was acknowledged too; the last line may be cut.
        let rest: Vec<String> = output.map_while(Result::ok).collect();
        let whole = rest.len().saturating_sub(1);
        rest.into_iter().take(whole).for_each(note);
        child.wait().expect("child is reaped");
        check(&open(directory.path()), &acknowledged);
    }
    println!(
        "every one of {} acknowledged keys survived",
        acknowledged.len()
    );
}

fn check(store: &Store, acknowledged: &BTreeMap<String, (u64, u64)>) {
    for (key, (i, revision)) in acknowledged {
        let entry = store.get(key).unwrap_or_else(|| panic!("{key} is lost"));
        let value: u64 = std::str::from_utf8(entry.value())
            .expect("text")
            .parse()
            .expect("number");
        // Newer than acknowledged is fine: the child died before it could say so.
        assert!(
            entry.revision() >= *revision,
            "{key}: {} < {revision}",
            entry.revision()
        );
        assert!(
            entry.revision() > *revision || value == *i,
            "{key}: {value} is not {i}"
        );
    }
    let all = store
        .range(&Range {
            prefix: "/",
            ..Range::default()
        })
        .expect("now");
    let newest = all.entries.iter().map(|e| e.revision()).max().unwrap_or(0);
    assert!(store.revision() >= newest);
    let mut revisions: Vec<u64> = all.entries.iter().map(|e| e.revision()).collect();
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(
        revisions.len(),
        all.entries.len(),
        "a revision belongs to one key"
    );
}
