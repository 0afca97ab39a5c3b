//! What can go wrong.

use std::path::PathBuf;
use std::sync::Arc;

use crate::Entry;

/// Why a store could not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A key was not as the operation expected; nothing of the commit happened.
    #[error("key {key} is not as expected")]
    Conflict {
        /// Which operation of the commit.
        op: usize,
        /// Its key.
        key: Arc<str>,
        /// What the key holds.
        current: Option<Arc<Entry>>,
    },
    /// The revision is older than what is remembered.
    #[error("revision {requested} is older than the history, which starts at {oldest}")]
    Expired {
        /// The revision asked for.
        requested: u64,
        /// The oldest revision that can be asked for.
        oldest: u64,
    },
    /// The revision has not happened yet.
    #[error("revision {requested} is in the future of {current}")]
    Future {
        /// The revision asked for.
        requested: u64,
        /// The newest revision.
        current: u64,
    },
    /// Another process has the store open.
    #[error("store {path} is in use by another process")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The files could not be opened or read.
    #[error("open store {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        err: Arc<EngineError>,
    },
    /// The engine could not make the commit durable; nothing of it happened.
    #[error("write to the store")]
    Write(#[source] Arc<EngineError>),
    /// The committer has ended.
    #[error("the store is closed")]
    Closed,
}

/// What an engine meets.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// From the file system.
    #[error("access the file")]
    Io(#[from] std::io::Error),
    /// From SQLite.
    #[error("run SQLite")]
    Sqlite(#[from] rusqlite::Error),
    /// The file was written by a version of this program with another layout.
    #[error("layout {0} is unknown")]
    Layout(i64),
}
