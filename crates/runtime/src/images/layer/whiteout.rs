//! How a layer says that something of a lower layer is gone (OCI image-spec, `layer.md`).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// The meaning of a file name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Marker {
    /// Nothing of the lower layers' directory shows (`.wh..wh..opq`).
    Opaque,
    /// This name of the lower layers is gone (`.wh.NAME`).
    Whiteout(OsString),
    /// Bookkeeping of AUFS, without meaning here (`.wh..wh.…`).
    Ignored,
    /// An ordinary name.
    Plain,
    /// `.wh.` and nothing that could be a name.
    Malformed,
}

pub(super) fn read(name: &OsStr) -> Marker {
    let Some(rest) = name.as_bytes().strip_prefix(b".wh.") else {
        return Marker::Plain;
    };
    match rest {
        b".wh..opq" => Marker::Opaque,
        b"" | b"." | b".." => Marker::Malformed,
        rest if rest.starts_with(b".wh.") => Marker::Ignored,
        rest => Marker::Whiteout(OsStr::from_bytes(rest).to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_told_apart() {
        for (name, marker) in [
            (".wh..wh..opq", Marker::Opaque),
            (".wh.gone", Marker::Whiteout("gone".into())),
            (".wh..hidden", Marker::Whiteout(".hidden".into())),
            (".wh..wh.plnk", Marker::Ignored),
            (".wh.", Marker::Malformed),
            (".wh...", Marker::Malformed),
            ("wh.file", Marker::Plain),
        ] {
            assert_eq!(read(OsStr::new(name)), marker, "{name}");
        }
    }
}
