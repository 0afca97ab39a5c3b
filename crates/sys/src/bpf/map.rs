//! Maps: hash tables that programs and processes share.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::{Command, Error, by_id, call, name_bytes, open, read_info};

/// `BPF_F_NO_PREALLOC`: memory is taken when an element comes.
const NO_PREALLOC: u32 = 1;

/// Kinds of maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `BPF_MAP_TYPE_HASH`; elements take memory when they are there.
    Hash,
    /// `BPF_MAP_TYPE_LRU_HASH`: a full one forgets what was used least. Takes all its memory at once.
    LruHash,
    /// `BPF_MAP_TYPE_SK_STORAGE`: a value in each socket. The key is a socket's descriptor.
    SocketStorage,
}

impl Kind {
    fn number(self) -> u32 {
        match self {
            Kind::Hash => 1,
            Kind::LruHash => 9,
            Kind::SocketStorage => 24,
        }
    }
}

/// What a map is made like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapSpec {
    /// The symbol in the object file, and the name in the kernel: 15 bytes at most.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Bytes of a key.
    pub key: usize,
    /// Bytes of a value.
    pub value: usize,
    /// Most elements; 0 for [`Kind::SocketStorage`].
    pub max: u32,
}

/// A key and its value, as they lie in memory.
pub type Entry = (Vec<u8>, Vec<u8>);

/// An open map.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    spec: MapSpec,
}

/// The prefix of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
#[derive(Default)]
struct Create {
    kind: u32,
    key: u32,
    value: u32,
    max: u32,
    flags: u32,
    inner_map: u32,
    numa_node: u32,
    name: [u8; 16],
    ifindex: u32,
    btf: u32,
    btf_key_type: u32,
    btf_value_type: u32,
}

/// For the commands on one element.
#[repr(C)]
struct Element {
    map: u32,
    zero: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The prefix of `struct bpf_map_info`.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    key: u32,
    value: u32,
    max: u32,
    flags: u32,
    name: [u8; 16],
}

impl MapSpec {
    fn flags(&self) -> u32 {
        match self.kind {
            Kind::Hash | Kind::SocketStorage => NO_PREALLOC,
            Kind::LruHash => 0,
        }
    }

    fn sizes(&self) -> io::Result<(u32, u32)> {
        let size = |bytes| u32::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput);
        Ok((size(self.key)?, size(self.value)?))
    }
}

impl Map {
    /// Makes a map. It lives as long as this handle, and as long as programs that use it.
    pub fn create(spec: MapSpec) -> Result<Self, Error> {
        let create = || {
            let (key, value) = spec.sizes()?;
            let mut attributes = Create {
                kind: spec.kind.number(),
                key,
                value,
                max: spec.max,
                flags: spec.flags(),
                name: name_bytes(spec.name),
                ..Create::default()
            };
            // Lives until the map is made.
            let btf;
            if spec.kind == Kind::SocketStorage {
                btf = types(value)?;
                attributes.btf = btf.as_raw_fd().cast_unsigned();
                (attributes.btf_key_type, attributes.btf_value_type) = (1, 2);
            }
            // SAFETY: there are no pointers in these attributes; the command returns a descriptor.
            unsafe { open(Command::MapCreate, &mut attributes) }
        };
        let fd = create().map_err(Error::refused("make map", spec.name))?;
        Ok(Self { fd, spec })
    }

    /// Opens the map with a number if it is as `spec` says.
    pub fn open(id: u32, specs: &[MapSpec]) -> Result<Option<Self>, Error> {
        let open = || {
            let fd = by_id(Command::MapById, id)?;
            let mut info = Info::default();
            // SAFETY: any bytes are a valid Info, which holds no pointers.
            unsafe { read_info(fd.as_fd(), &mut info) }?;
            let fits = |spec: &&MapSpec| {
                let facts = (info.kind, info.max, info.flags, info.name);
                let sizes = spec
                    .sizes()
                    .is_ok_and(|sizes| sizes == (info.key, info.value));
                sizes
                    && facts
                        == (
                            spec.kind.number(),
                            spec.max,
                            spec.flags(),
                            name_bytes(spec.name),
                        )
            };
            Ok(specs.iter().find(fits).map(|spec| Self { fd, spec: *spec }))
        };
        open().map_err(Error::refused("open map", id.to_string()))
    }

    /// What it was made like.
    pub fn spec(&self) -> &MapSpec {
        &self.spec
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let mut value = vec![0; self.spec.value];
        match self.element(Command::MapLookup, key, &mut value, 0) {
            Ok(()) => Ok(Some(value)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(Error::refused("read map", self.spec.name)(error)),
        }
    }

    /// Sets the value of a key, at once for whoever reads.
    pub fn set(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let mut value = value.to_vec();
        self.element(Command::MapUpdate, key, &mut value, 0)
            .map_err(Error::refused("set an element of map", self.spec.name))
    }

    /// Removes a key; false when it wasn't there.
    pub fn delete(&self, key: &[u8]) -> Result<bool, Error> {
        // The command has no value, but the buffer is checked like all others.
        let mut value = vec![0; self.spec.value];
        match self.element(Command::MapDelete, key, &mut value, 0) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(Error::refused("delete an element of map", self.spec.name)(
                error,
            )),
        }
    }

    /// Sets many elements by as few calls as the kernel allows.
    pub fn set_all(&self, elements: &[Entry]) -> Result<(), Error> {
        /// For `BPF_MAP_UPDATE_BATCH`.
        #[repr(C)]
        struct Batch {
            in_batch: u64,
            out_batch: u64,
            keys: u64,
            values: u64,
            count: u32,
            map: u32,
            element_flags: u64,
            flags: u64,
        }
        /// Below this a call for each is as good.
        const BATCH_MIN: usize = 4;
        let sized = |(k, v): &Entry| (k.len(), v.len()) == (self.spec.key, self.spec.value);
        if elements.len() < BATCH_MIN || !elements.iter().all(sized) {
            return elements
                .iter()
                .try_for_each(|(key, value)| self.set(key, value));
        }
        let keys: Vec<u8> = elements.iter().flat_map(|(key, _)| key).copied().collect();
        let values: Vec<u8> = elements
            .iter()
            .flat_map(|(_, value)| value)
            .copied()
            .collect();
        let mut batch = Batch {
            in_batch: 0,
            out_batch: 0,
            keys: keys.as_ptr() as u64,
            values: values.as_ptr() as u64,
            count: u32::try_from(elements.len()).unwrap_or(u32::MAX),
            map: self.fd.as_raw_fd().cast_unsigned(),
            element_flags: 0,
            flags: 0,
        };
        // SAFETY: both buffers hold `count` elements of the map's sizes, and the kernel only reads them.
        match unsafe { call(Command::MapUpdateBatch, &mut batch) } {
            Ok(_) => Ok(()),
            // Kernels before 5.6.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => elements
                .iter()
                .try_for_each(|(key, value)| self.set(key, value)),
            Err(error) => Err(Error::refused("set elements of map", self.spec.name)(error)),
        }
    }

    /// All elements. Those that come and go meanwhile may be left out or listed twice.
    pub fn elements(&self) -> Result<Vec<Entry>, Error> {
        let mut elements = Vec::new();
        let mut key: Option<Vec<u8>> = None;
        // Each step gives one element, so that a map that others fill for ever still ends.
        for _ in 0..=self.spec.max {
            let mut next = vec![0; self.spec.key];
            match self.next_key(key.as_deref(), &mut next) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => break,
                Err(error) => return Err(Error::refused("list map", self.spec.name)(error)),
            }
            if let Some(value) = self.get(&next)? {
                elements.push((next.clone(), value));
            }
            key = Some(next);
        }
        Ok(elements)
    }

    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<()> {
        let mut attributes = Element {
            map: self.fd.as_raw_fd().cast_unsigned(),
            zero: 0,
            key: key.map_or(0, |key| key.as_ptr() as u64),
            value: next.as_mut_ptr() as u64,
            flags: 0,
        };
        // SAFETY: both buffers have the size of a key; the kernel reads the first and writes the second.
        unsafe { call(Command::MapNextKey, &mut attributes) }.map(drop)
    }

    fn element(
        &self,
        command: Command,
        key: &[u8],
        value: &mut [u8],
        flags: u64,
    ) -> io::Result<()> {
        if (key.len(), value.len()) != (self.spec.key, self.spec.value) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut attributes = Element {
            map: self.fd.as_raw_fd().cast_unsigned(),
            zero: 0,
            key: key.as_ptr() as u64,
            value: match command {
                Command::MapDelete => 0,
                _ => value.as_mut_ptr() as u64,
            },
            flags,
        };
        // SAFETY: the buffers have the sizes of a key and a value, as checked.
        unsafe { call(command, &mut attributes) }.map(drop)
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Loads the types that a socket's value must have (`Documentation/bpf/btf.rst`): 1 a 32-bit integer, the
/// key; 2 an array of them, the value.
fn types(value: u32) -> io::Result<OwnedFd> {
    const INT: u32 = 1 << 24;
    const ARRAY: u32 = 3 << 24;
    const SIGNED_32_BITS: u32 = 1 << 24 | 32;
    let words = [
        // Name, kind, size, encoding.
        [1, INT, 4, SIGNED_32_BITS].as_slice(),
        // No name, kind, no size; element type, index type, number.
        &[0, ARRAY, 0, 1, 1, value / 4],
    ]
    .concat();
    let strings = b"\0int\0";
    const HEADER_BYTES: u32 = 24;
    let (types, strings_len) = (words.len() as u32 * 4, strings.len() as u32);
    // Magic, version 1, no flags; then the parts' places and lengths.
    let mut blob = [0xeb9f_u16.to_ne_bytes(), [1, 0]].concat();
    for word in [HEADER_BYTES, 0, types, types, strings_len] {
        blob.extend(word.to_ne_bytes());
    }
    blob.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    blob.extend(strings);
    #[repr(C)]
    struct Attributes {
        btf: u64,
        log: u64,
        length: u32,
        log_size: u32,
    }
    let mut attributes = Attributes {
        btf: blob.as_ptr() as u64,
        log: 0,
        length: blob.len() as u32,
        log_size: 0,
    };
    // SAFETY: the blob lives until the call returns, which only reads it and returns a descriptor.
    unsafe { open(Command::BtfLoad, &mut attributes) }
}
