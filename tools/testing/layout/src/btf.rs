// SPDX-License-Identifier: GPL-2.0
//! Reads BTF, the kernel's own description of its types (`Documentation/bpf/btf.rst` of Linux):
//! that of the kernel, and those of modules, which go on where the kernel's ends.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};

use crate::Record;

const MAGIC: u16 = 0xeb9f;

const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const ENUM64: u32 = 19;

struct Member {
    name: String,
    kind: u32,
    /// In bits.
    offset: u32,
    is_bit_field: bool,
}

struct Type {
    name: String,
    kind: u32,
    /// Its size, or the type that it refers to; of an array, the type of the elements.
    size_or_type: u32,
    members: Vec<Member>,
}

/// The types of a kernel, and of modules.
pub struct Types {
    /// By number; 0 is void.
    types: Vec<Type>,
    strings: Vec<u8>,
    /// How many of the two are the kernel's, on which those of each module go on.
    base: (usize, usize),
}

/// Little-endian words, one after the other.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn next(&mut self) -> Result<u32> {
        let (word, rest) = self.0.split_first_chunk().context("BTF ends too early")?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*word))
    }
}

impl Types {
    /// Those of the kernel: `data` is the section `.BTF` of vmlinux.
    pub fn of_kernel(data: &[u8]) -> Result<Self> {
        let void = Type {
            name: String::new(),
            kind: 0,
            size_or_type: 0,
            members: Vec::new(),
        };
        let mut types = Self {
            types: vec![void],
            strings: Vec::new(),
            base: (1, 0),
        };
        types.read(data)?;
        types.base = (types.types.len(), types.strings.len());
        Ok(types)
    }

    /// The records that a module has beyond those of the kernel; `data` is its section `.BTF`.
    pub fn of_module(&mut self, data: &[u8]) -> Result<BTreeMap<String, Vec<Record>>> {
        let (types, strings) = self.base;
        self.read(data)?;
        let records = self.records(types);
        self.types.truncate(types);
        self.strings.truncate(strings);
        Ok(records)
    }

    /// The records of the kernel itself.
    pub fn kernel_records(&self) -> BTreeMap<String, Vec<Record>> {
        self.records(0)
    }

    fn read(&mut self, data: &[u8]) -> Result<()> {
        let header: [u8; 24] = *data.first_chunk().context("no BTF header")?;
        ensure!(header[..2] == MAGIC.to_le_bytes(), "this is no BTF");
        let mut words = Words(&header[4..]);
        let begin = words.next()? as usize;
        let mut part = || -> Result<&[u8]> {
            let (offset, length) = (words.next()? as usize, words.next()? as usize);
            let rest = data.get(begin + offset..).context("BTF ends too early")?;
            rest.get(..length).context("BTF ends too early")
        };
        let (types, strings) = (part()?, part()?);
        self.strings.extend_from_slice(strings);
        let mut words = Words(types);
        while !words.0.is_empty() {
            let next = self.read_type(&mut words)?;
            self.types.push(next);
        }
        Ok(())
    }

    fn read_type(&self, words: &mut Words<'_>) -> Result<Type> {
        let name = self.string(words.next()?)?;
        let info = words.next()?;
        let (count, kind, flag) = (info & 0xffff, info >> 24 & 0x1f, info >> 31 == 1);
        let mut size_or_type = words.next()?;
        let mut members = Vec::new();
        match kind {
            STRUCT | UNION => {
                for _ in 0..count {
                    let (name, kind, at) = (words.next()?, words.next()?, words.next()?);
                    members.push(Member {
                        name: self.string(name)?,
                        kind,
                        offset: if flag { at & 0xff_ffff } else { at },
                        is_bit_field: flag && at >> 24 != 0,
                    });
                }
            }
            ARRAY => {
                size_or_type = words.next()?;
                words.next()?;
                words.next()?;
            }
            _ => {
                let more = match kind {
                    1 | 14 | 17 => 1,
                    ENUM | 13 => 2 * count,
                    15 | ENUM64 => 3 * count,
                    2 | 7..=12 | 16 | 18 => 0,
                    _ => bail!("a type of the unknown kind {kind}"),
                };
                for _ in 0..more {
                    words.next()?;
                }
            }
        }
        Ok(Type {
            name,
            kind,
            size_or_type,
            members,
        })
    }

    fn string(&self, offset: u32) -> Result<String> {
        let rest = self.strings.get(offset as usize..);
        let rest = rest.context("a name outside of BTF")?;
        let end = rest.iter().position(|&byte| byte == 0).unwrap_or(0);
        Ok(String::from_utf8_lossy(&rest[..end]).into_owned())
    }

    fn records(&self, from: usize) -> BTreeMap<String, Vec<Record>> {
        let mut records = BTreeMap::new();
        for record in self.types.get(from..).unwrap_or_default() {
            if matches!(record.kind, STRUCT | UNION) && !record.name.is_empty() {
                self.add(&record.name, record, &mut records);
            }
        }
        records
    }

    /// Adds a record, and those without a name in it, by the names that bindgen gives them.
    fn add(&self, name: &str, record: &Type, records: &mut BTreeMap<String, Vec<Record>>) {
        let named = record
            .members
            .iter()
            .filter(|member| !member.name.is_empty() && !member.is_bit_field);
        let offsets = named
            .map(|member| (member.name.clone(), u64::from(member.offset / 8)))
            .collect();
        let size = u64::from(record.size_or_type);
        let known = records.entry(name.to_owned()).or_default();
        known.push(Record { size, offsets });
        let nameless = record
            .members
            .iter()
            .filter_map(|member| self.nameless(member.kind));
        for (inner, number) in nameless.zip(1..) {
            if inner.kind != ENUM && inner.kind != ENUM64 {
                self.add(&format!("{name}__bindgen_ty_{number}"), inner, records);
            }
        }
    }

    /// The type without a name that a member is, or that it is an array of.
    fn nameless(&self, number: u32) -> Option<&Type> {
        let found = self.types.get(number as usize)?;
        match found.kind {
            ARRAY | VOLATILE | CONST => self.nameless(found.size_or_type),
            STRUCT | UNION | ENUM | ENUM64 => found.name.is_empty().then_some(found),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `types` and `strings` behind a header.
    fn btf(types: &[u32], strings: &[u8]) -> Vec<u8> {
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_le_bytes()).collect();
        let (length, names) = (types.len() as u32, strings.len() as u32);
        let mut data = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, length, length, names] {
            data.extend_from_slice(&word.to_le_bytes());
        }
        data.extend_from_slice(&types);
        data.extend_from_slice(strings);
        data
    }

    const KERNEL: [u32; 19] = [
        // 1: int
        1,
        1 << 24,
        4,
        32, // 2: a union without a name, of one int
        0,
        UNION << 24 | 1,
        4,
        5,
        1,
        0, // 3: struct outer { int a; union { int b; }; }
        7,
        STRUCT << 24 | 2,
        8,
        13,
        1,
        0,
        0,
        2,
        32,
    ];
    const NAMES: &[u8] = b"\0int\0b\0outer\0a\0";

    #[test]
    fn records_within_records_have_bindgens_names() {
        let types = Types::of_kernel(&btf(&KERNEL, NAMES)).unwrap();
        let records = types.kernel_records();
        assert_eq!(records["outer"][0].size, 8);
        assert_eq!(records["outer"][0].offsets, [("a".to_owned(), 0)].into());
        let inner = &records["outer__bindgen_ty_1"][0];
        assert_eq!((inner.size, inner.offsets["b"]), (4, 0));
    }

    #[test]
    fn modules_go_on_where_the_kernel_ends() {
        let mut types = Types::of_kernel(&btf(&KERNEL, NAMES)).unwrap();
        let from = NAMES.len() as u32;
        // struct more { struct outer a; }
        let module = btf(&[from, STRUCT << 24 | 1, 8, 13, 3, 0], b"more\0");
        for _ in 0..2 {
            let records = types.of_module(&module).unwrap();
            assert_eq!(records.len(), 1);
            assert_eq!(records["more"][0].offsets, [("a".to_owned(), 0)].into());
        }
    }

    #[test]
    fn what_ends_too_early_is_refused() {
        let data = btf(&KERNEL, NAMES);
        for length in 0..data.len() {
            assert!(Types::of_kernel(&data[..length]).is_err(), "{length}");
        }
    }
}
