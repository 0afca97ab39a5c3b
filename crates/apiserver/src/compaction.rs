//! Forgets history that is old, as upstream does for etcd: every five minutes all that was past five minutes before.
//!
//! So a continue token or a revision is good for five to ten minutes, however little is written. (A busy server forgets
//! sooner: history is bounded by its size too.)

use std::time::Duration;

use karve_store::Store;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

const INTERVAL: Duration = Duration::from_secs(300);

/// Compacts until `shutdown`.
pub async fn run(store: Store, shutdown: CancellationToken) {
    let mut past = store.revision();
    while shutdown
        .run_until_cancelled(sleep(INTERVAL))
        .await
        .is_some()
    {
        past = forget(&store, past);
    }
}

/// Forgets up to `past`; answers what is past the next time.
fn forget(store: &Store, past: u64) -> u64 {
    store.compact(past);
    store.revision()
}

#[cfg(test)]
mod tests {
    use karve_store::{Error, Op, Value};

    use super::*;

    #[tokio::test]
    async fn what_was_past_an_interval_ago_is_forgotten() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let store =
            Store::open(directory.path().join("state.db"), Default::default()).expect("opens");
        let put = async |key: &str| {
            let ops = vec![Op::create(key, Value::plain("{}".to_owned()))];
            store.commit(ops).await.expect("stored");
            store.revision()
        };
        let expired = |revision: u64| {
            matches!(
                store.watch("/", revision).err(),
                Some(Error::Expired { .. })
            )
        };
        let start = store.revision();
        let first = put("/a").await;
        let past = forget(&store, start);
        let second = put("/b").await;
        assert!(!expired(start));
        let past = forget(&store, past);
        assert_eq!((expired(start), expired(first)), (true, false));
        forget(&store, past);
        assert_eq!((expired(first), expired(second)), (true, false));
    }
}
