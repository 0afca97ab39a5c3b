//! Where changes become durable.
//!
//! An engine is a log of changes and a way to get the present back; it is used by one thread. Everything that is
//! answered to readers is in memory above it.

use crate::{EngineError, Entry, Event};

/// Durable storage of the present state.
pub(crate) trait Engine: Send {
    /// Hands over every entry that exists, in any order, and answers the newest revision that was ever committed.
    fn load(&mut self, each: &mut dyn FnMut(Entry)) -> Result<u64, EngineError>;

    /// Makes the changes durable, all or none. Events are in the order of their revisions.
    fn append(&mut self, events: &[std::sync::Arc<Event>]) -> Result<(), EngineError>;
}
