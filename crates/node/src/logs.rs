//! Container logs: files in the CRI format, read from the end, filtered, and followed.
//!
//! A line is `TIME STREAM TAG TEXT` with TAG `F` for a whole line and `P` for a part of one
//! (`k8s.io/cri-api`, container log format). Following waits for inotify and for the container's end, never for a clock.

mod follow;
mod line;
mod reader;

use k8s_openapi::jiff::Timestamp;

pub use follow::{Source, stream};

/// What is asked for (`PodLogOptions`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Stay and send what is written later, until the container ends.
    pub follow: bool,
    /// Put each line's time before it.
    pub timestamps: bool,
    /// Leave out lines of before.
    pub since: Option<Timestamp>,
    /// Begin so many lines before the end.
    pub tail: Option<u64>,
    /// End after so many bytes.
    pub limit: Option<u64>,
    /// One stream only.
    pub stream: Option<Stream>,
}

/// Where a container wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
