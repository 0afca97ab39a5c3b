//! Events as they are sent, encoded once and kept for a while for all who want them.
//!
//! Each event has a cell of frames, one for each form in which somebody wanted it. Cells are emptied in the order in
//! which they were filled when all frames together are larger than `BYTES_MAX`; whoever comes later encodes again.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

use super::Kind;
use crate::encoder::Key;

/// What is kept of frames at most.
const BYTES_MAX: usize = 4 << 20;

/// The frames of one event.
#[derive(Default)]
pub struct Cell(Mutex<Vec<((Kind, Key), Bytes)>>);

/// All frames that are kept.
#[derive(Clone, Default)]
pub struct Frames(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    queue: VecDeque<(Weak<Cell>, usize)>,
    bytes: usize,
}

impl Frames {
    /// A frame, made when nobody has made it.
    pub fn get(&self, cell: &Arc<Cell>, key: (Kind, Key), make: impl FnOnce() -> Bytes) -> Bytes {
        let mut frames = cell.0.lock();
        if let Some((_, frame)) = frames.iter().find(|(have, _)| *have == key) {
            return frame.clone();
        }
        // Others who want it wait for this one rather than to do the same work.
        let frame = make();
        frames.push((key, frame.clone()));
        drop(frames);
        self.keep(cell, frame.len());
        frame
    }

    fn keep(&self, cell: &Arc<Cell>, length: usize) {
        let mut old = Vec::new();
        let mut kept = self.0.lock();
        kept.queue.push_back((Arc::downgrade(cell), length));
        kept.bytes += length;
        while kept.bytes > BYTES_MAX
            && let Some((cell, length)) = kept.queue.pop_front()
        {
            kept.bytes -= length;
            old.extend(cell.upgrade());
        }
        drop(kept);
        old.iter().for_each(|cell| cell.0.lock().clear());
    }
}
