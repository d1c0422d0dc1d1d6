// SPDX-License-Identifier: GPL-2.0
//! Files with known contents, and the comparison of what was read with what has to be there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

/// What the cache stores is whole blocks of this many bytes.
pub const BLOCK: usize = 4096;

/// `length` bytes that follow from `seed`: no two blocks of a file are equal, nor blocks of two
/// files.
pub fn pattern(seed: u64, length: usize) -> Vec<u8> {
    // The generator of SplitMix64: one multiplication a word is fast enough under emulation.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bytes.extend_from_slice(&(word ^ (word >> 27)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Files by name, with what each has to contain.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    files: BTreeMap<String, Vec<u8>>,
}

impl Tree {
    /// A number of files of one block to a megabyte.
    ///
    /// All of them are whole blocks: whether a read stores the block that the end of a file cuts is
    /// up to netfs (its zeroes after the end and its data complete the same folio, and the last of
    /// the two decides), so only of these files is it known that the cache has all of them.
    pub fn blocks(seed: u64) -> Self {
        let borders = [1, 2, 16, 74, 257];
        Self::of_sizes(
            seed,
            borders
                .into_iter()
                .chain(1..=24)
                .map(|blocks| blocks * BLOCK),
        )
    }

    /// Files that end within a block, and one without data.
    pub fn odd(seed: u64) -> Self {
        Self::of_sizes(seed, [0, 1, 4095, 4097, 65_537, 300_000].into_iter())
    }

    fn of_sizes(seed: u64, sizes: impl Iterator<Item = usize>) -> Self {
        let mut tree = Self::default();
        for (index, size) in (0..).zip(sizes) {
            tree.set(&format!("f{index:02}"), pattern(seed << 16 | index, size));
        }
        tree
    }

    /// What the file `name` has to contain from now on.
    pub fn set(&mut self, name: &str, contents: Vec<u8>) {
        self.files.insert(name.to_owned(), contents);
    }

    /// The contents of one file, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Result<&mut Vec<u8>> {
        self.files.get_mut(name).context("no file of this name")
    }

    /// The contents of one file.
    pub fn get(&self, name: &str) -> Result<&[u8]> {
        let contents = self.files.get(name).context("no file of this name")?;
        Ok(contents)
    }

    /// Those of the files for whose name `wanted` says so.
    pub fn only(&self, wanted: impl Fn(&str) -> bool) -> Self {
        let files = self.files.iter().filter(|(name, _)| wanted(name));
        Self {
            files: files
                .map(|(name, text)| (name.clone(), text.clone()))
                .collect(),
        }
    }

    /// How many files have data.
    pub fn with_data(&self) -> usize {
        self.files.values().filter(|text| !text.is_empty()).count()
    }

    /// Writes all of it to the directory `dir`, which is made.
    pub fn write(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        for (name, contents) in &self.files {
            let path = dir.join(name);
            fs::write(&path, contents).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }

    /// Reads every file of the directory `dir` and compares it.
    pub fn check(&self, dir: &Path) -> Result<()> {
        for (name, contents) in &self.files {
            check_file(&dir.join(name), contents)?;
        }
        Ok(())
    }
}

/// Reads a file from its beginning to its end and compares it with `expected`.
pub fn check_file(path: &Path, expected: &[u8]) -> Result<()> {
    let mut seen = Vec::with_capacity(expected.len() + 1);
    File::open(path)
        .and_then(|mut file| file.read_to_end(&mut seen))
        .with_context(|| format!("reading {}", path.display()))?;
    compare(&seen, expected).with_context(|| format!("{} has wrong contents", path.display()))
}

fn compare(seen: &[u8], expected: &[u8]) -> Result<()> {
    let differing = seen.iter().zip(expected).position(|(a, b)| a != b);
    if let Some(offset) = differing {
        let end = seen.len().min(offset + 8);
        let zeros = seen
            .get(offset..)
            .is_some_and(|rest| rest.iter().all(|&byte| byte == 0));
        bail!(
            "byte {offset} of {}: {:02x?}{}, expected {:02x?}",
            expected.len(),
            seen.get(offset..end).unwrap_or_default(),
            if zeros { " and zeros to the end" } else { "" },
            expected.get(offset..end).unwrap_or_default(),
        );
    }
    ensure!(
        seen.len() == expected.len(),
        "{} bytes, expected {}",
        seen.len(),
        expected.len()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_two_seeds_differ() {
        assert_eq!(pattern(1, 13), pattern(1, 13));
        assert_eq!(pattern(1, 13).len(), 13);
        assert_ne!(pattern(1, 13), pattern(2, 13));
        assert_ne!(pattern(1, 8192).get(..4096), pattern(1, 8192).get(4096..));
    }

    #[test]
    fn a_difference_is_found_and_so_is_a_wrong_length() {
        assert!(compare(b"abc", b"abc").is_ok());
        let text = compare(b"ab\0", b"abc").unwrap_err().to_string();
        assert!(text.starts_with("byte 2 of 3: [00] and zeros"), "{text}");
        assert!(compare(b"ab", b"abc").is_err());
        assert!(compare(b"abcd", b"abc").is_err());
    }

    #[test]
    fn a_tree_is_what_it_was_written_as() {
        let dir = std::env::temp_dir().join(format!("content-{}", std::process::id()));
        let mut tree = Tree::odd(3);
        tree.write(&dir).unwrap();
        let good = tree.check(&dir);
        tree.set("f03", vec![0; 4097]);
        let bad = tree.check(&dir);
        fs::remove_dir_all(&dir).unwrap();
        assert!(good.is_ok());
        assert!(bad.is_err());
    }
}
