//! Bodies of answers: bytes, lists that are put together while they are sent, and streams.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use http_body::{Frame, SizeHint};

/// The error of streams from elsewhere.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Lists are sent in pieces of about this size, so that a long one is never in memory as a whole.
const PIECE: usize = 64 << 10;

/// Makes the next part of a list; `None` ends it.
type NextPart = Box<dyn FnMut(&mut BytesMut) -> bool + Send>;

/// The body of an answer.
pub enum Body {
    /// Sent at once.
    Whole(Option<Bytes>),
    /// Parts that are written into a piece until it is large enough; the function says whether there are more.
    Parts(Option<NextPart>),
    /// Whatever comes, each item flushed as it comes.
    Stream(Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>),
}

impl Body {
    /// Nothing.
    pub fn empty() -> Body {
        Body::Whole(None)
    }

    /// A list that is written part by part.
    pub fn parts(next: impl FnMut(&mut BytesMut) -> bool + Send + 'static) -> Body {
        Body::Parts(Some(Box::new(next)))
    }

    /// A stream.
    pub fn stream(stream: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static) -> Body {
        Body::Stream(Box::pin(stream))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Body::Whole(Some(bytes.into()))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body::Whole(Some(bytes))
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Body {
        Body::Whole(Some(Bytes::from_static(text.as_bytes())))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Body::Whole(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Body::Parts(parts) => {
                let Some(next) = parts else {
                    return Poll::Ready(None);
                };
                let mut piece = BytesMut::with_capacity(PIECE + PIECE / 4);
                let mut more = true;
                while more && piece.len() < PIECE {
                    more = next(&mut piece);
                }
                if !more {
                    *parts = None;
                }
                match piece.is_empty() {
                    true => Poll::Ready(None),
                    false => Poll::Ready(Some(Ok(Frame::data(piece.freeze())))),
                }
            }
            Body::Stream(stream) => stream
                .as_mut()
                .poll_next(context)
                .map(|item| item.map(|r| r.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(None) | Body::Parts(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            _ => SizeHint::default(),
        }
    }
}

/// Items joined by commas between a head and a tail, each made when it is needed.
pub fn joined<T: Send + 'static>(
    head: Vec<u8>,
    items: Vec<T>,
    tail: Vec<u8>,
    mut write: impl FnMut(&T, &mut BytesMut) + Send + 'static,
) -> Body {
    let mut head = Some(head);
    let mut first = true;
    let mut items = VecDeque::from(items);
    Body::parts(move |piece| {
        if let Some(head) = head.take() {
            piece.extend_from_slice(&head);
        }
        match items.pop_front() {
            Some(item) => {
                if !std::mem::take(&mut first) {
                    piece.extend_from_slice(b",");
                }
                write(&item, piece);
                true
            }
            None => {
                piece.extend_from_slice(&tail);
                false
            }
        }
    })
}
