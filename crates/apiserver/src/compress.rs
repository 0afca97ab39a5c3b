//! gzip for large answers, as upstream: from 128 KiB on, at the fastest level; and for the streams of watch-lists.

use std::io::Write as _;

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderValue, header};

use crate::answer::HttpResponse;
use crate::body::Body;

/// Answers up to this size are sent as they are.
const THRESHOLD: usize = 128 << 10;

fn encoder() -> GzEncoder<Vec<u8>> {
    GzEncoder::new(Vec::new(), Compression::fast())
}

/// One member of a gzip stream. Members may follow one another, so each piece of a stream can be flushed by itself.
///
/// The flush before the end is upstream's and needed: Go's reader hands out what precedes the end of a member only once
/// it has seen the next member's header, but what precedes a flush at once.
pub fn member(bytes: &[u8]) -> Bytes {
    let mut gz = encoder();
    write(&mut gz, bytes);
    gz.flush().expect("memory takes all");
    gz.finish().expect("memory takes all").into()
}

fn write(gz: &mut GzEncoder<Vec<u8>>, bytes: &[u8]) {
    gz.write_all(bytes).expect("memory takes all");
}

/// Says that the body is compressed.
pub fn label(response: &mut HttpResponse) {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
}

/// Compresses an answer that is large enough; streams are left alone.
pub fn large(response: HttpResponse) -> HttpResponse {
    let (head, body) = response.into_parts();
    let (body, compressed) = match body {
        Body::Whole(Some(bytes)) if bytes.len() > THRESHOLD => (Body::from(member(&bytes)), true),
        Body::Parts(Some(next)) => parts(next),
        body => (body, false),
    };
    let mut response = HttpResponse::from_parts(head, body);
    if compressed {
        label(&mut response);
    }
    response
}

/// Writes parts until it is clear whether there is enough to compress.
fn parts(mut next: Box<dyn FnMut(&mut BytesMut) -> bool + Send>) -> (Body, bool) {
    let mut start = BytesMut::new();
    while start.len() <= THRESHOLD {
        if !next(&mut start) {
            return match start.len() > THRESHOLD {
                true => (Body::from(member(&start)), true),
                false => (Body::from(start.freeze()), false),
            };
        }
    }
    let mut gz = Some(encoder());
    let mut plain = start;
    let body = Body::parts(move |piece| {
        let Some(encoder) = gz.as_mut() else {
            return false;
        };
        // The start is there already; every later piece is made here.
        let more = !plain.is_empty() || next(&mut plain);
        write(encoder, &plain);
        plain.clear();
        piece.extend_from_slice(encoder.get_ref());
        encoder.get_mut().clear();
        if !more && let Some(encoder) = gz.take() {
            piece.extend_from_slice(&encoder.finish().expect("memory takes all"));
        }
        more
    });
    (body, true)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::MultiGzDecoder;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::answer;
    use crate::body;

    #[test]
    fn piece_of_a_stream_is_flushed_before_its_member_ends() {
        // An empty stored block, as deflate flushes.
        let member = member(b"{}");
        assert!(member.windows(4).any(|bytes| bytes == [0, 0, 0xff, 0xff]));
    }

    async fn read(response: HttpResponse) -> (bool, Vec<u8>) {
        let compressed = response.headers().contains_key(header::CONTENT_ENCODING);
        let bytes = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        if !compressed {
            return (false, bytes.to_vec());
        }
        let mut plain = Vec::new();
        MultiGzDecoder::new(&*bytes)
            .read_to_end(&mut plain)
            .expect("gzip");
        (true, plain)
    }

    #[tokio::test]
    async fn only_large_answers_are_compressed() {
        for (size, want) in [
            (0, false),
            (THRESHOLD, false),
            (THRESHOLD + 1, true),
            (3 << 20, true),
        ] {
            let whole = answer::with_type(200, answer::JSON, vec![b'x'; size]);
            assert_eq!(read(large(whole)).await, (want, vec![b'x'; size]));
            let items: Vec<usize> = vec![1000; size / 1000];
            let items = body::joined(b"[".to_vec(), items, b"]".to_vec(), |n, out| {
                out.extend_from_slice(&vec![b'y'; *n])
            });
            let (compressed, bytes) =
                read(large(answer::with_type(200, answer::JSON, items))).await;
            let joined = (size / 1000 * 1001).max(1) + 1;
            assert_eq!((compressed, bytes.len()), (joined > THRESHOLD, joined));
        }
    }

    #[test]
    fn members_follow_one_another() {
        let stream = [member(b"one "), member(b""), member(b"two")].concat();
        let mut plain = String::new();
        MultiGzDecoder::new(&*stream)
            .read_to_string(&mut plain)
            .expect("gzip");
        assert_eq!(plain, "one two");
    }
}
