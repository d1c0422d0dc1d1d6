// SPDX-License-Identifier: GPL-2.0
//! What a cache has of the blobs after a power cut: each byte that counts as data is compared with
//! the source.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use cachefiles_harness::session::Blobs;
use cachefiles_protocol::cookie_file_name;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// Ranges of bytes, in order.
pub type Ranges = Vec<Range<u64>>;

/// The unit of comparison.
const BLOCK: usize = 4096;

/// Bytes that differ from the source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wrong {
    /// How many bytes are in blocks that differ.
    pub bytes: u64,
    /// How many of them are in blocks of zeros.
    pub zeros: u64,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Survivor {
    /// What counts as data, by blob.
    pub data: BTreeMap<String, Ranges>,
    /// What of it is wrong.
    pub wrong: Wrong,
    /// Where the first wrong byte is.
    pub first_wrong: Option<String>,
    /// Files of no blob.
    pub strange: Vec<String>,
}

impl Survivor {
    /// Looks through the files of a cache whose file system was just mounted. Nothing of them is in
    /// the page cache yet, so that blocks that were allocated and not written count as holes.
    pub fn find(cache: &Path, blobs: &Blobs) -> Result<Self> {
        let names = blobs
            .iter()
            .map(|(key, content)| (cookie_file_name(key), (key, content.as_slice())))
            .collect::<BTreeMap<_, _>>();
        let mut found = Self::default();
        let mut files = Vec::new();
        let root = cache.join("cache");
        if root.exists() {
            list(&root, &mut files).context("listing the cache")?;
        }
        for path in files {
            let name = path.file_name().unwrap_or_default();
            let Some((key, content)) = names.get(name.as_encoded_bytes()) else {
                found.strange.push(path.display().to_string());
                continue;
            };
            let key = String::from_utf8_lossy(key).into_owned();
            let file = File::open(&path).with_context(|| path.display().to_string())?;
            let ranges = data_ranges(&file).with_context(|| path.display().to_string())?;
            for range in &ranges {
                found.compare(&key, &file, range.clone(), content)?;
            }
            found.data.insert(key, ranges);
        }
        Ok(found)
    }

    fn compare(&mut self, key: &str, file: &File, range: Range<u64>, blob: &[u8]) -> Result<()> {
        let mut seen = [0; BLOCK];
        for at in range.step_by(BLOCK) {
            let length = read_up_to(file, &mut seen, at)
                .with_context(|| format!("reading {key} at {at}"))?;
            let seen = &seen[..length];
            let from = usize::try_from(at)?.min(blob.len());
            let expected = &blob[from..blob.len().min(from + length)];
            // Behind the blob's end are zeros.
            let (body, tail) = seen.split_at(expected.len());
            if body == expected && tail.iter().all(|&byte| byte == 0) {
                continue;
            }
            self.wrong.bytes += length as u64;
            if seen.iter().all(|&byte| byte == 0) {
                self.wrong.zeros += length as u64;
            }
            self.first_wrong
                .get_or_insert_with(|| format!("{key} at {at}"));
        }
        Ok(())
    }
}

fn list(directory: &Path, files: &mut Vec<std::path::PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// What of a file is data, by the file system's own word.
fn data_ranges(file: &File) -> Result<Ranges> {
    let mut ranges = Vec::new();
    let mut at = 0;
    loop {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(ranges),
            Err(errno) => bail!("looking for data: {errno}"),
        };
        at = seek(file, SeekFrom::Hole(start)).context("looking for a hole")?;
        ranges.push(start..at);
    }
}

fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], at + length as u64)? {
            0 => break,
            count => length += count,
        }
    }
    Ok(length)
}

/// How many bytes of `range` are in `ranges`.
pub fn covered(range: &Range<u64>, ranges: &[Range<u64>]) -> u64 {
    let parts = ranges.iter().map(|other| {
        let (start, end) = (range.start.max(other.start), range.end.min(other.end));
        end.saturating_sub(start)
    });
    parts.sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn bytes_that_differ_and_zeros_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("cache/Ierofs,image/@12");
        fs::create_dir_all(&volume).unwrap();
        let blob: Vec<u8> = (0..4 * BLOCK + 100)
            .map(|at| (at % 251) as u8 + 1)
            .collect();
        let blobs = Blobs::from([(b"blob".to_vec(), Arc::new(blob.clone()))]);
        let file = File::create(volume.join("Dblob")).unwrap();
        // The first block is right, the second a hole, the third zeros, the fourth other data, the
        // last right, with zeros behind the blob's end.
        file.set_len(5 * BLOCK as u64).unwrap();
        file.write_all_at(&blob[..BLOCK], 0).unwrap();
        file.write_all_at(&[0; BLOCK], 2 * BLOCK as u64).unwrap();
        file.write_all_at(&[7; BLOCK], 3 * BLOCK as u64).unwrap();
        file.write_all_at(&blob[4 * BLOCK..], 4 * BLOCK as u64)
            .unwrap();
        fs::write(volume.join("Dother"), b"x").unwrap();
        let found = Survivor::find(dir.path(), &blobs).unwrap();
        let wrong = Wrong {
            bytes: 2 * BLOCK as u64,
            zeros: BLOCK as u64,
        };
        assert_eq!(found.wrong, wrong);
        assert_eq!(found.first_wrong.as_deref(), Some("blob at 8192"));
        assert_eq!(found.strange.len(), 1);
        assert_eq!(covered(&(0..4096), &found.data["blob"]), 4096);
    }

    #[test]
    fn what_is_covered_is_counted() {
        let ranges = [0..10, 20..30];
        assert_eq!(covered(&(5..25), &ranges), 10);
        assert_eq!(covered(&(10..20), &ranges), 0);
        assert_eq!(covered(&(0..40), &ranges), 20);
    }
}
