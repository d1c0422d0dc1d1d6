// SPDX-License-Identifier: GPL-2.0

//! Which file an object has, and where in it there is data and where holes.
//!
//! Everything that has to know goes through [`DataMap`]. It answers from `snapshot`, without a
//! lock; else from `extent_cache`, under its lock; else it asks the file system, by `seek`.

pub(crate) mod extent;
mod extent_cache;
pub(crate) mod seek;
mod snapshot;

use self::extent::{Extent, Hole};
use self::extent_cache::{ExtentCache, FileSlot, Generation, Query};
use self::seek::DataEnd;
use self::snapshot::Snapshot;
use crate::backing::in_use::InUse;
use kernel::prelude::*;
use kernel::sync::{new_spinlock, SpinLock};
use kernel::types::ARef;
use kernel_ext::fs::File;

/// The file of an object, and where it has data.
///
/// An operation keeps the file that it began with, and names it: what it finds out about one that
/// is not the object's any more is not remembered.
#[pin_data]
pub(crate) struct DataMap {
    /// The file, from look-up to withdrawal. What is taken out is dropped after the lock.
    #[pin]
    slot: SpinLock<FileSlot<InUse<File>>>,
    /// Repeats what data is known. Changed with the lock held.
    snapshot: Snapshot,
}

/// A file that is about to be written to.
pub(crate) struct FileToWrite {
    pub(crate) file: ARef<File>,
    /// See [`DataMap::written`].
    generation: Generation,
}

impl DataMap {
    /// Makes one without a file. `remembers_data` is whether the file system tells by the number of
    /// blocks that somebody else took data away, so that what is known may be remembered.
    pub(crate) fn new(remembers_data: bool) -> impl PinInit<Self> {
        pin_init!(Self {
            slot <- new_spinlock!(FileSlot::empty(remembers_data), "cachefiles_data"),
            snapshot: Snapshot::empty(),
        })
    }

    /// Returns the file, if there is one at the moment that may be used.
    pub(crate) fn file(&self) -> Option<ARef<File>> {
        if self.is_stale() {
            return None;
        }
        self.held_file()
    }

    /// Returns the file, if there is one at the moment, also if it is stale.
    pub(crate) fn held_file(&self) -> Option<ARef<File>> {
        self.slot.lock().file().map(InUse::held)
    }

    /// Returns the space that the file takes, in blocks of 512 bytes; 0 without one. Any context.
    pub(crate) fn blocks(&self) -> u64 {
        self.slot
            .lock()
            .file()
            .map_or(0, |file| file.inode().blocks())
    }

    /// Returns the file to be written to, if there is one at the moment, also if it is stale.
    pub(crate) fn file_to_write(&self) -> Option<FileToWrite> {
        let mut slot = self.slot.lock();
        self.refresh(&mut slot);
        let (file, generation) = slot.file_to_write()?;
        Some(FileToWrite {
            file: file.held(),
            generation,
        })
    }

    /// Puts another file in place, or none, and returns the one that was, which is marked as in use
    /// until that is dropped.
    pub(crate) fn replace_file(&self, file: Option<InUse<File>>) -> Option<InUse<File>> {
        let mut slot = self.slot.lock();
        match &file {
            Some(file) => self.snapshot.publish(address(file), blocks(file), 0, 0),
            None => self.snapshot.publish(0, 0, 0, 0),
        }
        if file.is_some() {
            self.snapshot.clear_stale();
        }
        slot.replace(file)
    }

    /// Notes that something could not be written to `file`, cut off or discarded: what it holds in
    /// its place is old. It is not used any more, and removed when the object is withdrawn, unless
    /// another one takes its place, or has taken it already. Any context.
    ///
    /// If that happens at this very moment, the new one may be given up for it, which does no harm.
    pub(crate) fn mark_stale(&self, file: &File) {
        self.snapshot.mark_stale(address(file));
    }

    /// Returns whether the file must not be used any more.
    pub(crate) fn is_stale(&self) -> bool {
        self.snapshot.is_stale()
    }

    /// Returns the end of the data that `file` is known to have at `pos`. Takes no lock: `None`
    /// also if that is just being changed.
    #[inline]
    pub(crate) fn known_data_end(&self, file: &File, pos: i64) -> Option<i64> {
        self.snapshot.data_end(address(file), blocks(file), pos)
    }

    /// Returns what is at `pos`, and up to where, at most `end`. Errors: those of `lseek()`.
    ///
    /// Asks the file system only for data that is not known, and once where the answer is the
    /// expected one. Blocks that are data in part count as data, as they did when they were
    /// written: the daemon writes whole pages.
    #[inline(always)]
    pub(crate) fn extent_at(&self, file: &File, pos: i64, end: i64) -> Result<Extent> {
        match self.known_data_end(file, pos) {
            Some(data_end) => Ok(Extent::Data(data_end.min(end))),
            None => self.look_up_extent(file, pos, end),
        }
    }

    fn look_up_extent(&self, file: &File, pos: i64, end: i64) -> Result<Extent> {
        let known = self.read(file, |extents| extents.data_end(pos).ok_or(extents.query()));
        match known.unwrap_or(Err(Query::ANY)) {
            Ok(data_end) => Ok(Extent::Data(data_end.min(end))),
            Err(query) => self.ask(file, pos, query).map(|extent| extent.up_to(end)),
        }
    }

    /// Returns what is at `pos`, as [`DataMap::extent_at`], but takes a hole that was there before
    /// for one that is still there: where it is not, the daemon is asked for what somebody else put
    /// there.
    pub(crate) fn likely_extent_at(&self, file: &File, pos: i64, end: i64) -> Result<Extent> {
        let known = self.read(file, |extents| {
            let data = extents.data_end(pos).map(Extent::Data);
            data.or_else(|| extents.hole_at(pos)).ok_or(extents.query())
        });
        let extent = match known.unwrap_or(Err(Query::ANY)) {
            Ok(extent) => extent,
            Err(query) => self.ask(file, pos, query)?,
        };
        Ok(extent.up_to(end))
    }

    /// Returns the first hole from `pos` to `end`, as [`DataMap::likely_extent_at`] finds it.
    /// Errors: those of `lseek()`.
    pub(crate) fn next_hole(&self, file: &File, mut pos: i64, end: i64) -> Result<Option<Hole>> {
        while pos < end {
            match self.likely_extent_at(file, pos, end)? {
                Extent::Data(data_end) => pos = data_end,
                hole => {
                    let hole_end = hole.hole_end(end);
                    return Ok(hole_end.map(|end| Hole { start: pos, end }));
                }
            }
        }
        Ok(None)
    }

    /// Notes that data was written to `target` from `start` to `end`.
    #[inline]
    pub(crate) fn written(&self, target: &FileToWrite, start: i64, end: i64) {
        self.change(&target.file, |extents| {
            extents.insert_data(target.generation, start, end);
        });
    }

    /// Notes that `file` was shortened, or has lost data in another way that is over by now.
    pub(crate) fn shortened(&self, file: &File) {
        self.change(file, ExtentCache::clear);
    }

    /// Has what is remembered of `file` forgotten before it is next used, as a read ended before
    /// that did. Any context.
    pub(crate) fn doubt(&self, file: &File) {
        self.snapshot.doubt(address(file));
    }

    /// Asks the file system, and remembers the answer.
    fn ask(&self, file: &File, pos: i64, query: Query) -> Result<Extent> {
        if !query.expect_data {
            if let Some(hole) = self.ask_for_hole(file, pos, query)? {
                return Ok(hole);
            }
        }
        let data_end = match seek::data_end(file, pos) {
            Err(error) if error == ENXIO => return Ok(Extent::LastHole),
            found => found?,
        };
        let (DataEnd::Sure(end) | DataEnd::Unsure(end)) = data_end;
        if end > pos {
            if let DataEnd::Sure(end) = data_end {
                self.change(file, |extents| extents.found_data(query, pos, end));
            }
            return Ok(Extent::Data(end));
        }
        // None if data came in between the questions: to have it written again does no harm.
        let hole = self.ask_for_hole(file, pos, query)?;
        Ok(hole.unwrap_or(Extent::Hole(i64::MAX)))
    }

    /// Asks for the hole at `pos`, if there is one, and remembers it.
    fn ask_for_hole(&self, file: &File, pos: i64, query: Query) -> Result<Option<Extent>> {
        let hole = match seek::next_data(file, pos)? {
            Some(data) if data == pos => return Ok(None),
            Some(data) => Extent::Hole(data),
            None => Extent::LastHole,
        };
        self.change(file, |extents| extents.found_hole(query, pos, hole));
        Ok(Some(hole))
    }

    /// Reads what is remembered of `file`. `None` if it is not the object's any more. Takes the
    /// lock: `f` does not sleep.
    fn read<R>(&self, file: &File, f: impl FnOnce(&ExtentCache) -> R) -> Option<R> {
        let mut slot = self.slot.lock();
        self.refresh(&mut slot);
        slot.extents_of(file).map(|extents| f(extents))
    }

    /// Changes what is remembered of `file`, if it still is the object's. Takes the lock: `f` does
    /// not sleep.
    fn change(&self, file: &File, f: impl FnOnce(&mut ExtentCache)) {
        let mut slot = self.slot.lock();
        self.refresh(&mut slot);
        let Some(extents) = slot.extents_of(file) else {
            return;
        };
        f(extents);
        let (start, end) = extents.data();
        // Not the number of now: with a loss since then it would be hidden.
        let blocks = self.snapshot.blocks();
        self.snapshot.publish(address(file), blocks, start, end);
    }

    #[inline]
    fn refresh(&self, slot: &mut FileSlot<InUse<File>>) {
        if let Some(file) = slot.file() {
            let (address, blocks) = (address(file), blocks(file));
            slot.refresh(&self.snapshot, address, blocks);
        }
    }
}

/// Returns a number that tells files apart that are open at the same time.
#[inline]
fn address(file: &File) -> usize {
    core::ptr::from_ref(file) as usize
}

/// Returns how much there is in a file: the lower half of its number of blocks.
#[inline]
fn blocks(file: &File) -> u32 {
    let blocks = file.inode().blocks();
    (blocks & u64::from(u32::MAX)) as u32
}
