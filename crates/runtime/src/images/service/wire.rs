//! Documents on a stream: length in four bytes, big-endian, then JSON.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Largest document: a list of many thousand images.
const DOCUMENT_MAX: u32 = 16 << 20;

pub(super) async fn read<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<T> {
    let length = stream.read_u32().await?;
    if length > DOCUMENT_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "document is too large",
        ));
    }
    let mut bytes = Vec::new();
    stream.take(length.into()).read_to_end(&mut bytes).await?;
    Ok(serde_json::from_slice(&bytes)?)
}

pub(super) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    document: &impl Serialize,
) -> io::Result<()> {
    let bytes = serde_json::to_vec(document)?;
    let length = u32::try_from(bytes.len())
        .ok()
        .filter(|length| *length <= DOCUMENT_MAX)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "document is too large"))?;
    stream.write_u32(length).await?;
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// Returns when the other side closes, or says something although it is not its turn.
pub(super) async fn hung_up(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    match stream.read(&mut [0]).await? {
        0 => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "more than one request",
        )),
    }
}
