// SPDX-License-Identifier: GPL-2.0

//! What the cache may still take of the backing file system.

use crate::format::limits::{Amounts, Limits};
use crate::notify::Notifier;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use kernel::prelude::*;
use kernel::str::CString;
use kernel::sync::Arc;
use kernel::types::ARef;
use kernel::uaccess::UserSliceWriter;
use kernel_ext::errno::{EMSGSIZE, ENOBUFS};
use kernel_ext::fs::{Inode, Mount, Path, Statfs, EXT4_SUPER_MAGIC};

/// What room is asked for, as far as the statistics tell refusals apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Nothing in particular: bring the culling state up to date.
    Check,
    /// Data of a file.
    Write,
    /// Data of a file that the daemon fetched: whether there is room need not be known to the
    /// block.
    Fetched,
    /// A new file or directory.
    Create,
}

/// A part of the room above the *run* limit that the daemon's writes may take without a new
/// `statfs()`, within one tick of the clock: what others take of the file system shows by then.
struct Allowance {
    /// Blocks left.
    blocks: AtomicU64,
    /// The tick in which it was granted.
    granted: AtomicUsize,
}

impl Allowance {
    fn none() -> Self {
        Self {
            blocks: AtomicU64::new(0),
            granted: AtomicUsize::new(0),
        }
    }

    /// Grants a small part of what is left, so that no limit is reached unnoticed.
    fn grant(&self, blocks_left: u64) {
        self.blocks.store(blocks_left / 16, Ordering::Relaxed);
        self.granted
            .store(kernel_ext::task::jiffies(), Ordering::Release);
    }

    fn take(&self, blocks: u64) -> bool {
        self.granted.load(Ordering::Acquire) == kernel_ext::task::jiffies()
            && self
                .blocks
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(blocks)
                })
                .is_ok()
    }
}

/// The limits of one resource, which the next daemon may set anew.
struct Thresholds {
    run: AtomicU64,
    cull: AtomicU64,
    stop: AtomicU64,
}

impl Thresholds {
    fn new(amounts: Amounts) -> Self {
        Self {
            run: AtomicU64::new(amounts.run),
            cull: AtomicU64::new(amounts.cull),
            stop: AtomicU64::new(amounts.stop),
        }
    }

    /// Sets them all. A reader at the same time may see some old and some new ones, and asks again
    /// soon.
    fn set(&self, amounts: Amounts) {
        self.run.store(amounts.run, Ordering::Relaxed);
        self.cull.store(amounts.cull, Ordering::Relaxed);
        self.stop.store(amounts.stop, Ordering::Relaxed);
    }

    fn get(&self) -> Amounts {
        Amounts {
            run: self.run.load(Ordering::Relaxed),
            cull: self.cull.load(Ordering::Relaxed),
            stop: self.stop.load(Ordering::Relaxed),
        }
    }
}

/// The space accounting of one cache.
pub(crate) struct Space {
    mount: ARef<Mount>,
    notifier: Arc<Notifier>,
    files: Thresholds,
    blocks: Thresholds,
    /// In bytes; a power of two, at most a page.
    block_size: u32,
    /// See [`Space::blocks_tell_loss`].
    blocks_tell_loss: bool,
    /// Blocks of writes on their way, which the file system has not accounted for yet.
    writing: AtomicU64,
    /// What the daemon may write before the file system is asked again.
    allowance: Allowance,
    /// Objects whose files were released since the daemon last asked.
    released_files: AtomicU32,
    /// Their blocks of 512 bytes.
    released_blocks: AtomicU64,
}

impl Space {
    /// Applies the limits to the file system below `root`.
    ///
    /// Errors: those of `statfs()`; ERANGE for a block size of nothing; EOPNOTSUPP for one over a
    /// page, as direct I/O to pages could not be served.
    pub(crate) fn new(root: &Path, limits: Limits, notifier: Arc<Notifier>) -> Result<Self> {
        let stats = root.statfs()?;
        if stats.bsize <= 0 {
            return Err(ERANGE);
        }
        let block_size = u32::try_from(stats.bsize)
            .ok()
            .filter(|&size| size as usize <= kernel::page::PAGE_SIZE)
            .ok_or(kernel_ext::errno::EOPNOTSUPP)?;
        Ok(Self {
            mount: root.mount().into(),
            notifier,
            files: Thresholds::new(limits.files.of(stats.files)),
            blocks: Thresholds::new(limits.blocks.of(stats.blocks)),
            block_size,
            blocks_tell_loss: stats.fs_type == EXT4_SUPER_MAGIC,
            writing: AtomicU64::new(0),
            allowance: Allowance::none(),
            released_files: AtomicU32::new(0),
            released_blocks: AtomicU64::new(0),
        })
    }

    /// Applies the limits of another daemon. Errors: those of `statfs()`.
    pub(crate) fn set_limits(&self, limits: Limits) -> Result {
        let stats = self.mount.statfs()?;
        self.files.set(limits.files.of(stats.files));
        self.blocks.set(limits.blocks.of(stats.blocks));
        Ok(())
    }

    pub(crate) fn block_size(&self) -> u32 {
        self.block_size
    }

    /// Returns whether an inode's number of blocks is less at once when somebody punches or cuts
    /// off its file.
    ///
    /// Of the file systems that a cache is kept on, ext4 is the one that counts there. XFS reckons
    /// the number up when it is asked for, btrfs counts some time after a write, and overlayfs has
    /// it in another inode.
    pub(crate) fn blocks_tell_loss(&self) -> bool {
        self.blocks_tell_loss
    }

    /// Takes so many blocks, fetched by the daemon, from what was granted in this tick. False where
    /// that is too little: ask [`Space::reserve`].
    #[inline]
    pub(crate) fn take_allowance(&self, blocks: u64) -> bool {
        self.allowance.take(blocks)
    }

    /// Checks that there is room for so many files and blocks more. Starts and ends culling.
    ///
    /// Errors: ENOBUFS when below a stop limit; those of `statfs()`.
    pub(crate) fn reserve(&self, files: u64, blocks: u64, purpose: Purpose) -> Result {
        let stats = self.mount.statfs()?;
        let Statfs { ffree, bavail, .. } = stats;
        let writing = self.writing.load(Ordering::Relaxed);
        let files_left = ffree.saturating_sub(files);
        let blocks_left = bavail.saturating_sub(writing).saturating_sub(blocks);
        let (file_limits, block_limits) = (self.files.get(), self.blocks.get());

        if files_left < file_limits.stop || blocks_left < block_limits.stop {
            match purpose {
                Purpose::Check => {}
                Purpose::Write | Purpose::Fetched => fscache::stats::count_no_write_space(),
                Purpose::Create => fscache::stats::count_no_create_space(),
            }
            self.notifier.set_culling(true);
            return Err(ENOBUFS);
        }
        if files_left < file_limits.cull || blocks_left < block_limits.cull {
            self.notifier.set_culling(true);
        } else if files_left >= file_limits.run && blocks_left >= block_limits.run {
            self.notifier.set_culling(false);
            if purpose == Purpose::Fetched {
                self.allowance.grant(blocks_left - block_limits.run);
            }
        }
        Ok(())
    }

    /// Returns whether so many bytes more are no reason to cull, and none is being done.
    pub(crate) fn is_ample_for(&self, bytes: u64) -> bool {
        if self.notifier.is_culling() {
            return false;
        }
        let writing = self.writing.load(Ordering::Relaxed);
        let blocks = bytes >> self.block_size.trailing_zeros();
        let limit = self.blocks.get().cull;
        self.mount.statfs().is_ok_and(|Statfs { bavail, .. }| {
            bavail.saturating_sub(writing).saturating_sub(blocks) >= limit
        })
    }

    /// Tells the daemon the limits, whether it is to cull, and what was released since it last
    /// asked: `cull=0 frun=... breleased=...`, hexadecimal, without a newline. Returns its length.
    ///
    /// What can't be handed over is told the next time. Errors: EMSGSIZE, EFAULT, ENOMEM.
    pub(crate) fn read_state(&self, mut out: UserSliceWriter) -> Result<usize> {
        self.notifier.state_read();
        let files = self.released_files.swap(0, Ordering::Relaxed);
        let blocks = self.released_blocks.swap(0, Ordering::Relaxed);
        let written = self.state_line(files, blocks).and_then(|line| {
            if line.len() > out.len() {
                return Err(EMSGSIZE);
            }
            out.write_slice(line.as_bytes())?;
            Ok(line.len())
        });
        written.inspect_err(|_| {
            self.released_files.fetch_add(files, Ordering::Relaxed);
            self.released_blocks.fetch_add(blocks, Ordering::Relaxed);
            self.notifier.state_changed();
        })
    }

    fn state_line(&self, released_files: u32, released_blocks: u64) -> Result<CString> {
        let (files, blocks) = (self.files.get(), self.blocks.get());
        CString::try_from_fmt(kernel::fmt!(
            "cull={} frun={:x} fcull={:x} fstop={:x} brun={:x} bcull={:x} bstop={:x} \
             freleased={:x} breleased={:x}",
            u8::from(self.notifier.is_culling()),
            files.run,
            files.cull,
            files.stop,
            blocks.run,
            blocks.cull,
            blocks.stop,
            released_files,
            released_blocks,
        ))
    }

    /// Notes that an object's file is no longer in use, and may be culled.
    pub(crate) fn released(&self, inode: &Inode) {
        self.released_blocks
            .fetch_add(inode.blocks(), Ordering::Relaxed);
        self.released_files.fetch_add(1, Ordering::Relaxed);
        self.notifier.state_changed();
    }

    /// Accounts for a write of `len` bytes until [`Space::end_write`]. Returns the blocks it takes.
    #[inline]
    pub(crate) fn begin_write(&self, len: usize) -> u64 {
        // A division takes as long as the rest of this: the size is a power of two.
        let (size, shift) = (self.block_size, self.block_size.trailing_zeros());
        let blocks = (len as u64).saturating_add(u64::from(size.wrapping_sub(1))) >> shift;
        self.writing.fetch_add(blocks, Ordering::Relaxed);
        blocks
    }

    /// Ends what [`Space::begin_write`] began; `blocks` is what it returned.
    #[inline]
    pub(crate) fn end_write(&self, blocks: u64) {
        self.writing.fetch_sub(blocks, Ordering::Relaxed);
    }
}
