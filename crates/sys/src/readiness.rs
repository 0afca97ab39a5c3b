//! Waits on a tokio runtime until a descriptor is ready: pidfds, inotify, packet sockets.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers the descriptor with the current runtime. It should be nonblocking if it is read or written.
pub fn register(fd: impl Into<OwnedFd>, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, and stays the same open file until it is dropped, which AsyncFd does
    // only after it is deregistered.
    unsafe { AsyncFd::register_with_interest(fd.into(), interest) }.map_err(io::Error::from)
}
