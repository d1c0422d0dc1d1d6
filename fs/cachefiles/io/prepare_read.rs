// SPDX-License-Identifier: GPL-2.0

//! Where the data of a read is: in the cache, with the daemon, or with the server.

use super::deferred::is_to_be_deferred;
use super::first_part::FirstPart;
use super::{wait_for, wait_for_file};
use crate::cache::object::Object;
use crate::data::extent::{round_down, round_up, Extent, Hole};
use crate::data::seek;
use crate::marker::Cachefiles;
use cachefiles_trace::{self as trace, ErrorSite, PrepRead};
use fscache::{CookieFlag, IoSource, Prepared, Resources, SubreqFlags, WantState};
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::ArcBorrow;
use kernel_ext::errno::{ENOBUFS, ENODATA};
use kernel_ext::fs::File;
use kernel_ext::io::Window;

/// Decides where the read of `len` bytes at `start` is to be served from, by a network file system:
/// `len` is shortened to what comes from one source.
pub(crate) fn prepare_read(
    resources: &mut Resources<'_, Cachefiles>,
    start: i64,
    len: &mut usize,
    i_size: i64,
    flags: &mut SubreqFlags<'_>,
    netfs_ino: u64,
) -> IoSource {
    let nothing_cached = resources.cookie().test_flag(CookieFlag::NoDataToRead);
    let (opened, (source, why)) = if start >= i_size {
        (None, (IoSource::FillWithZeroes, PrepRead::AfterEof))
    } else if nothing_cached {
        flags.set_copy_to_cache();
        (None, (IoSource::DownloadFromServer, PrepRead::NoData))
    } else if let Some((object, file)) = wait_for_file(resources, WantState::Read) {
        let first = || first_source(&object, file, start, len, i_size, flags);
        let found = object.cache().secure(first);
        let found = found.unwrap_or_else(|error| seek_failed(&object, file, error));
        (Some(object), found)
    } else {
        (None, (IoSource::DownloadFromServer, PrepRead::NoFile))
    };
    let object = opened.as_deref();
    trace_found(
        resources,
        object,
        start,
        *len,
        flags,
        (source, why),
        netfs_ino,
    );
    source
}

/// Has the daemon fill every hole in `len` bytes at `start`, so that they can be read; or leaves
/// that to the read, see [`super::deferred`] and [`super::straight`].
///
/// The range is never shortened, as EROFS can't cope with an answer for a part of a compressed
/// extent.
///
/// Inlined, as every read of an image comes by here. Errors: those of [`Engine::fetch`]; EIO no
/// file, no data after all, or the file system's; others of the file system.
///
/// [`Engine::fetch`]: crate::cache::ondemand::Engine::fetch
#[inline(always)]
pub(crate) fn prepare_ondemand_read(
    resources: &mut Resources<'_, Cachefiles>,
    start: i64,
    len: usize,
    flags: &mut SubreqFlags<'_>,
    netfs_ino: u64,
) -> Result<Prepared> {
    let (opened, filled) = match wait_for_file(resources, WantState::Read) {
        Some((object, file)) => {
            let end = start.saturating_add_unsigned(len as u64);
            let known_end = object.data().known_data_end(file, start);
            let filled = if known_end.is_some_and(|known_end| known_end >= end) {
                if object.is_streamed() {
                    read_on(object, file, start, end);
                }
                Ok(Prepared::Filled)
            } else if kernel_ext::params::straight_reads() || is_to_be_deferred(&object, len) {
                Ok(Prepared::Left)
            } else {
                fill(object, file, start, end, None, None, Some(flags)).map(|()| Prepared::Filled)
            };
            (Some(object), filled)
        }
        None => (
            None,
            Err((EIO, IoSource::DownloadFromServer, PrepRead::NoFile)),
        ),
    };
    let found = match filled {
        Ok(_) => (IoSource::ReadFromCache, PrepRead::HaveData),
        Err((_, source, why)) => (source, why),
    };
    trace_found(
        resources,
        opened.as_deref(),
        start,
        len,
        flags,
        found,
        netfs_ino,
    );
    filled.map_err(|(error, ..)| error)
}

#[inline]
fn trace_found(
    resources: &Resources<'_, Cachefiles>,
    object: Option<&Object>,
    start: i64,
    len: usize,
    flags: &SubreqFlags<'_>,
    (source, why): (IoSource, PrepRead),
    netfs_ino: u64,
) {
    trace::prep_read(
        object.map(Object::debug_id),
        start,
        len,
        flags.raw() as u16,
        source as i32,
        why,
        resources.file().map_or(0, |file| file.inode().ino()),
        netfs_ino,
    );
}

#[cold]
fn seek_failed(object: &Object, file: &File, error: Error) -> (IoSource, PrepRead) {
    trace::io_error(
        Some(object.debug_id()),
        file.inode(),
        error,
        ErrorSite::Seek,
    );
    (IoSource::DownloadFromServer, PrepRead::SeekError)
}

/// Finds where the first part of the range is. Shortens `len` to that part, in whole blocks.
///
/// Errors: those of `lseek()`.
fn first_source(
    object: &Object,
    file: &File,
    start: i64,
    len: &mut usize,
    i_size: i64,
    flags: &mut SubreqFlags<'_>,
) -> Result<(IoSource, PrepRead)> {
    // What is written is written in whole pages.
    let unit = i64::from(object.cache().backing.space.block_size()).max(PAGE_SIZE as i64);
    let end = start.saturating_add_unsigned(*len as u64);
    let mut download = |why| {
        flags.set_copy_to_cache();
        Ok((IoSource::DownloadFromServer, why))
    };
    let data_end = match object.data().extent_at(file, start, end)? {
        Extent::Data(data_end) => data_end,
        Extent::Hole(data) if data < end => {
            *len = distance(start, round_up(data, unit).ok_or(EFBIG)?).min(*len);
            return download(PrepRead::FoundPart);
        }
        Extent::Hole(_) => return download(PrepRead::FoundHole),
        Extent::LastHole => return download(PrepRead::SeekNxio),
    };
    if data_end < end {
        match FirstPart::of(start, data_end, i_size, unit).ok_or(EFBIG)? {
            FirstPart::Cached(data_end) => *len = distance(start, data_end).min(*len),
            FirstPart::Fetched => return download(PrepRead::FoundHole),
            FirstPart::FetchedOnly => {
                return Ok((IoSource::DownloadFromServer, PrepRead::FoundPart));
            }
        }
    }
    Ok((IoSource::ReadFromCache, PrepRead::HaveData))
}

fn distance(from: i64, to: i64) -> usize {
    usize::try_from(to - from).unwrap_or(0)
}

/// Why an on-demand read fails: the error, and what the trace says of it.
type Failure = (Error, IoSource, PrepRead);

/// Fills every hole of the range, one request for each: for whole pages, as the daemon may write
/// nothing else. On file systems with smaller blocks a hole may be less.
///
/// `first` is what is at the start, if that is known; `window` that of a read of just this range.
#[inline(never)]
pub(super) fn fill(
    object: ArcBorrow<'_, Object>,
    file: &File,
    start: i64,
    end: i64,
    mut first: Option<Extent>,
    window: Option<&Window>,
    mut flags: Option<&mut SubreqFlags<'_>>,
) -> Result<(), Failure> {
    let mut pos = start;
    let mut is_missing = false;
    while pos < end {
        let extent = match first.take() {
            Some(extent) => extent,
            None => extent_at(&object, file, pos, end)?,
        };
        let page = PAGE_SIZE as i64;
        let (hole_end, why) = match extent {
            Extent::Data(data_end) => {
                pos = data_end;
                continue;
            }
            Extent::Hole(data) if data < end => (
                round_up(data, page).map_or(end, |hole_end| hole_end.min(end)),
                PrepRead::FoundPart,
            ),
            Extent::Hole(_) => (end, PrepRead::FoundHole),
            Extent::LastHole => (end, PrepRead::SeekNxio),
        };
        if let Some(flags) = &mut flags {
            flags.set_copy_to_cache();
        }
        let fetched = match object.engine() {
            Some(engine) => {
                let hole = Hole {
                    start: round_down(pos, page),
                    end: hole_end,
                };
                let is_first = !core::mem::replace(&mut is_missing, true);
                let ahead = is_first
                    .then(|| engine.note_read(&object, start, end, true))
                    .flatten();
                engine.fetch(object, file, hole, pos, ahead, window)
            }
            // EROFS on a cache that is bound without a daemon to ask.
            None => Ok(None),
        };
        match fetched {
            Ok(Some(data_end)) => {
                if let Some(flags) = &mut flags {
                    flags.clear_ondemand();
                }
                pos = data_end;
            }
            // The daemon said that it is done, and the data is not there.
            Ok(None) => return Err((EIO, IoSource::DownloadFromServer, why)),
            Err(error) => return Err((error, IoSource::InvalidRead, why)),
        }
    }
    if !is_missing && object.is_streamed() {
        read_on(object, file, start, end);
    }
    Ok(())
}

/// Returns what is at `pos`. Errors: those of `lseek()`.
pub(super) fn extent_at(
    object: &Object,
    file: &File,
    pos: i64,
    end: i64,
) -> Result<Extent, Failure> {
    let extent = object.data().likely_extent_at(file, pos, end);
    extent.map_err(|error| {
        let (source, why) = seek_failed(object, file, error);
        (error, source, why)
    })
}

/// Goes on with READs ahead, after a read that has found all in the cache.
#[cold]
pub(super) fn read_on(object: ArcBorrow<'_, Object>, file: &File, start: i64, end: i64) {
    if let Some(engine) = object.engine() {
        engine.read_on(object, file, start, end);
    }
}

/// Finds where the next data at or behind `start` is, and how long it goes on.
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

    let data = seek::next_data(file, start).map_err(|_| ENOBUFS)?;
    let data = data.ok_or(ENODATA)?;
    let end = start.saturating_add_unsigned(len as u64);
    let data_start = round_up(data, granularity).ok_or(ENODATA)?;
    if data_start >= end {
        return Err(ENODATA);
    }
    let none_or_unknown = |error| if error == ENXIO { ENODATA } else { ENOBUFS };
    let hole = seek::next_hole(file, data).map_err(none_or_unknown)?;
    let data_end = round_down(hole, granularity);
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
