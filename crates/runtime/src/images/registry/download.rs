//! Downloads one blob, checked against its descriptor before anything uses it.

use std::fs::File;
use std::io;
use std::path::Path;

use futures::StreamExt;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::super::digest::Hasher;
use super::super::manifest::Descriptor;
use super::{ImageError, Progress, PullError, Session};

/// How many bytes arrive between two reports.
const REPORT_EVERY: u64 = 1 << 20;

/// Copies the blob to `out`; what was copied counts only when this returns `Ok`.
pub(super) async fn copy(
    session: &Session,
    descriptor: &Descriptor,
    out: &mut (impl AsyncWrite + Unpin + Send),
    report: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), PullError> {
    let mut stream = session
        .client
        .pull_blob_stream(&session.reference, descriptor.digest.as_str())
        .await?;
    let mut hasher = Hasher::default();
    let (mut received, mut reported) = (0_u64, 0_u64);
    let at = |error: io::Error| {
        PullError::Other(format!("failed to copy {}: {error}", descriptor.digest))
    };
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(at)?;
        received += chunk.len() as u64;
        if received > descriptor.size {
            break;
        }
        hasher.update(&chunk);
        out.write_all(&chunk).await.map_err(at)?;
        if received - reported >= REPORT_EVERY {
            reported = received;
            report(received);
        }
    }
    out.flush().await.map_err(at)?;
    let digest = hasher.finish();
    if received != descriptor.size || digest != descriptor.digest {
        return Err(PullError::Other(format!(
            "failed commit on ref \"{}\": unexpected content: {received} bytes of {}, digest {digest}",
            descriptor.digest, descriptor.size
        )));
    }
    Ok(())
}

/// Downloads the blob into a new file at `path`, and opens it for reading.
pub(super) async fn to_file(
    session: &Session,
    layer: &Descriptor,
    path: &Path,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<File, PullError> {
    let store = |action| move |error| PullError::Store(ImageError::io(action, path)(error));
    let file = tokio::fs::File::create(path)
        .await
        .map_err(store("create"))?;
    let mut writer = tokio::io::BufWriter::with_capacity(256 << 10, file);
    let report = |done| {
        progress(Progress::Downloading {
            layer: layer.digest.clone(),
            done,
            total: layer.size,
        });
    };
    copy(session, layer, &mut writer, &report).await?;
    File::open(path).map_err(store("open"))
}
