// SPDX-License-Identifier: GPL-2.0

//! Whether a file that is only there in part may have a name.
//!
//! After a power cut what the file system calls data has to be data. That holds where new blocks
//! count as holes until they have been written, and the record that they have been reaches the disk
//! after them. Elsewhere a file gets its name when it is put away, as with the C module.

use kernel_ext::fs::{FileSystem, Mount};

/// Whether a file system is trusted with files that are there in part.
#[derive(Clone, Copy)]
pub(crate) enum Trust {
    /// The cache is of the original mode, in which files are named late anyway.
    NotAsked,
    Trusted,
    /// It is not, for this reason.
    Doubted(&'static str),
}

impl Trust {
    /// Looks at a file system. Allocates and may sleep.
    pub(crate) fn in_mount(mount: &Mount) -> Self {
        doubt(mount).map_or(Self::Trusted, Self::Doubted)
    }

    /// Returns whether a file gets its name when it is made.
    pub(crate) fn names_early(self) -> bool {
        matches!(self, Self::Trusted)
    }
}

/// Returns what speaks against a file system.
fn doubt(mount: &Mount) -> Option<&'static str> {
    let kind = mount.kind();
    if kind == FileSystem::Other {
        return Some("is none of ext4, XFS and btrfs");
    }
    let Ok(options) = mount.options() else {
        return Some("does not say how it is mounted");
    };
    if options.has(b"nobarrier") {
        return Some("is mounted with nobarrier");
    }
    // With it new blocks are zeroed, and count as data from then on.
    if options.has(b"dax") && !options.has(b"dax=never") {
        return Some("is mounted with dax");
    }
    match kind {
        FileSystem::Ext4 => match mount.journal() {
            Err(_) => Some("has a super block that can't be read"),
            Ok(journal) if !journal.is_internal => Some("has no journal of its own"),
            Ok(journal) if !journal.has_extents => Some("has no extents"),
            Ok(journal) if journal.has_hidden_options => {
                Some("has mount options in its super block")
            }
            Ok(_) if options.has(b"norecovery") || options.has(b"noload") => {
                Some("is mounted without its journal")
            }
            Ok(_) if options.has(b"journal_async_commit") => {
                Some("is mounted with journal_async_commit")
            }
            Ok(_) => None,
        },
        FileSystem::Xfs if options.has(b"rtdev") => Some("has a realtime device"),
        FileSystem::Xfs | FileSystem::Btrfs | FileSystem::Other => None,
    }
}
