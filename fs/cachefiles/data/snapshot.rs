// SPDX-License-Identifier: GPL-2.0

//! One range of data, published so that it can be read without the lock that it is changed under.
//!
//! Every hit in the cache reads it, twice, so that a lock would cost as much as the rest of the
//! look-up. A reader that meets a change finds that nothing is known, which is always safe.
//!
//! # Memory ordering
//!
//! This is the kernel's `seqcount_t` (`include/linux/seqlock.h`) with its own accesses in place of
//! its barriers, so that it can be tested on the host, and with a reader that gives up instead of
//! trying again. Every access is an atomic one of Rust, in one go: `READ_ONCE()` and
//! `WRITE_ONCE()` in the terms of the kernel's memory model, and no C code has to do with them.
//!
//! | writer, one at a time                  | there                         |
//! |----------------------------------------|-------------------------------|
//! | `version` becomes odd, relaxed         | `WRITE_ONCE(seq, seq + 1)`    |
//! | release fence                          | `smp_wmb()`                   |
//! | the fields, relaxed                    | the writer's stores           |
//! | `version` becomes even, release        | `smp_wmb()`, `WRITE_ONCE()`   |
//!
//! | reader                                 | there                         |
//! |----------------------------------------|-------------------------------|
//! | `version`, acquire                     | `smp_load_acquire(&seq)`      |
//! | the fields, relaxed                    | the reader's loads            |
//! | acquire fence                          | `smp_rmb()`                   |
//! | `version` again, relaxed               | `READ_ONCE(seq)`              |
//!
//! A release fence orders what is before it with the stores behind it, which is more than
//! `smp_wmb()` does, and an acquire fence the loads before it with what is behind it, which is
//! more than `smp_rmb()`. On the hardware they are what the kernel has or more: nothing but a
//! barrier to the compiler on x86, `dmb ish` and `dmb ishld` on arm64.
//!
//! - A reader that sees an even version at first, by the acquire, sees all that was stored before
//!   it or something later.
//! - If one of the fields is of a later change, the fences order that change's odd version before
//!   the second look at the version, which then differs.
//! - So what counts was all published at once, and not before the version that was read. It may be
//!   replaced already: a reader that began before the lock was taken to change it has no claim to
//!   the change.
//!
//! Under the lock there is no change, and relaxed loads see what the last holder stored, by the
//! lock. A file's number of blocks, which the caller has from the inode, is compared with the
//! number published, and belongs to no order: a loss that happened before the look, as its caller
//! can know, is seen by it.
//!
//! `stale` says that the file lacks a change which the server has. It is outside of all this: who
//! sees it set sees what came before it was set, by release and acquire, and it is cleared with the
//! lock held, when another file takes the place.
//!
//! Free of kernel calls: compiled into the module and into the host-side tests.

use core::sync::atomic::{self, AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering};

/// A published range of data. What is read while `version` is odd, or changed in between, does not
/// count.
pub(crate) struct Snapshot {
    version: AtomicU32,
    /// How many blocks the file had (the lower half of the number): with fewer, it has lost data.
    /// Of a file of 2 TiB or more, a loss across a multiple of that is not seen.
    blocks: AtomicU32,
    /// The address of the file that it is in.
    file: AtomicUsize,
    start: AtomicI64,
    end: AtomicI64,
    /// The file turned out to have less than is published. Set without the lock, by any read that
    /// finds so, and in no order with the rest; cleared with the lock, once nothing is published.
    doubted: AtomicBool,
    /// The file lacks a change that the server has. Set without the lock; cleared with it, before
    /// another file takes its place.
    stale: AtomicBool,
}

impl Snapshot {
    /// Makes one of no file.
    pub(crate) const fn empty() -> Self {
        Self {
            version: AtomicU32::new(0),
            blocks: AtomicU32::new(0),
            file: AtomicUsize::new(0),
            start: AtomicI64::new(0),
            end: AtomicI64::new(0),
            doubted: AtomicBool::new(false),
            stale: AtomicBool::new(false),
        }
    }

    /// Publishes another range, in bytes. The caller holds the lock that keeps others from doing
    /// so.
    #[inline]
    pub(crate) fn publish(&self, file: usize, blocks: u32, start: i64, end: i64) {
        let version = self.version.load(Ordering::Relaxed);
        self.version
            .store(version.wrapping_add(1), Ordering::Relaxed);
        // A reader that sees one of the stores below sees the version odd after that.
        atomic::fence(Ordering::Release);
        self.blocks.store(blocks, Ordering::Relaxed);
        self.file.store(file, Ordering::Relaxed);
        self.start.store(start, Ordering::Relaxed);
        self.end.store(end, Ordering::Relaxed);
        self.version
            .store(version.wrapping_add(2), Ordering::Release);
    }

    /// Returns whether the published range is of this file, if only an empty one. Any context.
    #[inline]
    pub(crate) fn is_of(&self, file: usize) -> bool {
        self.file.load(Ordering::Relaxed) == file
    }

    /// Notes that this file has less data than is known, so that no reader finds any until that is
    /// forgotten ([`FileSlot::refresh`](super::extent_cache::FileSlot::refresh)). Any context.
    #[inline]
    pub(crate) fn doubt(&self, file: usize) {
        if self.is_of(file) {
            self.doubted.store(true, Ordering::Relaxed);
        }
    }

    /// Returns whether what is published is not to be relied on. With the lock held, as what comes
    /// next is to forget it.
    #[inline]
    pub(crate) fn is_doubted(&self) -> bool {
        self.doubted.load(Ordering::Relaxed)
    }

    /// Ends [`Snapshot::doubt`], once nothing is published. With the lock held.
    #[inline]
    pub(crate) fn clear_doubt(&self) {
        self.doubted.store(false, Ordering::Relaxed);
    }

    /// Notes that this file must not be used any more, if it still is the file. Any context.
    #[inline]
    pub(crate) fn mark_stale(&self, file: usize) {
        if self.is_of(file) {
            self.stale.store(true, Ordering::Release);
        }
    }

    /// Returns whether the file must not be used any more. Any context.
    #[inline]
    pub(crate) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Acquire)
    }

    /// Ends [`Snapshot::mark_stale`], for a file that takes the place of the other. With the lock
    /// held.
    #[inline]
    pub(crate) fn clear_stale(&self) {
        self.stale.store(false, Ordering::Release);
    }

    /// Returns how many blocks the file had when it was published. With the lock held.
    #[inline]
    pub(crate) fn blocks(&self) -> u32 {
        self.blocks.load(Ordering::Relaxed)
    }

    /// Returns the end of the data at `pos` in `file`, which has so many blocks, if some is known
    /// to be there.
    #[inline]
    pub(crate) fn data_end(&self, file: usize, blocks: u32, pos: i64) -> Option<i64> {
        let version = self.version.load(Ordering::Acquire);
        let is_there = self.file.load(Ordering::Relaxed) == file
            && self.start.load(Ordering::Relaxed) <= pos
            && self.blocks.load(Ordering::Relaxed) <= blocks
            && !self.doubted.load(Ordering::Relaxed);
        let end = self.end.load(Ordering::Relaxed);
        // What was read above belongs to the version, if that is still the same below.
        atomic::fence(Ordering::Acquire);
        let is_whole = version % 2 == 0 && self.version.load(Ordering::Relaxed) == version;
        (is_there && pos < end && is_whole).then_some(end)
    }
}
