// SPDX-License-Identifier: GPL-2.0
//! Compares the layouts in bindings that bindgen made with those in a kernel's BTF: is a struct as
//! large, and is each member where it was when the kernel was compiled?
//!
//! bindgen reads the headers with libclang and its own idea of the compiler's flags; the kernel was
//! built by another compiler. Where both give a struct another shape, Rust writes into the wrong
//! member, and nothing else would tell.

#![forbid(unsafe_code)]

pub mod bindings;
pub mod btf;

use std::collections::BTreeMap;

/// Shape of one struct or union.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// In bytes.
    pub size: u64,
    /// Offsets of the members that have a name, in bytes. Bit-fields are left out.
    pub offsets: BTreeMap<String, u64>,
}

/// What became of the comparison of one record.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The kernel has no record of this name.
    Unknown,
    /// The size is the same, and so many offsets, none of which differ.
    Same(usize),
    /// What differs, a line each.
    Different(Vec<String>),
}

/// Compares `ours` with those of the kernel's records that have its name: one has to be the same.
pub fn compare(ours: &Record, kernel: &[Record]) -> Verdict {
    let mut best: Option<Vec<String>> = None;
    for theirs in kernel {
        let mut lines = Vec::new();
        if ours.size != theirs.size {
            lines.push(format!(
                "size: bindings {}, kernel {}",
                ours.size, theirs.size
            ));
        }
        let mut same = 0;
        for (name, offset) in &ours.offsets {
            match offset_of(theirs, name) {
                Some(known) if known == *offset => same += 1,
                Some(known) => lines.push(format!("{name}: bindings {offset}, kernel {known}")),
                None => {}
            }
        }
        if lines.is_empty() {
            return Verdict::Same(same);
        }
        if best.as_ref().is_none_or(|best| lines.len() < best.len()) {
            best = Some(lines);
        }
    }
    best.map_or(Verdict::Unknown, Verdict::Different)
}

/// bindgen appends an underscore to what is a keyword in Rust.
fn offset_of(record: &Record, name: &str) -> Option<u64> {
    let keyword = || record.offsets.get(name.strip_suffix('_')?);
    record.offsets.get(name).or_else(keyword).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(size: u64, offsets: &[(&str, u64)]) -> Record {
        let offsets = offsets.iter().map(|(name, at)| ((*name).to_owned(), *at));
        Record {
            size,
            offsets: offsets.collect(),
        }
    }

    #[test]
    fn keywords_have_an_underscore_in_bindings() {
        let ours = record(8, &[("type_", 4), ("a_", 0)]);
        let kernel = record(8, &[("type", 4), ("a_", 0)]);
        assert_eq!(compare(&ours, &[kernel]), Verdict::Same(2));
    }

    #[test]
    fn a_moved_member_is_named() {
        let ours = record(16, &[("a", 0), ("b", 8)]);
        let kernel = record(16, &[("a", 0), ("b", 4)]);
        let lines = vec!["b: bindings 8, kernel 4".to_owned()];
        assert_eq!(compare(&ours, &[kernel]), Verdict::Different(lines));
    }

    #[test]
    fn one_of_several_of_a_name_is_enough() {
        let ours = record(16, &[("a", 0)]);
        let other = record(4, &[("a", 0)]);
        assert_eq!(compare(&ours, &[other, ours.clone()]), Verdict::Same(1));
        assert_eq!(compare(&ours, &[]), Verdict::Unknown);
    }
}
