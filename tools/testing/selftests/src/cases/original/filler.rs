// SPDX-License-Identifier: GPL-2.0
//! A disk that is as full as a test wants it.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::sys;

/// A large file beside the cache that takes its space away.
pub struct Filler(File);

impl Filler {
    /// One of no size yet.
    pub fn new() -> Result<Self> {
        Ok(Self(File::create(Path::new(sys::CACHE).join("filler"))?))
    }

    /// Grows or shrinks until `percent` of the disk's blocks are available.
    pub fn leave(&self, percent: u64) -> Result<()> {
        let stats = rustix::fs::statvfs(sys::CACHE)?;
        let size = self.0.metadata()?.len();
        let available = stats.f_bavail * stats.f_frsize + size;
        let wanted = available.saturating_sub(stats.f_blocks * stats.f_frsize / 100 * percent);
        if wanted > size {
            let flags = rustix::fs::FallocateFlags::empty();
            rustix::fs::fallocate(&self.0, flags, 0, wanted).context("filling the disk")?;
        } else {
            self.0.set_len(wanted).context("freeing the disk")?;
        }
        // Btrfs counts when it commits.
        rustix::fs::syncfs(&self.0).context("syncing the disk")
    }

    /// The same to the block.
    pub fn leave_blocks(&self, blocks: u64) -> Result<()> {
        // Where the file lies takes blocks as well: so more than once.
        for _ in 0..10 {
            let stats = rustix::fs::statvfs(sys::CACHE)?;
            let size = self.0.metadata()?.len();
            if stats.f_bavail == blocks {
                return Ok(());
            }
            let taken = stats.f_bavail.abs_diff(blocks) * stats.f_frsize;
            if stats.f_bavail > blocks {
                let flags = rustix::fs::FallocateFlags::empty();
                rustix::fs::fallocate(&self.0, flags, size, taken).context("filling the disk")?;
            } else {
                self.0.set_len(size.saturating_sub(taken))?;
            }
            rustix::fs::syncfs(&self.0)?;
        }
        bail!("the disk cannot be filled up to {blocks} blocks")
    }
}
