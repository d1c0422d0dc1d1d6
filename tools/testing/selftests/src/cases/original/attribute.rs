// SPDX-License-Identifier: GPL-2.0
//! The attributes that the cache keeps with its files and volumes, taken apart.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// The name of both.
const NAME: &str = "user.CacheFiles.cache";

/// Of a cache file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Size of the file on the server.
    pub object_size: u64,
    /// Always 0.
    pub zero_point: u64,
    /// Always 1: data.
    pub kind: u8,
    /// 0, or [`DIRTY`].
    pub content: u8,
    /// What the network file system knows the version of the file by.
    pub coherency: Vec<u8>,
}

/// Content of a file that was being written when the cache went away.
pub const DIRTY: u8 = 4;

impl Attribute {
    /// Reads that of a cache file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = raw(path)?;
        let (head, coherency) = bytes.split_at_checked(18).context("a short attribute")?;
        let word = |range: std::ops::Range<usize>| -> Result<u64> {
            Ok(u64::from_be_bytes(head[range].try_into()?))
        };
        Ok(Self {
            object_size: word(0..8)?,
            zero_point: word(8..16)?,
            kind: head[16],
            content: head[17],
            coherency: coherency.to_vec(),
        })
    }

    /// Writes it.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut bytes = self.object_size.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.zero_point.to_be_bytes());
        bytes.extend_from_slice(&[self.kind, self.content]);
        bytes.extend_from_slice(&self.coherency);
        write_raw(path, &bytes)
    }

    /// The version of a file of 9p.
    pub fn version(&self) -> Result<u32> {
        let bytes = self.coherency.as_slice().try_into();
        Ok(u32::from_le_bytes(
            bytes.with_context(|| format!("{self:?} is not of 9p"))?,
        ))
    }
}

/// The bytes of the attribute.
pub fn raw(path: &Path) -> Result<Vec<u8>> {
    let mut buffer = vec![0; 600];
    let length = rustix::fs::getxattr(path, NAME, &mut buffer)
        .with_context(|| format!("the attribute of {}", path.display()))?;
    buffer.truncate(length);
    Ok(buffer)
}

/// Replaces them.
pub fn write_raw(path: &Path, bytes: &[u8]) -> Result<()> {
    rustix::fs::setxattr(path, NAME, bytes, XattrFlags::empty())
        .with_context(|| format!("setting the attribute of {}", path.display()))
}

/// Takes the attribute away.
pub fn remove(path: &Path) -> Result<()> {
    rustix::fs::removexattr(path, NAME)
        .with_context(|| format!("removing the attribute of {}", path.display()))
}

/// That there is none.
pub fn expect_none(path: &Path) -> Result<()> {
    let result = rustix::fs::getxattr(path, NAME, &mut [0u8; 600][..]);
    ensure!(
        result == Err(Errno::NODATA),
        "{} has an attribute: {result:?}",
        path.display()
    );
    Ok(())
}
