// SPDX-License-Identifier: GPL-2.0
//! As much of a kernel module's file (a relocatable ELF file for x86-64) as is needed to list the
//! calls that it makes into the kernel.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

const SHT_SYMTAB: u32 = 2;
const SHT_RELA: u32 = 4;
const SHF_EXECINSTR: u64 = 4;
const STT_FUNC: u8 = 2;
const R_X86_64_PC32: u32 = 2;
const R_X86_64_PLT32: u32 = 4;
/// The operation codes of `call` and `jmp` with a distance of 32 bits.
const CALL: u8 = 0xe8;
const JUMP: u8 = 0xe9;

/// A call of a function that is not in the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The function that calls.
    pub caller: String,
    /// What it calls.
    pub callee: String,
    /// The return address, as bytes behind the start of `caller`.
    pub at: u64,
    /// The call is the last thing that `caller` does, and leaves no return address.
    pub is_tail: bool,
    /// What was put on the stack for it right before: its last argument, where it has more than
    /// six.
    pub pushed: Option<u32>,
}

/// What is looked at of a module.
#[derive(Debug, Default)]
pub struct Module {
    /// Its calls into the kernel, by section and place.
    pub calls: Vec<Call>,
    /// Calls within the module: caller and the place there, and what is called.
    pub inner: BTreeMap<(String, u64), String>,
    /// Name and size of the sections that stay in memory and have code in them.
    pub code: Vec<(String, u64)>,
}

struct Section {
    name: String,
    kind: u32,
    flags: u64,
    offset: usize,
    size: usize,
    link: usize,
    info: usize,
}

struct Symbol {
    name: String,
    section: u16,
    value: u64,
    size: u64,
    kind: u8,
}

/// Numbers of the file, which are little-endian.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn part(&self, offset: usize, size: usize) -> Result<&'a [u8]> {
        let end = offset.checked_add(size).context("an offset overflows")?;
        self.0.get(offset..end).context("the file ends too soon")
    }

    fn number<const N: usize>(&self, offset: usize) -> Result<u64> {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(self.part(offset, N)?);
        Ok(u64::from_le_bytes(bytes))
    }

    fn u16(&self, offset: usize) -> Result<u16> {
        Ok(self.number::<2>(offset)? as u16)
    }

    fn u32(&self, offset: usize) -> Result<u32> {
        Ok(self.number::<4>(offset)? as u32)
    }

    fn u64(&self, offset: usize) -> Result<u64> {
        self.number::<8>(offset)
    }

    fn size(&self, offset: usize) -> Result<usize> {
        Ok(usize::try_from(self.u64(offset)?)?)
    }

    fn string(&self, offset: usize) -> Result<String> {
        let rest = self.0.get(offset..).context("a name outside the file")?;
        let end = rest.iter().position(|&byte| byte == 0);
        let name = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        Ok(String::from_utf8_lossy(name).into_owned())
    }
}

impl Module {
    /// Reads a module's file.
    pub fn parse(file: &[u8]) -> Result<Self> {
        let bytes = Bytes(file);
        ensure!(
            bytes.part(0, 6)? == b"\x7fELF\x02\x01",
            "not an ELF file of 64 bits, little-endian"
        );
        let sections = sections(&bytes)?;
        let symbols = symbols(&bytes, &sections)?;
        let mut module = Self::default();
        for section in &sections {
            let target = sections.get(section.info);
            let Some(target) = target.filter(|_| section.kind == SHT_RELA) else {
                continue;
            };
            if target.flags & SHF_EXECINSTR != 0 {
                module.add_calls(&bytes, section, target, &symbols)?;
            }
        }
        module.code = sections
            .iter()
            .filter(|section| section.flags & SHF_EXECINSTR != 0 && section.size > 0)
            .filter(|section| !section.name.starts_with(".init"))
            .map(|section| (section.name.clone(), section.size as u64))
            .collect();
        Ok(module)
    }

    fn add_calls(
        &mut self,
        bytes: &Bytes<'_>,
        relocations: &Section,
        code: &Section,
        symbols: &[Symbol],
    ) -> Result<()> {
        const ENTRY: usize = 24;
        for index in 0..relocations.size / ENTRY {
            let entry = relocations.offset + index * ENTRY;
            let place = bytes.u64(entry)?;
            let (kind, number) = (bytes.u32(entry + 8)?, bytes.u32(entry + 12)?);
            let addend = bytes.u64(entry + 16)? as i64;
            if !matches!(kind, R_X86_64_PC32 | R_X86_64_PLT32) || place == 0 {
                continue;
            }
            let instruction = code.offset + usize::try_from(place)? - 1;
            let operation = bytes.part(instruction, 1)?[0];
            if !matches!(operation, CALL | JUMP) {
                continue;
            }
            let symbol = symbols
                .get(number as usize)
                .context("a relocation without a symbol")?;
            let Some(caller) = function_at(symbols, relocations.info, place) else {
                continue;
            };
            let at = place + 4 - caller.value;
            if symbol.section == 0 {
                self.calls.push(Call {
                    caller: caller.name.clone(),
                    callee: symbol.name.clone(),
                    at,
                    is_tail: operation == JUMP,
                    pushed: pushed_before(bytes, code, instruction),
                });
            } else if operation == CALL {
                // The distance is counted from behind its own four bytes.
                let value = symbol.value.wrapping_add_signed(addend + 4);
                if let Some(callee) = function_at(symbols, usize::from(symbol.section), value) {
                    self.inner
                        .insert((caller.name.clone(), at), callee.name.clone());
                }
            }
        }
        Ok(())
    }
}

/// The constant that the instructions right before a call put on the stack.
fn pushed_before(bytes: &Bytes<'_>, code: &Section, call: usize) -> Option<u32> {
    /// How far before the call, in bytes.
    const NEAR: usize = 48;
    /// `movl $constant, (%rsp)`, without the constant.
    const MOVE: [u8; 3] = [0xc7, 0x04, 0x24];
    let start = call.saturating_sub(NEAR).max(code.offset);
    let before = bytes.part(start, call - start).ok()?;
    let found = before.windows(7).rev().find(|part| part.starts_with(&MOVE));
    let constant = found?.get(3..)?;
    Some(u32::from_le_bytes(constant.try_into().ok()?))
}

fn function_at(symbols: &[Symbol], section: usize, place: u64) -> Option<&Symbol> {
    symbols.iter().find(|symbol| {
        symbol.kind == STT_FUNC
            && usize::from(symbol.section) == section
            && (symbol.value..symbol.value + symbol.size).contains(&place)
    })
}

fn sections(bytes: &Bytes<'_>) -> Result<Vec<Section>> {
    let table = bytes.size(40)?;
    let (entry, count) = (usize::from(bytes.u16(58)?), usize::from(bytes.u16(60)?));
    let names = usize::from(bytes.u16(62)?);
    let names = bytes.size(table + names * entry + 24)?;
    (0..count)
        .map(|index| {
            let at = table + index * entry;
            Ok(Section {
                name: bytes.string(names + bytes.u32(at)? as usize)?,
                kind: bytes.u32(at + 4)?,
                flags: bytes.u64(at + 8)?,
                offset: bytes.size(at + 24)?,
                size: bytes.size(at + 32)?,
                link: bytes.u32(at + 40)? as usize,
                info: bytes.u32(at + 44)? as usize,
            })
        })
        .collect()
}

fn symbols(bytes: &Bytes<'_>, sections: &[Section]) -> Result<Vec<Symbol>> {
    const ENTRY: usize = 24;
    let table = sections
        .iter()
        .find(|section| section.kind == SHT_SYMTAB)
        .context("no symbols in the module's file")?;
    let names = sections.get(table.link).context("no names of symbols")?;
    (0..table.size / ENTRY)
        .map(|index| {
            let at = table.offset + index * ENTRY;
            Ok(Symbol {
                name: bytes.string(names.offset + bytes.u32(at)? as usize)?,
                kind: bytes.part(at + 4, 1)?[0] & 0xf,
                section: bytes.u16(at + 6)?,
                value: bytes.u64(at + 8)?,
                size: bytes.u64(at + 16)?,
            })
        })
        .collect()
}
