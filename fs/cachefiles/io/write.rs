// SPDX-License-Identifier: GPL-2.0

//! Writes to the cache: what netfs downloaded, or was given to store.
//!
//! A write that can't be done is no loss, as the server has the data.

use super::{wait_for, wait_for_file};
use crate::backing::space::Purpose;
use crate::cache::coherency;
use crate::cache::object::write::{begin_write, check_start, end_write};
use crate::cache::object::{IoRef, Object};
use crate::data::seek::{self, has_data};
use crate::marker::Cachefiles;
use cachefiles_trace::{self as trace, ErrorSite};
use fscache::{Begun, Resources, WantState, WriteLimits, WriteOperation, WriteSubrequest};
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel_ext::errno::ENOBUFS;
use kernel_ext::fs::{FallocMode, File};
use kernel_ext::io::{IoCompletion, RequestSlot};
use kernel_ext::params::{injected_remove_error, injected_write_error};

/// What `read()` and `write()` take at most, in bytes (`MAX_RW_COUNT`): the largest number of pages
/// that an `int` holds.
const MAX_RW_COUNT: usize = i32::MAX as usize & !(PAGE_SIZE - 1);
/// The most segments that a block layer request has (`BIO_MAX_VECS`).
const BIO_MAX_VECS: u32 = 256;

/// What a write leaves to be done when it ends.
struct WriteDone {
    object: IoRef,
    /// What [`Space::begin_write`](crate::backing::space::Space::begin_write) returned.
    blocks: u64,
    /// Where it begins.
    start: i64,
    /// Bytes that were asked for.
    len: usize,
    /// Bytes behind them that no direct I/O can write: they count as written when all else was, or
    /// netfs would try again and again.
    tail: usize,
}

impl IoCompletion for WriteDone {
    fn complete(self, file: &File, result: isize, was_async: bool) -> isize {
        let Self {
            object,
            blocks,
            start,
            len,
            tail,
        } = self;
        // An error number, which an `i32` holds.
        let error = (result < 0).then(|| kernel_ext::errno::error(result as i32));
        end_write(&object, file, blocks, error);
        if result < 0 {
            not_written(&object, file, start, len, !was_async);
        }
        if usize::try_from(result) == Ok(len) {
            result.saturating_add_unsigned(tail)
        } else {
            result
        }
        // Our reference to the object goes before the caller is told, as for a read.
    }
}

/// Takes note of a write that did not reach the file, and without which netfs goes on: what the
/// range held before is old now.
///
/// A hole stays a hole, which only shows where we may sleep.
#[cold]
fn not_written(object: &Object, file: &File, start: i64, len: usize, may_sleep: bool) {
    let end = start.saturating_add_unsigned(len as u64);
    if !may_sleep || has_data(file, start, end).unwrap_or(true) {
        object.data().mark_stale(file);
    }
}

/// Writes to the cache.
pub(crate) fn write<'op>(operation: WriteOperation<'op, Cachefiles>, start: i64) -> Begun<'op> {
    submit(operation, start, 0, Room::Prepared)
}

/// Refuses a write, as the cache goes offline: what the object's file holds of the range is old
/// from now on.
#[cold]
fn refuse_offline<'op>(mut operation: WriteOperation<'op, Cachefiles>, start: i64) -> Begun<'op> {
    let (resources, iter) = operation.parts();
    if let Some(object) = resources.object() {
        let held = object.data().held_file();
        if let Some(file) = resources.file().or(held.as_deref()) {
            not_written(&object, file, start, iter.count(), true);
        }
    }
    operation.fail(ENOBUFS)
}

/// Whether there is room for a write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    /// netfs has asked for it: see [`prepare_write`].
    Prepared,
    /// It is to be found first.
    Needed,
}

/// Starts the write of all that the operation has.
fn submit<'op>(
    mut operation: WriteOperation<'op, Cachefiles>,
    start: i64,
    tail: usize,
    room: Room,
) -> Begun<'op> {
    let (mut resources, iter) = operation.parts();
    let len = iter.count();
    let Some((object, file)) = wait_for(&mut resources, WantState::Write) else {
        return refuse_offline(operation, start);
    };
    if room == Room::Needed {
        if let Err(error) = find_room(&object, file, start, len) {
            return operation.fail(error);
        }
    }
    // The worker that is to do this before may come later, and netfs does not wait for it.
    if let Err(error) = mark_dirty(&object) {
        not_written(&object, file, start, len, true);
        return operation.fail(error);
    }
    let Ok(slot) = RequestSlot::new() else {
        not_written(&object, file, start, len, true);
        return operation.fail(ENOMEM);
    };
    let owner = WriteDone {
        blocks: begin_write(&object, file, start, len),
        object: IoRef::new(object),
        start,
        len,
        tail,
    };
    if let Err(error) = injected_write_error() {
        let outcome = owner.complete(file, error.to_errno() as isize, false);
        return operation.finish(outcome);
    }
    let file = file.into();
    operation.submit(slot, file, start, owner)
}

/// Marks the file as dirty, so that a power cut during the write leaves one that is not used again.
/// Errors: those of [`coherency::mark_dirty`].
#[inline]
fn mark_dirty(object: &Object) -> Result {
    if !coherency::lacks_dirty_mark(object) {
        return Ok(());
    }
    object.cache().secure(|| coherency::mark_dirty(object))
}

/// Returns how much netfs may put into one write. `None` where the object has no file.
pub(crate) fn prepare_write_subreq(
    resources: &mut Resources<'_, Cachefiles>,
) -> Option<WriteLimits> {
    wait_for_file(resources, WantState::Write)?;
    Some(WriteLimits {
        max_len: MAX_RW_COUNT,
        max_segments: BIO_MAX_VECS,
    })
}

/// Writes of a subrequest what lies in whole pages.
pub(crate) fn issue_write(mut write: WriteSubrequest<'_, Cachefiles>) {
    let mut start = write.start();
    let mut len = write.len();
    let into_page = (start % PAGE_SIZE as u64) as usize;
    if into_page > 0 {
        let skip = PAGE_SIZE - into_page;
        if skip >= len {
            return misfit(write, len);
        }
        write.skip(skip);
        start += skip as u64;
        len -= skip;
    }
    let partial = len % PAGE_SIZE;
    if partial > 0 && start + len as u64 == write.file_size() {
        // What is behind the end of the file in its last page is zeros, and may be stored.
        let missing = PAGE_SIZE - partial;
        if write.extendable_by() >= missing {
            len += write.extend(missing);
        }
    }
    let tail = len % PAGE_SIZE;
    len -= tail;
    if len == 0 {
        return misfit(write, tail);
    }
    if tail > 0 {
        fscache::stats::count_dio_misfit();
    }

    // Either way netfs is told.
    let operation = write.begin(len);
    let Ok(start) = i64::try_from(start) else {
        // No file has anything there.
        let _ended = operation.fail(EFBIG);
        return;
    };
    let _begun = submit(operation, start, tail, Room::Needed);
}

/// Finds room for a write that netfs has not prepared. Errors: as for [`Cache::has_space`].
///
/// [`Cache::has_space`]: crate::cache::Cache::has_space
fn find_room(object: &Object, file: &File, start: i64, len: usize) -> Result {
    object.cache().secure(|| {
        let pages = (len / PAGE_SIZE) as u64;
        let room = object.cache().has_space(0, pages, Purpose::Write);
        room.or_else(|error| do_without_room(object, file, start, len, error))
    })
}

/// Tries to write without room. Overwriting what has blocks takes none. Where only a part has,
/// these are given back: they hold what is old now. Error: `error`, there is no room for the write.
#[cold]
fn do_without_room(object: &Object, file: &File, start: i64, len: usize, error: Error) -> Result {
    let end = start.saturating_add_unsigned(len as u64);
    let discarded = match has_data(file, start, end) {
        Ok(false) => return Err(error),
        Ok(true) if seek::next_hole(file, start).is_ok_and(|hole| hole >= end) => return Ok(()),
        Ok(true) => discard(object, file, start, end),
        Err(error) => Err(error),
    };
    if discarded.is_err() {
        object.data().mark_stale(file);
    }
    Err(error)
}

/// Makes a hole of the range. Errors: those of `fallocate()`.
fn discard(object: &Object, file: &File, start: i64, end: i64) -> Result {
    let punched = injected_remove_error()
        .and_then(|()| file.fallocate(FallocMode::PunchHoleKeepSize, start, end - start));
    object.data().shortened(file);
    punched
}

/// Ends a write of which no whole page is left.
fn misfit(write: WriteSubrequest<'_, Cachefiles>, left: usize) {
    fscache::stats::count_dio_misfit();
    write.terminate(isize::try_from(left).unwrap_or(isize::MAX));
}

/// Finds room for a write, and sets `len` to the whole pages that it takes.
///
/// Errors: ENOBUFS it does not begin at a page, there is not enough memory for it, or no room on
/// the cache's file system; what the file system says.
pub(crate) fn prepare_write(
    resources: &mut Resources<'_, Cachefiles>,
    start: i64,
    len: &mut usize,
    upper_len: usize,
    no_space_allocated_yet: bool,
) -> Result {
    let (object, file) = wait_for_file(resources, WantState::Write).ok_or(ENOBUFS)?;
    check_start(start)?;
    if *len > upper_len {
        fscache::stats::count_dio_misfit();
        return Err(ENOBUFS);
    }
    *len = len.checked_next_multiple_of(PAGE_SIZE).ok_or(EFBIG)?;
    let cache = object.cache();
    if no_space_allocated_yet {
        let pages = (*len / PAGE_SIZE) as u64;
        return cache.secure(|| cache.has_space(0, pages, Purpose::Write));
    }
    let room = cache.secure(|| make_room(&object, file, start, *len));
    room.inspect_err(|&error| {
        if error != ENOBUFS {
            // It may have what the write was to replace. A cache of both modes goes on.
            object.data().mark_stale(file);
        }
        if error != ENOBUFS && error != EIO {
            trace::io_error(
                Some(object.debug_id()),
                file.inode(),
                error,
                ErrorSite::Seek,
            );
        }
    })
}

/// Finds room for a range that may have blocks already: overwriting those takes none.
fn make_room(object: &Object, file: &File, start: i64, len: usize) -> Result {
    let cache = object.cache();
    let pages = (len / PAGE_SIZE) as u64;
    let end = start.saturating_add_unsigned(len as u64);
    if !has_data(file, start, end)? {
        return cache.has_space(0, pages, Purpose::Write);
    }
    if cache.has_space(0, pages, Purpose::Check).is_ok() {
        return Ok(());
    }
    if seek::next_hole(file, start)? >= end {
        return Ok(());
    }
    // Some of it has no block yet, and there is no room: give the blocks that it has back.
    fscache::stats::count_no_write_space();
    discard(object, file, start, end).map_err(|error| {
        trace::io_error(
            Some(object.debug_id()),
            file.inode(),
            error,
            ErrorSite::Fallocate,
        );
        object.file_error(error, "fallocate failed");
        EIO
    })
}
