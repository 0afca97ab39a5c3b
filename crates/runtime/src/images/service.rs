//! The image service: a Unix socket by which other processes of the machine use the content store.
//!
//! Agents live in network namespaces that reach no registry, so the server process pulls for them.
//! A connection carries one request and its answers, each a JSON document after its length in four
//! bytes, big-endian: any number of `progress`, then one result. The socket is for root (mode 0600),
//! which is all the authorization there is.

mod wire;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::registry::{Progress, Puller};
use super::{Image, ImageError, ImageRef, Store};
use crate::files;

/// Most connections at a time.
const CONNECTIONS_MAX: usize = 64;
/// Longest time for a request to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Reports of progress that wait for a slow client; more are dropped.
const PROGRESS_QUEUE_MAX: usize = 64;

/// A question to the service.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "do")]
pub(super) enum Request {
    Status { reference: ImageRef },
    Pull { reference: ImageRef },
    Load { archive: PathBuf },
    List,
    Remove { reference: ImageRef },
}

/// An answer of the service.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub(super) enum Response {
    Progress { progress: Progress },
    Status { image: Option<Box<Image>> },
    Images { images: Vec<Image> },
    Removed { removed: bool },
    Error { kind: ErrorKind, message: String },
}

/// Which [`ImageError`] it was; the rest of it is its text.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum ErrorKind {
    NotFound,
    Pull,
    Corrupt,
    Other,
}

/// Listens at `socket` until `shutdown`. A socket left over by a process that was killed is replaced.
pub async fn serve(socket: &Path, store: Store, shutdown: CancellationToken) -> io::Result<()> {
    files::allow_absent(std::fs::remove_file(socket))?;
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    let puller = Puller::new(store.clone());
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &permits) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                let (store, puller) = (store.clone(), puller.clone());
                connections.spawn(async move {
                    if let Err(error) = converse(stream, &store, &puller).await {
                        tracing::debug!(%error, "image service connection ended early");
                    }
                    drop(permit);
                });
            }
            Err(error) => tracing::warn!(%error, "image service could not accept"),
        }
    }
    connections.shutdown().await;
    files::allow_absent(std::fs::remove_file(socket))
}

/// Takes a permit first, so that nobody waits inside a process that has no room for him.
async fn accept(
    listener: &UnixListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

async fn converse(mut stream: UnixStream, store: &Store, puller: &Puller) -> io::Result<()> {
    let request: Request = tokio::time::timeout(REQUEST_TIMEOUT, wire::read(&mut stream)).await??;
    let (sender, mut receiver) = mpsc::channel(PROGRESS_QUEUE_MAX);
    let report = move |progress| {
        // A client that does not read as fast as we pull misses some.
        let _ = sender.try_send(progress);
    };
    let (mut reader, mut writer) = stream.split();
    let work = async {
        let response = answer(store, puller, request, &report).await;
        drop(report);
        response
    };
    tokio::pin!(work);
    let response = loop {
        tokio::select! {
            response = &mut work => break response,
            Some(progress) = receiver.recv() => wire::write(&mut writer, &Response::Progress { progress }).await?,
            // A client that hangs up wants no more of it.
            gone = wire::hung_up(&mut reader) => return gone,
        }
    };
    let response = response.unwrap_or_else(|error| error_response(&error));
    wire::write(&mut writer, &response).await
}

/// Does what the request asks.
pub(super) async fn answer(
    store: &Store,
    puller: &Puller,
    request: Request,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Response, ImageError> {
    let store = store.clone();
    if let Request::Pull { reference } = request {
        let image = puller.pull(&reference, progress).await?;
        return Ok(Response::Status {
            image: Some(Box::new(image)),
        });
    }
    tokio::task::spawn_blocking(move || match request {
        Request::Status { reference } => Ok(Response::Status {
            image: store.image(&reference)?.map(Box::new),
        }),
        Request::Load { archive } => Ok(Response::Images {
            images: store.load(&archive)?,
        }),
        Request::List => Ok(Response::Images {
            images: store.images()?,
        }),
        Request::Remove { reference } => Ok(Response::Removed {
            removed: store.remove(&reference)?,
        }),
        Request::Pull { .. } => unreachable!("handled above"),
    })
    .await?
}

/// Asks the service at `socket`.
pub(super) async fn ask(
    socket: &Path,
    request: &Request,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Response, ImageError> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        wire::write(&mut stream, request).await?;
        loop {
            match wire::read(&mut stream).await? {
                Response::Progress { progress: step } => progress(step),
                other => return Ok(other),
            }
        }
    };
    let response = exchange.await.map_err(|source| ImageError::Service {
        path: socket.to_path_buf(),
        source,
    })?;
    match response {
        Response::Error { kind, message } => Err(match kind {
            ErrorKind::NotFound => ImageError::NotFound { message },
            ErrorKind::Corrupt => ImageError::Corrupt { message },
            ErrorKind::Pull | ErrorKind::Other => ImageError::Pull { message },
        }),
        response => Ok(response),
    }
}

fn error_response(error: &ImageError) -> Response {
    let kind = match error {
        ImageError::NotFound { .. } => ErrorKind::NotFound,
        ImageError::Pull { .. } => ErrorKind::Pull,
        ImageError::Corrupt { .. } => ErrorKind::Corrupt,
        _ => ErrorKind::Other,
    };
    Response::Error {
        kind,
        message: crate::error::error_chain(error),
    }
}
