// SPDX-License-Identifier: GPL-2.0
//! The index of a blob: a digest of each of its chunks, by which a part of it can be verified.
//!
//! All numbers are little-endian:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `CFCHUNKS` |
//! | 8 | 4 | version of the format, 1 |
//! | 12 | 4 | algorithm of the digests, 1: SHA-256 |
//! | 16 | 8 | size of the blob in bytes |
//! | 24 | 4 | size of a chunk in bytes: a power of two from 4096 to 1048576 |
//! | 28 | 4 | 0 |
//! | 32 | 32 each | the digest of each chunk; the last chunk is what is left |
//!
//! It says nothing about who made it: whoever can replace the blob can replace the index with it,
//! unless the digest of the whole index is known from elsewhere.

use std::io::{self, Read};
use std::ops::RangeInclusive;

use sha2::{Digest as _, Sha256};

use super::error::{Fault, SourceError};

/// The end of the name of a blob's index.
pub const SUFFIX: &str = ".chunks";

/// How large a chunk may be, in bytes: it is fetched at once.
pub const CHUNK_SIZES: RangeInclusive<u32> = 4096..=1 << 20;

/// How large an index may be: one of a terabyte in chunks of half a megabyte.
pub const MAX_SIZE: u64 = 64 << 20;

const MAGIC: &[u8; 8] = b"CFCHUNKS";
const VERSION: u32 = 1;
const SHA256: u32 = 1;
const HEADER: usize = 32;

/// SHA-256 of something.
pub type Digest = [u8; 32];

/// An index that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    size: u64,
    chunk_size: u32,
    chunks: Vec<Digest>,
    digest: Digest,
}

fn useless(message: impl Into<String>) -> SourceError {
    SourceError::new(Fault::Useless, message)
}

fn digest_of(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// Writes the index of a blob that is read to its end.
pub fn make(mut blob: impl Read, chunk_size: u32) -> io::Result<Vec<u8>> {
    let mut digests = Vec::new();
    let mut size = 0u64;
    loop {
        let mut chunk = Vec::new();
        let read = blob
            .by_ref()
            .take(chunk_size.into())
            .read_to_end(&mut chunk)?;
        if read == 0 {
            break;
        }
        size += u64::try_from(read).map_err(io::Error::other)?;
        digests.extend(digest_of(&chunk));
    }
    let mut index = MAGIC.to_vec();
    index.extend(VERSION.to_le_bytes());
    index.extend(SHA256.to_le_bytes());
    index.extend(size.to_le_bytes());
    index.extend(chunk_size.to_le_bytes());
    index.extend([0; 4]);
    index.extend(digests);
    Ok(index)
}

impl Index {
    /// Understands an index, or says why it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, SourceError> {
        let (header, digests) = bytes
            .split_at_checked(HEADER)
            .ok_or_else(|| useless("the index is too short for one"))?;
        if !header.starts_with(MAGIC) {
            return Err(useless("the index is none: it begins with something else"));
        }
        let number = |at: usize| {
            let bytes = header.get(at..at + 4).and_then(|it| it.try_into().ok());
            u32::from_le_bytes(bytes.unwrap_or_default())
        };
        let (version, algorithm, chunk_size) = (number(8), number(12), number(24));
        if (version, algorithm, number(28)) != (VERSION, SHA256, 0) {
            return Err(useless(format!(
                "the index is of version {version} with algorithm {algorithm}: not known here"
            )));
        }
        if !chunk_size.is_power_of_two() || !CHUNK_SIZES.contains(&chunk_size) {
            return Err(useless(format!(
                "the index has chunks of {chunk_size} bytes"
            )));
        }
        let size = u64::from(number(16)) | u64::from(number(20)) << 32;
        let pieces = digests.chunks_exact(32);
        let rest = pieces.remainder();
        let chunks: Vec<Digest> = pieces.filter_map(|it| it.try_into().ok()).collect();
        let wanted = size.div_ceil(chunk_size.into());
        if !rest.is_empty() || u64::try_from(chunks.len()).ok() != Some(wanted) {
            return Err(useless("the index has not as many digests as it says"));
        }
        Ok(Self {
            size,
            chunk_size,
            chunks,
            digest: digest_of(bytes),
        })
    }

    /// Size of the blob in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Size of a chunk in bytes.
    pub fn chunk_size(&self) -> u64 {
        self.chunk_size.into()
    }

    /// The digest of the index itself.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Compares whole chunks, from that offset of the blob on, with their digests.
    pub fn verify(&self, data: &[u8], offset: u64) -> Result<(), SourceError> {
        let chunk_size = usize::try_from(self.chunk_size).unwrap_or(usize::MAX);
        let end = u64::try_from(data.len())
            .ok()
            .and_then(|it| offset.checked_add(it));
        let is_end = |end: u64| end == self.size || end % self.chunk_size() == 0;
        if offset % self.chunk_size() != 0
            || !end.is_some_and(|end| end <= self.size && is_end(end))
        {
            return Err(useless("what is to be verified is not of whole chunks"));
        }
        for (number, chunk) in (offset / self.chunk_size()..).zip(data.chunks(chunk_size)) {
            let wanted = usize::try_from(number)
                .ok()
                .and_then(|at| self.chunks.get(at));
            if wanted != Some(&digest_of(chunk)) {
                let at = number * self.chunk_size();
                let message = format!(
                    "bytes {at} to {} do not match their digest in the index",
                    at + u64::try_from(chunk.len()).unwrap_or_default()
                );
                return Err(SourceError::new(Fault::Corrupt, message));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn what_is_made_is_understood_and_verifies_its_blob_only() {
        for length in [0, 1, 4095, 4096, 4097, 100_000] {
            let blob = content(length);
            let index = Index::parse(&make(&*blob, 4096).unwrap()).unwrap();
            assert_eq!((index.size(), index.chunk_size()), (length as u64, 4096));
            index.verify(&blob, 0).unwrap();
            for at in [0, length / 2, length.saturating_sub(1)] {
                let mut other = blob.clone();
                if let Some(byte) = other.get_mut(at) {
                    *byte ^= 1;
                    let error = index.verify(&other, 0).unwrap_err();
                    assert_eq!(error.fault(), Fault::Corrupt);
                    let begin = at / 4096 * 4096;
                    assert!(error.to_string().starts_with(&format!("bytes {begin} to ")));
                }
            }
        }
    }

    #[test]
    fn parts_are_of_whole_chunks_and_at_their_place() {
        let blob = content(10_000);
        let index = Index::parse(&make(&*blob, 4096).unwrap()).unwrap();
        index.verify(&blob[4096..8192], 4096).unwrap();
        index.verify(&blob[8192..], 8192).unwrap();
        assert!(index.verify(&blob[4096..8192], 0).is_err());
        let fault = |data: &[u8], offset| index.verify(data, offset).unwrap_err().fault();
        assert_eq!(fault(&blob[1..4096], 1), Fault::Useless);
        assert_eq!(fault(&blob[..100], 0), Fault::Useless);
        assert_eq!(fault(&[0; 4096], 12_288), Fault::Useless);
        assert_eq!(fault(&[0; 4096], u64::MAX - 4095), Fault::Useless);
    }

    #[test]
    fn what_is_no_index_is_refused() {
        let good = make(&*content(10_000), 4096).unwrap();
        assert_eq!(good.len(), 32 + 3 * 32);
        for (at, value) in [
            (0, b'X'),
            (8, 2),
            (12, 2),
            (17, 0xff),
            (20, 1),
            (25, 0),
            (24, 1),
            (26, 0xff),
            (28, 1),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(Index::parse(&bad).is_err(), "{at}");
        }
        for length in [0, 31, 32, 127] {
            assert!(Index::parse(&good[..length]).is_err(), "{length}");
        }
        let longer = [&good[..], &[0; 32]].concat();
        assert!(Index::parse(&longer).is_err());
    }
}
