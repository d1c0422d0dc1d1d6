// SPDX-License-Identifier: GPL-2.0

//! Reading and writing cache files: direct I/O to the pages of netfs and EROFS.

mod deferred;
mod fetched;
mod missing;
mod prepare_read;
mod read;
mod write;

pub(crate) use self::deferred::{Deferred, DeferredNode};
pub(crate) use self::fetched::write_from_daemon;
pub(crate) use self::prepare_read::{prepare_ondemand_read, prepare_read, query_occupancy};
pub(crate) use self::read::read;
pub(crate) use self::write::{issue_write, prepare_write, prepare_write_subreq, write};

use crate::cache::object::Object;
use crate::data::extent::{Extent, Question};
use crate::marker::Cachefiles;
use fscache::{Begin, Resources, WantState};
use kernel::prelude::*;
use kernel::sync::ArcBorrow;
use kernel_ext::errno::ENOBUFS;
use kernel_ext::fs::{File, Whence};
use kernel_ext::params::injected_read_error;

/// Attaches the object's file to the operation. Refused where there has to be one and is none;
/// failed, with ENOBUFS, if the object could not be looked up.
#[inline]
pub(crate) fn begin(resources: &mut Resources<'_, Cachefiles>, want: WantState) -> Begin {
    if resources.file().is_some() {
        return Begin::Begun;
    }
    if let Some(object) = resources.object() {
        if object.is_missing() {
            return Begin::Failed(ENOBUFS);
        }
        if let Some(file) = object.file() {
            resources.set_file(file);
            return Begin::Begun;
        }
    }
    if want != WantState::Params {
        kernel_ext::log::error!("An operation needs the object's file, and there is none");
        return Begin::Refused;
    }
    Begin::Begun
}

/// An object and its file, for the time of a callback.
type Opened<'a> = (ArcBorrow<'a, Object>, &'a File);

/// The object and its file, once netfs has them in the wanted state.
#[inline]
fn wait_for<'a>(resources: &mut Resources<'a, Cachefiles>, want: WantState) -> Option<Opened<'a>> {
    if !resources.wait_for_operation(want) {
        return None;
    }
    Some((resources.object()?, resources.file()?))
}

/// The same, but only waits where the operation has no file yet.
#[inline]
fn wait_for_file<'a>(
    resources: &mut Resources<'a, Cachefiles>,
    want: WantState,
) -> Option<Opened<'a>> {
    match resources.file() {
        Some(file) => Some((resources.object()?, file)),
        None => wait_for(resources, want),
    }
}

/// `lseek()` for data or holes on a cache file, with the error that tests inject.
///
/// Blocks that were allocated and never written are a hole, but file systems say that they are data
/// as long as the page cache has something of them: that is so when somebody, a backup, has read
/// the file there. So what the page cache has is dropped before.
fn seek(file: &File, pos: i64, whence: Whence) -> Result<i64> {
    injected_read_error()?;
    // What stays is dirty, and so data, or in use: see `data_end`.
    let _ = file.drop_cached_pages();
    file.llseek(pos, whence)
}

/// What is at `pos`, and up to where, at most `end`. Errors: those of `lseek()`.
///
/// Asks the file system only for data that is not known, and once where the answer is the expected
/// one. Blocks that are data in part count as data, as they did when they were written: the daemon
/// writes whole pages.
#[inline(always)]
pub(crate) fn next_extent(object: &Object, file: &File, pos: i64, end: i64) -> Result<Extent> {
    match object.known_data_end(file, pos) {
        Some(data_end) => Ok(Extent::Data(data_end.min(end))),
        None => look_or_ask(object, file, pos, end),
    }
}

fn look_or_ask(object: &Object, file: &File, pos: i64, end: i64) -> Result<Extent> {
    let look = object.look(file, |known| known.data_end(pos).ok_or(known.question()));
    match look.unwrap_or(Err(Question::ANY)) {
        Ok(data_end) => Ok(Extent::Data(data_end.min(end))),
        Err(question) => ask(object, file, pos, question).map(|extent| extent.up_to(end)),
    }
}

/// The same, but takes a hole that was there before for one that is still there: where it is not,
/// the daemon is asked for what somebody else put there.
fn likely_extent(object: &Object, file: &File, pos: i64, end: i64) -> Result<Extent> {
    let look = object.look(file, |known| {
        let data = known.data_end(pos).map(Extent::Data);
        data.or_else(|| known.hole(pos)).ok_or(known.question())
    });
    let extent = match look.unwrap_or(Err(Question::ANY)) {
        Ok(extent) => extent,
        Err(question) => ask(object, file, pos, question)?,
    };
    Ok(extent.up_to(end))
}

/// The first hole from `pos` to `end`, as [`likely_extent`] finds it. Errors: those of `lseek()`.
fn next_hole(object: &Object, file: &File, mut pos: i64, end: i64) -> Result<Option<(i64, i64)>> {
    while pos < end {
        match likely_extent(object, file, pos, end)? {
            Extent::Data(data_end) => pos = data_end,
            hole => return Ok(hole.hole_end(end).map(|hole_end| (pos, hole_end))),
        }
    }
    Ok(None)
}

/// Asks the file system.
fn ask(object: &Object, file: &File, pos: i64, question: Question) -> Result<Extent> {
    if !question.expect_data {
        if let Some(hole) = hole_at(object, file, pos, question)? {
            return Ok(hole);
        }
    }
    let (data_end, is_sure) = match data_end(file, pos) {
        Err(error) if error == ENXIO => return Ok(Extent::LastHole),
        found => found?,
    };
    if data_end > pos {
        if is_sure {
            object.known(file, |known| known.answer_data(question, pos, data_end));
        }
        return Ok(Extent::Data(data_end));
    }
    // None if data came in between the questions: to have it written again does no harm.
    Ok(hole_at(object, file, pos, question)?.unwrap_or(Extent::Hole(i64::MAX)))
}

/// The end of the data at `pos`, and whether that is more than what somebody read into the page
/// cache in the meantime: else it is tried again, up to three times in all.
///
/// Errors: those of `lseek()`.
fn data_end(file: &File, pos: i64) -> Result<(i64, bool)> {
    let mut end = seek(file, pos, Whence::Hole)?;
    for _ in 0..2 {
        if !file.has_cached_pages(pos, end) {
            break;
        }
        end = seek(file, pos, Whence::Hole)?;
    }
    Ok((end, !file.has_cached_pages(pos, end)))
}

/// The hole at `pos`, if there is one.
fn hole_at(object: &Object, file: &File, pos: i64, question: Question) -> Result<Option<Extent>> {
    let hole = match seek(file, pos, Whence::Data) {
        Ok(data) if data == pos => return Ok(None),
        Ok(data) => Extent::Hole(data),
        Err(error) if error == ENXIO => Extent::LastHole,
        Err(error) => return Err(error),
    };
    object.known(file, |known| known.answer_hole(question, pos, hole));
    Ok(Some(hole))
}
