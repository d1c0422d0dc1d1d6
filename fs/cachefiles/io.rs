// SPDX-License-Identifier: GPL-2.0

//! Reading and writing cache files: direct I/O to the pages of netfs and EROFS.

use crate::object::{Object, ObjectRef};
use crate::space::Purpose;
use cachefiles_trace::{self as trace, ErrorSite, PrepRead, RefWhy};
use fscache::{CookieFlag, IoSource, ReadHole, Resources, SubreqFlags, Termination, WantState};
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::ARef;
use kext::errno::{ENOBUFS, ENODATA, ESTALE};
use kext::fs::{File, Whence};
use kext::io::{read_sync, submit_read, write_sync, IoCompletion, IovIter};
use kext::params::{injected_read_error, injected_write_error};

use crate::backend::Cachefiles;

/// `lseek()` for data or holes on a cache file, with the error that tests inject.
fn seek(file: &File, pos: i64, whence: Whence) -> Result<i64> {
    injected_read_error()?;
    file.llseek(pos, whence)
}

/// Attaches the object's file to the operation. False where there has to be one and is none.
pub(crate) fn begin(resources: &mut Resources<'_, Cachefiles>, want: WantState) -> bool {
    if resources.file().is_none() {
        resources.set_ops();
        let file = resources.object().and_then(|object| object.file());
        if let Some(file) = file {
            resources.set_file(file);
        }
    }
    if resources.file().is_none() && want != WantState::Params {
        kext::log::error!("An operation needs the object's file, and there is none");
        return false;
    }
    true
}

/// The object and its file, once netfs has them in the wanted state.
fn wait_for(
    resources: &mut Resources<'_, Cachefiles>,
    want: WantState,
) -> Option<(Arc<Object>, ARef<File>)> {
    if !resources.wait_for_operation(want) {
        return None;
    }
    let object: Arc<Object> = resources.object()?.into();
    Some((object, resources.file()?.into()))
}

/// What a read leaves to be done when it ends.
struct ReadDone {
    object: ObjectRef,
    file: ARef<File>,
    /// Bytes of hole in front that were filled with zeros.
    skipped: usize,
    /// What the cookie's counter said at the start: another value means that the data is old.
    inval_counter: u32,
    done: Termination,
}

impl IoCompletion for ReadDone {
    fn complete(self, result: isize, was_async: bool) {
        let Self {
            object,
            file,
            skipped,
            inval_counter,
            done,
        } = self;
        let outcome = if result < 0 {
            let error = kext::errno::error(result as i32);
            trace::io_error(
                Some(object.debug_id()),
                file.inode(),
                error,
                ErrorSite::Read,
            );
            result
        } else if object.cookie().inval_counter() == inval_counter {
            result.saturating_add_unsigned(skipped)
        } else {
            ESTALE.to_errno() as isize
        };
        // First ours: once the caller knows, it may end its access to the cookie, and then ours
        // would be the last reference to the object, in a context where it can't be put away.
        drop((object, file));
        done.finish(outcome, was_async);
    }
}

/// Reads from the cache. Returns 0 or a negative errno, EIOCBQUEUED where `done` comes later.
pub(crate) fn read(
    resources: &mut Resources<'_, Cachefiles>,
    start: i64,
    iter: &mut IovIter,
    hole: ReadHole,
    done: Termination,
) -> isize {
    match prepare_read(resources, start, iter, hole) {
        Ok(Prepared::Zeroed(len)) => {
            done.finish(len as isize, false);
            0
        }
        Ok(Prepared::Read {
            object,
            file,
            skipped,
        }) => {
            let pos = start.saturating_add_unsigned(skipped as u64);
            trace::read(object.debug_id(), file.inode(), pos, iter.count());
            if !done.is_wanted() {
                // Nobody would learn of the end: it has to come before we return.
                let result = injected_read_error().and_then(|()| read_sync(&file, pos, iter));
                return result.err().map_or(0, |error| error.to_errno() as isize);
            }
            let owner = ReadDone {
                object: object.grab(RefWhy::GetIoreq, RefWhy::PutIoreq),
                file: file.clone(),
                skipped,
                inval_counter: resources.inval_counter(),
                done,
            };
            match injected_read_error() {
                Ok(()) => match submit_read(&file, pos, iter, owner) {
                    Ok(result) => result,
                    Err((error, owner)) => finish(owner.done, error),
                },
                Err(error) => {
                    owner.complete(error.to_errno() as isize, false);
                    error.to_errno() as isize
                }
            }
        }
        Err(error) => finish(done, error),
    }
}

fn finish(done: Termination, error: Error) -> isize {
    let result = error.to_errno() as isize;
    done.finish(result, false);
    result
}

enum Prepared {
    /// All of it is a hole, and filled with zeros.
    Zeroed(usize),
    Read {
        object: Arc<Object>,
        file: ARef<File>,
        skipped: usize,
    },
}

fn prepare_read(
    resources: &mut Resources<'_, Cachefiles>,
    start: i64,
    iter: &mut IovIter,
    hole: ReadHole,
) -> Result<Prepared> {
    let (object, file) = wait_for(resources, WantState::Read).ok_or(ENOBUFS)?;
    fscache::stats::count_read();
    if hole == ReadHole::Ignore {
        return Ok(Prepared::Read {
            object,
            file,
            skipped: 0,
        });
    }
    let len = iter.count();
    let end = start.saturating_add_unsigned(len as u64);
    let data = match seek(&file, start, Whence::Data) {
        Ok(data) => data,
        Err(error) if error == ENXIO => end,
        Err(error) => return Err(error),
    };
    if data >= end {
        if hole == ReadHole::Fail {
            return Err(ENODATA);
        }
        iter.zero(len);
        return Ok(Prepared::Zeroed(len));
    }
    let skipped = usize::try_from(data - start).unwrap_or(0);
    iter.zero(skipped);
    Ok(Prepared::Read {
        object,
        file,
        skipped,
    })
}

/// Where the next data at or behind `start` is, and how long it goes on.
///
/// Errors: ENODATA none in the range; ENOBUFS the cache can't tell.
pub(crate) fn query_occupancy(
    resources: &mut Resources<'_, Cachefiles>,
    start: i64,
    len: usize,
    granularity: usize,
) -> Result<(i64, usize)> {
    let (object, file) = wait_for(resources, WantState::Read).ok_or(ENOBUFS)?;
    let block = object.cache().backing.space.block_size() as usize;
    let granularity = i64::try_from(granularity.max(block)).map_err(|_| ENOBUFS)?;
    let none_or_unknown = |error| if error == ENXIO { ENODATA } else { ENOBUFS };

    let data = seek(&file, start, Whence::Data).map_err(none_or_unknown)?;
    let end = start.saturating_add_unsigned(len as u64);
    let data_start = round_up(data, granularity).ok_or(ENODATA)?;
    if data_start >= end {
        return Err(ENODATA);
    }
    let hole = seek(&file, data, Whence::Hole).map_err(none_or_unknown)?;
    let data_end = hole - hole.rem_euclid(granularity);
    if data_end <= data_start {
        return Err(ENODATA);
    }
    let data_len = if data_end > end {
        len
    } else {
        usize::try_from(data_end - data_start).map_err(|_| ENOBUFS)?
    };
    Ok((data_start, data_len))
}

fn round_up(value: i64, unit: i64) -> Option<i64> {
    value
        .checked_add(unit - 1)
        .map(|value| value - value.rem_euclid(unit))
}

/// Sees to it that all of an on-demand read is in the cache, asking the daemon for what is not.
///
/// Always answers for the whole length: EROFS can't cope with an answer for a part of a
/// compressed extent.
pub(crate) fn prepare_ondemand_read(
    resources: &mut Resources<'_, Cachefiles>,
    start: i64,
    len: usize,
    i_size: i64,
    flags: &mut SubreqFlags<'_>,
    netfs_ino: u64,
) -> IoSource {
    let (object_id, cache_ino, (source, why)) = if start >= i_size {
        (None, 0, (IoSource::FillWithZeroes, PrepRead::AfterEof))
    } else {
        match wait_for_file(resources) {
            None => (None, 0, (IoSource::DownloadFromServer, PrepRead::NoFile)),
            Some((object, file)) => {
                let _secure = object.cache().secure();
                (
                    Some(object.debug_id()),
                    file.inode().ino(),
                    fill(&object, &file, start, len, flags),
                )
            }
        }
    };
    trace::prep_read(
        object_id,
        start,
        len,
        flags.raw() as u16,
        source as i32,
        why,
        cache_ino,
        netfs_ino,
    );
    source
}

fn wait_for_file(resources: &mut Resources<'_, Cachefiles>) -> Option<(Arc<Object>, ARef<File>)> {
    if resources.file().is_none() {
        return wait_for(resources, WantState::Read);
    }
    let object: Arc<Object> = resources.object()?.into();
    Some((object, resources.file()?.into()))
}

/// Fills every hole of the range, one request for each.
fn fill(
    object: &Arc<Object>,
    file: &File,
    start: i64,
    len: usize,
    flags: &mut SubreqFlags<'_>,
) -> (IoSource, PrepRead) {
    let end = start.saturating_add_unsigned(len as u64);
    let mut pos = start;
    while pos < end {
        let hole_end = match next_extent(file, pos, end) {
            Ok(Extent::Data(data_end)) => {
                pos = data_end;
                continue;
            }
            Ok(Extent::Hole(hole_end)) => hole_end,
            Err(error) => {
                trace::io_error(
                    Some(object.debug_id()),
                    file.inode(),
                    error,
                    ErrorSite::Seek,
                );
                return (IoSource::DownloadFromServer, PrepRead::SeekError);
            }
        };
        let why = if hole_end < end {
            PrepRead::FoundPart
        } else {
            PrepRead::FoundHole
        };
        flags.set_copy_to_cache();
        match object.cache().ondemand.fetch(object, file, pos, hole_end) {
            Ok(true) => flags.clear_ondemand(),
            // The daemon said that it is done, and the data is not there.
            Ok(false) => return (IoSource::DownloadFromServer, why),
            Err(_) => return (IoSource::InvalidRead, why),
        }
    }
    (IoSource::ReadFromCache, PrepRead::HaveData)
}

/// A stretch of a cache file, up to its end.
pub(crate) enum Extent {
    Data(i64),
    Hole(i64),
}

/// What is at `pos`, and up to where, at most `end`. Errors: those of `lseek()`.
///
/// Blocks that are data in part count as data, as they did when they were written: the daemon
/// writes whole pages.
pub(crate) fn next_extent(file: &File, pos: i64, end: i64) -> Result<Extent> {
    let data = match seek(file, pos, Whence::Data) {
        Ok(data) => data,
        Err(error) if error == ENXIO => return Ok(Extent::Hole(end)),
        Err(error) => return Err(error),
    };
    if data > pos {
        return Ok(Extent::Hole(data.min(end)));
    }
    let hole = seek(file, pos, Whence::Hole)?;
    Ok(Extent::Data(hole.min(end)))
}

/// The daemon's write through the anonymous fd, at a page boundary. Returns the bytes written.
///
/// Errors: ENOBUFS no file any more, not aligned, or no room; what the file system says.
pub(crate) fn write_from_daemon(object: &Object, pos: i64, iter: &mut IovIter) -> Result<usize> {
    let file = object.file().ok_or(ENOBUFS)?;
    let cache = object.cache();
    let len = iter.count();
    {
        let _secure = cache.secure();
        check_write(object, pos, len)?;
    }
    trace::ondemand_fd_write(object.debug_id(), file.inode(), pos, len);

    fscache::stats::count_write();
    trace::write(object.debug_id(), file.inode(), pos, len);
    let blocks = cache.backing.space.begin_write(len);
    let result = injected_write_error().and_then(|()| write_sync(&file, pos, iter));
    cache.backing.space.end_write(blocks);
    object.cookie().set_flag(CookieFlag::HaveData);
    result.inspect_err(|&error| {
        trace::io_error(
            Some(object.debug_id()),
            file.inode(),
            error,
            ErrorSite::Write,
        );
    })
}

/// Errors: ENOBUFS where the write does not begin at a page, or there is no room for it.
fn check_write(object: &Object, pos: i64, len: usize) -> Result {
    if pos.rem_euclid(PAGE_SIZE as i64) != 0 {
        fscache::stats::count_dio_misfit();
        return Err(ENOBUFS);
    }
    let pages = len.div_ceil(PAGE_SIZE) as u64;
    object.cache().has_space(0, pages, Purpose::Write)
}
