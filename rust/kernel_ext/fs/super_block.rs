// SPDX-License-Identifier: GPL-2.0

//! What kind of file system is mounted, and how: for who has to know whether data is on the disk
//! before the file system says that it is in a file.
//!
//! C headers: [`include/uapi/linux/magic.h`](srctree/include/uapi/linux/magic.h),
//! [`fs/ext4/ext4.h`](srctree/fs/ext4/ext4.h).

use super::mount::Mount;
use cachefiles_bindings as bindings;
use kernel::{
    error::{
        code::{EINVAL, EIO},
        to_result, Error, Result,
    },
    page::PAGE_SIZE,
    prelude::*,
};

/// A kind of file system that [`Mount::kind`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4, and what of ext2 and ext3 its driver mounts.
    Ext4,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// Any other, overlayfs above all.
    Other,
}

/// Where an ext4 has its journal, and how its files are mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Journal {
    /// There is a journal on the same disk.
    pub is_internal: bool,
    /// New files have extents, which say of each block whether it was written.
    pub has_extents: bool,
    /// The super block has mount options of its own (`tune2fs -E mount_opts`, or `-o nobarrier`),
    /// which [`Mount::options`] does not show.
    pub has_hidden_options: bool,
}

/// The options that a file system is mounted with, as text.
pub struct MountOptions {
    text: KVec<u8>,
    length: usize,
}

impl MountOptions {
    /// Returns whether the word is among the options, alone or with a value behind it.
    pub fn has(&self, word: &[u8]) -> bool {
        let text = self.text.get(..self.length).unwrap_or(&[]);
        text.split(|&byte| byte == b',').any(|option| {
            option
                .strip_prefix(word)
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'=')))
        })
    }
}

impl Mount {
    /// Returns what kind of file system this is.
    pub fn kind(&self) -> FileSystem {
        // SAFETY: The mount keeps its super block alive; what kind it is of does not change.
        match unsafe { (*self.super_block()).s_magic } as u64 {
            0xef53 => FileSystem::Ext4,
            0x5846_5342 => FileSystem::Xfs,
            0x9123_683e => FileSystem::Btrfs,
            _ => FileSystem::Other,
        }
    }

    /// Prints the options that the file system is mounted with.
    ///
    /// Errors: `EINVAL` for a file system that is not of a known kind; `E2BIG` for more than a page
    /// of them; `ENOMEM`.
    pub fn options(&self) -> Result<MountOptions> {
        if self.kind() == FileSystem::Other {
            return Err(EINVAL);
        }
        let mut text = KVec::from_elem(0u8, PAGE_SIZE, GFP_KERNEL)?;
        // SAFETY: The mount keeps its super block active, and so its root and its operations. The
        // buffer has as many bytes as is said. The drivers of the known kinds use nothing of the
        // seq_file but the buffer.
        let length = unsafe {
            bindings::cfh_show_options(self.super_block(), text.as_mut_ptr().cast(), text.len())
        };
        let length = usize::try_from(length).map_err(|_| Error::from_errno(length))?;
        Ok(MountOptions { text, length })
    }

    /// Reads an ext4's super block, which says how it keeps its promises.
    ///
    /// Sleeps for the disk, though the file system has the block in memory.
    ///
    /// Errors: `EINVAL` for another file system; `EIO`, also for one that lies elsewhere.
    pub fn journal(&self) -> Result<Journal> {
        const AT: u64 = 1024;
        const MAGIC: usize = 0x38;
        const COMPATIBLE: usize = 0x5c;
        const INCOMPATIBLE: usize = 0x60;
        const JOURNAL_INODE: usize = 0xe0;
        const DEFAULT_OPTIONS: usize = 0x100;
        const OPTIONS: core::ops::Range<usize> = 0x200..0x240;
        const HAS_JOURNAL: u32 = 0x4;
        const EXTENTS: u32 = 0x40;
        const NO_BARRIER: u32 = 0x100;
        if self.kind() != FileSystem::Ext4 {
            return Err(EINVAL);
        }
        let mut block = [0u8; OPTIONS.end];
        // SAFETY: The mount keeps its super block active, and with it the disk. There is room for
        // as many bytes as is said.
        to_result(unsafe {
            bindings::cfh_read_super(
                self.super_block(),
                AT,
                block.as_mut_ptr().cast(),
                block.len(),
            )
        })?;
        let word = |at: usize| match block.get(at..at + 4) {
            Some(&[a, b, c, d]) => u32::from_le_bytes([a, b, c, d]),
            _ => 0,
        };
        if word(MAGIC) & 0xffff != 0xef53 {
            return Err(EIO);
        }
        Ok(Journal {
            is_internal: word(COMPATIBLE) & HAS_JOURNAL != 0 && word(JOURNAL_INODE) != 0,
            has_extents: word(INCOMPATIBLE) & EXTENTS != 0,
            has_hidden_options: word(DEFAULT_OPTIONS) & NO_BARRIER != 0
                || block.get(OPTIONS).and_then(<[u8]>::first) != Some(&0),
        })
    }
}
