use super::*;

#[test]
fn timeouts_are_gos() {
    let rows = [
        (Some(1), Duration::from_secs(1)),
        (Some(-1), Duration::ZERO),
        (Some(i64::MAX), Duration::ZERO),
    ];
    for (seconds, want) in rows {
        assert_eq!(
            timeout(seconds, Duration::from_secs(1800)),
            want,
            "{seconds:?}"
        );
    }
    for seconds in [None, Some(0)] {
        let range = Duration::from_secs(1800)..Duration::from_secs(3600);
        assert!(range.contains(&timeout(seconds, Duration::from_secs(1800))));
    }
}

#[tokio::test]
async fn bookmarks_come_each_minute_and_before_the_end() {
    let now = Instant::now();
    let after = |seconds| now + Duration::from_secs(seconds);
    assert_eq!(next_bookmark(now, after(1800)), Some(after(60)));
    assert_eq!(next_bookmark(now, after(30)), Some(after(28)));
    assert_eq!(next_bookmark(now, after(62)), Some(after(60)));
    assert_eq!(next_bookmark(now, after(1)), None);
    assert_eq!(next_bookmark(now, now), None);
}

#[test]
fn single_frames_are_not_copied() {
    let frame = Bytes::from_static(b"one");
    let mut piece = Piece::default();
    piece.push(frame.clone());
    let out = piece.take().expect("a frame");
    assert_eq!(out.as_ptr(), frame.as_ptr());
    let mut piece = Piece::default();
    piece.push(frame.clone());
    piece.push(frame);
    assert_eq!(piece.len(), 6);
    assert_eq!(piece.take().as_deref(), Some(&b"oneone"[..]));
    assert_eq!(Piece::default().take(), None);
}
