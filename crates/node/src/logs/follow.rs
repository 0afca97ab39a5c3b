//! Sends a log, and what is written to it later.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use karve_sys::readiness;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::Options;
use super::reader::Reader;

/// Why a log could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be opened or read.
    #[error("{action} log {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The log of one attempt of a container.
#[derive(Debug)]
pub struct Source<F> {
    /// The file.
    pub path: PathBuf,
    /// Ends when the container has ended and all of its output is in the file.
    pub ended: F,
}

/// Sends the log piece by piece into `out` until its end, or until nobody listens.
pub async fn stream(
    source: Source<impl Future<Output = ()>>,
    options: Options,
    out: mpsc::Sender<Bytes>,
) -> Result<(), Error> {
    let Source { path, ended } = source;
    let failed = |action| {
        let path = path.clone();
        move |source| Error::Io {
            action,
            path,
            source,
        }
    };
    // Watched before it is read, so that nothing written in between is missed.
    let watch = if options.follow {
        Some(Watch::on(&path).map_err(failed("watch"))?)
    } else {
        None
    };
    let mut reader = Reader::open(&path, &options)
        .await
        .map_err(failed("open"))?;
    tokio::pin!(ended);
    let mut over = watch.is_none();
    loop {
        while !reader.is_full() {
            let piece = reader.next().await.map_err(failed("read"))?;
            if piece.is_empty() {
                break;
            }
            if out.send(Bytes::from(piece)).await.is_err() {
                return Ok(());
            }
        }
        let (Some(watch), false) = (&watch, over || reader.is_full()) else {
            return Ok(());
        };
        tokio::select! {
            changed = watch.changed() => changed.map_err(failed("watch"))?,
            () = &mut ended => over = true,
            () = out.closed() => return Ok(()),
        }
    }
}

/// An inotify watch on one file.
struct Watch {
    inotify: Inotify,
    /// A duplicate of its descriptor that tells when there is something to read.
    readiness: AsyncFd<OwnedFd>,
}

impl Watch {
    fn on(path: &Path) -> io::Result<Watch> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        inotify.add_watch(path, AddWatchFlags::IN_MODIFY)?;
        let duplicate = inotify.as_fd().try_clone_to_owned()?;
        let readiness = readiness::register(duplicate, Interest::READABLE)?;
        Ok(Watch { inotify, readiness })
    }

    /// Returns once the file was written to.
    async fn changed(&self) -> io::Result<()> {
        loop {
            let mut ready = self.readiness.readable().await?;
            match ready.try_io(|_| self.inotify.read_events().map_err(io::Error::from)) {
                Ok(events) => return events.map(drop),
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::sync::oneshot;

    use super::*;

    fn line(text: &str) -> String {
        format!("2026-01-01T00:00:00Z stdout F {text}\n")
    }

    #[tokio::test]
    async fn a_followed_log_sends_new_lines_and_ends_with_the_container() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        let mut file = std::fs::File::create(&path).expect("made");
        file.write_all(line("one").as_bytes()).expect("written");
        let (end, ended) = oneshot::channel::<()>();
        let ended = async move {
            ended.await.expect("told");
        };
        let (sender, mut pieces) = mpsc::channel(1);
        let options = Options {
            follow: true,
            ..Options::default()
        };
        let task = tokio::spawn(stream(Source { path, ended }, options, sender));
        assert_eq!(pieces.recv().await.expect("sent"), "one\n");
        file.write_all(line("two").as_bytes()).expect("written");
        assert_eq!(pieces.recv().await.expect("sent"), "two\n");
        file.write_all(line("three").as_bytes()).expect("written");
        end.send(()).expect("listens");
        assert_eq!(pieces.recv().await.expect("sent"), "three\n");
        assert_eq!(pieces.recv().await, None);
        task.await.expect("joined").expect("sent");
    }

    #[tokio::test]
    async fn a_listener_that_leaves_ends_the_following() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        std::fs::write(&path, line("one")).expect("written");
        let (sender, mut pieces) = mpsc::channel(1);
        let options = Options {
            follow: true,
            ..Options::default()
        };
        let task = tokio::spawn(stream(
            Source {
                path,
                ended: std::future::pending(),
            },
            options,
            sender,
        ));
        assert_eq!(pieces.recv().await.expect("sent"), "one\n");
        drop(pieces);
        task.await.expect("joined").expect("sent");
    }
}
