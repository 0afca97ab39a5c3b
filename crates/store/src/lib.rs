//! One ordered, durable map of keys to bytes: compare-and-swap, ranges at a revision, watches without gaps.
//!
//! Every change of a key takes the next number of one global revision. A [`Store`] has one committer thread, which
//! checks what a write expects, assigns revisions, and makes a group of waiting writes durable with one sync. Only then
//! are they visible: to readers (an index in memory, so that reads never touch the disk), to watchers (in the order of
//! revisions), and to the writer that waits. The changes of the recent past are kept in memory, so that watches and
//! paged lists can start in it.
//!
//! Invariant: whoever saw a change (as an answer, by reading or by watching) will see it after any crash. Deliberately
//! absent: any notion of what a value is, of names or of namespaces; timers and expiry; replication (an engine may have it).

mod committer;
mod counts;
mod engine;
mod entry;
mod error;
mod history;
mod range;
mod sqlite;
mod state;
mod statistics;
mod store;
mod watch;

pub use counts::Count;
pub use entry::{Action, Entry, Event, Expect, Op, Value};
pub use error::{EngineError, Error};
pub use range::{Page, Range};
pub use statistics::Statistics;
pub use store::{Options, Store};
pub use watch::{Lagged, Watch};
