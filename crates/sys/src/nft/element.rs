//! Values, verdicts and set elements.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::ops::Deref;
use std::time::Duration;

use super::uapi::{data, element};
use crate::netlink::{Attributes, Encoder, align4};

/// Longest key or value: `NFT_DATA_VALUE_MAXLEN`.
const VALUE_MAX: usize = 64;

/// A key or value as it lies in registers: each field starts at a multiple of four bytes.
#[derive(Clone, Copy)]
pub struct Value {
    len: u8,
    bytes: [u8; VALUE_MAX],
}

impl Value {
    /// No field yet.
    pub const EMPTY: Value = Value {
        len: 0,
        bytes: [0; VALUE_MAX],
    };

    /// Reads a value back; `None` when it is too long to be one.
    pub fn from_slice(slice: &[u8]) -> Option<Self> {
        let mut bytes = [0; VALUE_MAX];
        bytes.get_mut(..slice.len())?.copy_from_slice(slice);
        Some(Self {
            len: u8::try_from(slice.len()).ok()?,
            bytes,
        })
    }

    /// Appends a field, padded to four bytes.
    ///
    /// # Panics
    /// When the value exceeds the 64 bytes that the kernel allows.
    #[must_use]
    pub fn field(mut self, field: &[u8]) -> Self {
        let start = usize::from(self.len);
        let end = start + align4(field.len());
        assert!(end <= VALUE_MAX, "nf_tables values have at most 64 bytes");
        self.bytes[start..start + field.len()].copy_from_slice(field);
        self.len = end as u8;
        self
    }

    /// Appends an address (`ipv4_addr`, `ipv6_addr`).
    #[must_use]
    pub fn ip(self, ip: impl Into<IpAddr>) -> Self {
        match ip.into() {
            IpAddr::V4(v4) => self.field(&v4.octets()),
            IpAddr::V6(v6) => self.field(&v6.octets()),
        }
    }

    /// Appends an IP protocol number (`inet_proto`).
    #[must_use]
    pub fn protocol(self, protocol: u8) -> Self {
        self.field(&[protocol])
    }

    /// Appends a port (`inet_service`).
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        self.field(&port.to_be_bytes())
    }

    /// Appends a number in host order (`mark`, and what numgen and hash give).
    #[must_use]
    pub fn mark(self, mark: u32) -> Self {
        self.field(&mark.to_ne_bytes())
    }
}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value(")?;
        self.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, ")")
    }
}

/// What happens to a packet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// `NF_ACCEPT`: this base chain is done with the packet.
    Accept,
    /// `NF_DROP`.
    Drop,
    /// Back to the calling chain.
    Return,
    /// To a chain and back.
    Jump(Cow<'static, str>),
    /// To a chain, and back to where this chain was called.
    Goto(Cow<'static, str>),
}

impl Verdict {
    pub(super) fn encode(&self, m: &mut Encoder, kind: u16) {
        let (code, chain) = match self {
            Verdict::Drop => (0, None),
            Verdict::Accept => (1, None),
            Verdict::Return => (libc::NFT_RETURN, None),
            Verdict::Jump(chain) => (libc::NFT_JUMP, Some(chain)),
            Verdict::Goto(chain) => (libc::NFT_GOTO, Some(chain)),
        };
        m.nest(kind, |m| {
            m.nest(data::VERDICT, |m| {
                m.attr_be32(data::VERDICT_CODE, code.cast_unsigned());
                if let Some(chain) = chain {
                    m.attr_str(data::VERDICT_CHAIN, chain);
                }
            });
        });
    }

    fn decode(attributes: &Attributes<'_>) -> Option<Self> {
        let chain = || attributes.string(data::VERDICT_CHAIN).map(Cow::Owned);
        match attributes.be32(data::VERDICT_CODE)?.cast_signed() {
            0 => Some(Verdict::Drop),
            1 => Some(Verdict::Accept),
            libc::NFT_RETURN => Some(Verdict::Return),
            libc::NFT_JUMP => chain().map(Verdict::Jump),
            libc::NFT_GOTO => chain().map(Verdict::Goto),
            _ => None,
        }
    }
}

/// What a map's element maps to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Data {
    /// Plain data.
    Value(Value),
    /// A verdict (verdict maps).
    Verdict(Verdict),
}

/// An element of a set, or of a map when it has data.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Element {
    /// Its key; in interval sets the key of the interval's start.
    pub key: Value,
    /// End of the interval, inclusive, in interval sets of concatenations.
    pub key_end: Option<Value>,
    /// What it maps to.
    pub data: Option<Data>,
    /// When it goes by itself; the set's own time when `None`.
    pub timeout: Option<Duration>,
}

impl Element {
    /// An element of a set.
    pub fn key(key: Value) -> Self {
        Self {
            key,
            key_end: None,
            data: None,
            timeout: None,
        }
    }

    /// An element of a map.
    pub fn value(key: Value, value: Value) -> Self {
        Self {
            data: Some(Data::Value(value)),
            ..Self::key(key)
        }
    }

    /// An element of a verdict map.
    pub fn verdict(key: Value, verdict: Verdict) -> Self {
        Self {
            data: Some(Data::Verdict(verdict)),
            ..Self::key(key)
        }
    }

    pub(super) fn encode(&self, m: &mut Encoder) {
        m.nest(super::uapi::LIST_ELEM, |m| {
            encode_value(m, element::KEY, &self.key);
            if let Some(key_end) = &self.key_end {
                encode_value(m, element::KEY_END, key_end);
            }
            match &self.data {
                Some(Data::Value(value)) => encode_value(m, element::DATA, value),
                Some(Data::Verdict(verdict)) => verdict.encode(m, element::DATA),
                None => {}
            }
            if let Some(timeout) = self.timeout {
                m.attr_be64(element::TIMEOUT, milliseconds(timeout));
            }
        });
    }

    pub(super) fn decode(attributes: &Attributes<'_>) -> Option<Self> {
        let value = |kind| {
            attributes
                .nested(kind)
                .get(data::VALUE)
                .map(Value::from_slice)
        };
        let data = match value(element::DATA) {
            Some(value) => Some(Data::Value(value?)),
            None if attributes.get(element::DATA).is_some() => {
                let verdict = attributes.nested(element::DATA).nested(data::VERDICT);
                Some(Data::Verdict(Verdict::decode(&verdict)?))
            }
            None => None,
        };
        Some(Self {
            key: value(element::KEY)??,
            key_end: value(element::KEY_END).flatten(),
            data,
            timeout: attributes.be64(element::TIMEOUT).map(Duration::from_millis),
        })
    }
}

/// Writes `value` as an `NFTA_DATA_VALUE` nested in `kind`.
pub(super) fn encode_value(m: &mut Encoder, kind: u16, value: &[u8]) {
    m.nest(kind, |m| m.attr(data::VALUE, value));
}

/// nf_tables counts time in milliseconds.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
