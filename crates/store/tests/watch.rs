//! Watching while others write.

use karve_store::{Lagged, Op, Options, Range, Store, Value};

fn open(directory: &tempfile::TempDir, options: Options) -> Store {
    Store::open(directory.path().join("state.db"), options).expect("store opens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_see_all_of_many_writers_in_order_and_after_it_is_readable() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(&directory, Options::default());
    let (page, mut watch) = store
        .range_and_watch(&Range {
            prefix: "/x/",
            ..Range::default()
        })
        .expect("now");
    let writers = (0..16).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for i in 0..20 {
                let key = format!("/x/{writer}-{i}");
                store
                    .commit(vec![Op::create(key, Value::plain("v"))])
                    .await
                    .expect("created");
                let key = format!("/y/{writer}-{i}");
                store
                    .commit(vec![Op::create(key, Value::plain("v"))])
                    .await
                    .expect("created");
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut last = page.revision;
    for _ in 0..16 * 20 {
        let event = watch.next().await.expect("keeps up").expect("open");
        assert!(event.revision() > last);
        assert!(event.key().starts_with("/x/"));
        assert!(store.get(event.key()).is_some());
        last = event.revision();
    }
    for writer in writers {
        writer.await.expect("writer ends");
    }
    assert!(watch.ready().is_none());
}

/// Also for a task that has used up what the runtime lets it do in one go.
#[tokio::test]
async fn all_that_happened_is_ready_at_once() {
    const WRITES: usize = 500;
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(&directory, Options::default());
    let mut told = store.watch("/x/", store.revision()).expect("now");
    let mut other = store.watch("/x/", store.revision()).expect("now");
    let ops = (0..WRITES).map(|i| Op::create(format!("/x/{i}"), Value::plain("")));
    store.commit(ops.collect()).await.expect("created");
    for _ in 0..WRITES {
        told.next().await.expect("keeps up").expect("open");
    }
    let ready = std::iter::from_fn(|| other.ready()).count();
    assert_eq!(ready, WRITES);
}

#[tokio::test]
async fn slow_watcher_is_cut_off_and_told() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(
        &directory,
        Options {
            watch_queue: 2,
            ..Options::default()
        },
    );
    let mut watch = store.watch("/x/", store.revision()).expect("now");
    for i in 0..4 {
        store
            .commit(vec![Op::create(format!("/x/{i}"), Value::plain(""))])
            .await
            .expect("created");
    }
    assert!(watch.next().await.expect("queued").is_some());
    assert!(watch.next().await.expect("queued").is_some());
    assert_eq!(watch.next().await.expect_err("cut off"), Lagged);
}

#[tokio::test]
async fn store_belongs_to_one_process() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let store = open(&directory, Options::default());
    let second = Store::open(directory.path().join("state.db"), Options::default());
    assert!(matches!(second, Err(karve_store::Error::Locked { .. })));
    drop(store);
    open(&directory, Options::default());
}
