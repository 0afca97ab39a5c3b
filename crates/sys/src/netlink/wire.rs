//! Encoding and parsing of netlink messages and attributes.
//!
//! Headers are in host order; attribute payloads are whatever the family says (rtnetlink: host
//! order, nf_tables: network order). Parsing never panics and never allocates by an outside length.

use super::Message;

/// Bytes of `struct nlmsghdr`.
const MESSAGE_HEADER: usize = 16;
/// Bytes of `struct nlattr`.
const ATTRIBUTE_HEADER: usize = 4;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// Both flag bits of an attribute type: `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const TYPE_MASK: u16 = 0x3fff;

/// Rounds up to netlink's alignment of four bytes.
pub const fn align4(len: usize) -> usize {
    (len + 3) & !3
}

/// Writes messages one behind another into one datagram.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Encoder {
    buffer: Vec<u8>,
}

impl Encoder {
    /// What was written so far.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Changes one byte that was written.
    pub(crate) fn overwrite(&mut self, at: usize, byte: u8) {
        self.buffer[at] = byte;
    }

    /// Takes the datagram out.
    pub fn into_bytes(self) -> Vec<u8> {
        self.buffer
    }

    /// Appends one message; its length is filled in after `build` has written the payload.
    pub fn message(&mut self, kind: u16, flags: u16, seq: u32, build: impl FnOnce(&mut Self)) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&0u32.to_ne_bytes());
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        self.buffer.extend_from_slice(&flags.to_ne_bytes());
        self.buffer.extend_from_slice(&seq.to_ne_bytes());
        self.buffer.extend_from_slice(&0u32.to_ne_bytes()); // port: the kernel
        build(self);
        let len = u32::try_from(self.buffer.len() - start).expect("datagrams are far below 4 GiB");
        self.buffer[start..start + 4].copy_from_slice(&len.to_ne_bytes());
        self.pad();
    }

    /// Appends raw bytes: a family header.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.pad();
    }

    /// Appends an attribute.
    pub fn attr(&mut self, kind: u16, value: &[u8]) {
        let len = u16::try_from(ATTRIBUTE_HEADER + value.len()).expect("attribute fits in 64 KiB");
        self.buffer.extend_from_slice(&len.to_ne_bytes());
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        self.buffer.extend_from_slice(value);
        self.pad();
    }

    /// Appends an attribute holding one byte.
    pub fn attr_u8(&mut self, kind: u16, value: u8) {
        self.attr(kind, &[value]);
    }

    /// Appends an attribute in host order.
    pub fn attr_u16(&mut self, kind: u16, value: u16) {
        self.attr(kind, &value.to_ne_bytes());
    }

    /// Appends an attribute in host order.
    pub fn attr_u32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_ne_bytes());
    }

    /// Appends an attribute in network order.
    pub fn attr_be32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// Appends an attribute in network order.
    pub fn attr_be64(&mut self, kind: u16, value: u64) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// Appends a NUL-terminated string.
    pub fn attr_str(&mut self, kind: u16, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.attr(kind, &bytes);
    }

    /// Appends an attribute that holds attributes.
    pub fn nest(&mut self, kind: u16, build: impl FnOnce(&mut Self)) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&0u16.to_ne_bytes());
        self.buffer
            .extend_from_slice(&(kind | NESTED).to_ne_bytes());
        build(self);
        let len =
            u16::try_from(self.buffer.len() - start).expect("nested attribute fits in 64 KiB");
        self.buffer[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    }

    fn pad(&mut self) {
        self.buffer.resize(align4(self.buffer.len()), 0);
    }
}

/// Iterates over attributes as `(type without flag bits, value)`; stops at the first broken one.
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Reads the attributes in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The value of the first attribute of type `kind`.
    pub fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.clone()
            .find(|(k, _)| *k == kind)
            .map(|(_, value)| value)
    }

    /// The attributes nested in the first attribute of type `kind`; none when it is missing.
    pub fn nested(&self, kind: u16) -> Attributes<'a> {
        Attributes::new(self.get(kind).unwrap_or_default())
    }

    /// A number in host order.
    pub fn u32(&self, kind: u16) -> Option<u32> {
        Some(u32::from_ne_bytes(*self.get(kind)?.first_chunk()?))
    }

    /// A number in network order.
    pub fn be32(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(*self.get(kind)?.first_chunk()?))
    }

    /// A number in network order.
    pub fn be64(&self, kind: u16) -> Option<u64> {
        Some(u64::from_be_bytes(*self.get(kind)?.first_chunk()?))
    }

    /// A NUL-terminated string.
    pub fn string(&self, kind: u16) -> Option<String> {
        self.get(kind).map(string)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.rest.first_chunk::<ATTRIBUTE_HEADER>()?;
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let Some(value) = self.rest.get(ATTRIBUTE_HEADER..len) else {
            self.rest = &[];
            return None;
        };
        self.rest = self.rest.get(align4(len)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// Reads a string up to its first NUL.
pub(super) fn string(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Splits a datagram into messages; `None` when a length is impossible.
pub(crate) fn split(mut datagram: &[u8]) -> Option<Vec<Message>> {
    let mut messages = Vec::new();
    while !datagram.is_empty() {
        let header = datagram.first_chunk::<MESSAGE_HEADER>()?;
        let number = |at: usize| {
            u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let len = usize::try_from(number(0)).ok()?;
        messages.push(Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            seq: number(8),
            payload: datagram.get(MESSAGE_HEADER..len)?.to_vec(),
        });
        datagram = datagram.get(align4(len)..).unwrap_or_default();
    }
    Some(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_message_reads_back() {
        let mut encoder = Encoder::default();
        encoder.message(20, 1, 7, |m| {
            m.raw(&[1, 2, 3]);
            m.attr_str(1, "eth0");
            m.nest(2, |m| m.attr_be32(3, 0x0a000001));
        });
        let messages = split(encoder.bytes()).expect("well formed");
        assert_eq!(messages.len(), 1);
        assert_eq!(
            (messages[0].kind, messages[0].flags, messages[0].seq),
            (20, 1, 7)
        );
        let attributes = messages[0].attributes(3);
        assert_eq!(attributes.string(1).as_deref(), Some("eth0"));
        assert_eq!(attributes.nested(2).be32(3), Some(0x0a000001));
    }

    #[test]
    fn broken_lengths_end_the_parse() {
        assert_eq!(split(&[0; 16]), None, "a length below the header");
        assert_eq!(split(&[255; 16]), None, "a length beyond the datagram");
        assert_eq!(split(&[1, 2, 3]), None, "less than a header");
        assert_eq!(
            Attributes::new(&[2, 0, 1, 0]).next(),
            None,
            "an attribute shorter than its header"
        );
        assert_eq!(
            Attributes::new(&[9, 0, 1, 0, 5]).next(),
            None,
            "an attribute beyond the buffer"
        );
    }
}
