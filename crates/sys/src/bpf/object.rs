//! Object files: what `clang -target bpf` makes, as far as programs need it.
//!
//! ELF for 64 bits, little endian; each program is a section of its own, and asks for maps by relocations
//! of kind `R_BPF_64_64` to symbols that are defined elsewhere.

/// One instruction (`struct bpf_insn`).
pub(super) const INSTRUCTION_BYTES: usize = 8;

const HEADER_BYTES: usize = 64;
const SECTION_BYTES: usize = 64;
const SYMBOL_BYTES: usize = 24;
const RELOCATION_BYTES: usize = 16;
const EM_BPF: u16 = 247;
const SHT_SYMTAB: u32 = 2;
const SHT_REL: u32 = 9;
const R_BPF_64_64: u32 = 1;

/// A file that is no object file of ours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("object file: {0}")]
pub struct ObjectError(&'static str);

/// The programs of an object file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub(super) programs: Vec<Code>,
}

/// A program before it is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Code {
    /// Its section.
    pub(super) section: String,
    pub(super) instructions: Vec<u8>,
    /// The instructions, by number, that load the address of a map, with its symbol.
    pub(super) maps: Vec<(usize, String)>,
}

/// A line of the table of sections.
struct Section<'a> {
    name: u32,
    kind: u32,
    data: &'a [u8],
    link: u32,
    info: u32,
}

impl Object {
    /// Reads an object file.
    pub fn parse(file: &[u8]) -> Result<Self, ObjectError> {
        let sections = sections(file)?;
        let names = sections
            .get(usize::from(u16_at(file, 62)?))
            .ok_or(ObjectError("no section names"))?
            .data;
        let mut programs = Vec::new();
        for section in sections.iter().filter(|section| section.kind == SHT_REL) {
            let target = sections
                .get(section.info as usize)
                .ok_or(ObjectError("relocations of no section"))?;
            let symbols = sections
                .get(section.link as usize)
                .filter(|symbols| symbols.kind == SHT_SYMTAB)
                .ok_or(ObjectError("relocations without symbols"))?;
            let strings = sections
                .get(symbols.link as usize)
                .ok_or(ObjectError("symbols without names"))?
                .data;
            if target.data.len() % INSTRUCTION_BYTES != 0 {
                return Err(ObjectError("a part of an instruction"));
            }
            programs.push(Code {
                section: text_at(names, target.name)?,
                instructions: target.data.to_vec(),
                maps: relocations(section.data, symbols.data, strings, target.data.len())?,
            });
        }
        Ok(Self { programs })
    }
}

fn sections(file: &[u8]) -> Result<Vec<Section<'_>>, ObjectError> {
    // 64 bits, little endian.
    if file.get(..6) != Some(b"\x7fELF\x02\x01") || u16_at(file, 18)? != EM_BPF {
        return Err(ObjectError("not an object file for BPF"));
    }
    if file.len() < HEADER_BYTES || usize::from(u16_at(file, 58)?) != SECTION_BYTES {
        return Err(ObjectError("no table of sections"));
    }
    let start = offset_at(file, 40)?;
    let count = usize::from(u16_at(file, 60)?);
    let table = slice(file, start, count * SECTION_BYTES)?;
    table
        .chunks_exact(SECTION_BYTES)
        .map(|line| {
            let kind = u32_at(line, 4)?;
            /// A section that takes no room in the file.
            const SHT_NOBITS: u32 = 8;
            let data = match kind {
                SHT_NOBITS => &[][..],
                _ => slice(file, offset_at(line, 24)?, offset_at(line, 32)?)?,
            };
            Ok(Section {
                name: u32_at(line, 0)?,
                kind,
                data,
                link: u32_at(line, 40)?,
                info: u32_at(line, 44)?,
            })
        })
        .collect()
}

fn relocations(
    table: &[u8],
    symbols: &[u8],
    strings: &[u8],
    code_bytes: usize,
) -> Result<Vec<(usize, String)>, ObjectError> {
    let lines = table.chunks_exact(RELOCATION_BYTES);
    lines
        .map(|line| {
            let at = offset_at(line, 0)?;
            // The instruction is two, the second with the upper half of the address.
            if at % INSTRUCTION_BYTES != 0 || at + 2 * INSTRUCTION_BYTES > code_bytes {
                return Err(ObjectError("a relocation outside of the code"));
            }
            if u32_at(line, 8)? != R_BPF_64_64 {
                return Err(ObjectError("a relocation that is not of a map"));
            }
            let symbol = u32_at(line, 12)? as usize * SYMBOL_BYTES;
            let symbol = slice(symbols, symbol, SYMBOL_BYTES)?;
            if u16_at(symbol, 6)? != 0 {
                return Err(ObjectError("a relocation to data"));
            }
            Ok((
                at / INSTRUCTION_BYTES,
                text_at(strings, u32_at(symbol, 0)?)?,
            ))
        })
        .collect()
}

fn slice(bytes: &[u8], start: usize, len: usize) -> Result<&[u8], ObjectError> {
    let end = start.checked_add(len).ok_or(ObjectError("too short"))?;
    bytes.get(start..end).ok_or(ObjectError("too short"))
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, ObjectError> {
    let bytes = slice(bytes, at, 2)?.first_chunk();
    Ok(u16::from_le_bytes(*bytes.expect("two bytes")))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, ObjectError> {
    let bytes = slice(bytes, at, 4)?.first_chunk();
    Ok(u32::from_le_bytes(*bytes.expect("four bytes")))
}

fn offset_at(bytes: &[u8], at: usize) -> Result<usize, ObjectError> {
    let bytes = slice(bytes, at, 8)?.first_chunk();
    let offset = u64::from_le_bytes(*bytes.expect("eight bytes"));
    // No file of ours is larger, so that sums don't overflow.
    u32::try_from(offset)
        .map(|offset| offset as usize)
        .map_err(|_| ObjectError("too long"))
}

fn text_at(strings: &[u8], at: u32) -> Result<String, ObjectError> {
    let rest = strings.get(at as usize..).ok_or(ObjectError("too short"))?;
    let text = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8(text.to_vec()).map_err(|_| ObjectError("a name that is no text"))
}
