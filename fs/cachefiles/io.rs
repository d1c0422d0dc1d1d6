// SPDX-License-Identifier: GPL-2.0

//! Reading and writing cache files: direct I/O to the pages of netfs and EROFS.

mod prepare_read;
mod read;
mod write;

pub(crate) use self::prepare_read::{prepare_read, query_occupancy};
pub(crate) use self::read::read;
pub(crate) use self::write::{
    issue_write, prepare_write, prepare_write_subreq, write, write_from_daemon,
};

use crate::backend::Cachefiles;
use crate::extent::Extent;
use crate::object::Object;
use fscache::{Resources, WantState};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::ARef;
use kext::fs::{File, Whence};
use kext::params::injected_read_error;

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

/// The same, but only waits where the operation has no file yet.
fn wait_for_file(
    resources: &mut Resources<'_, Cachefiles>,
    want: WantState,
) -> Option<(Arc<Object>, ARef<File>)> {
    if resources.file().is_none() {
        return wait_for(resources, want);
    }
    let object: Arc<Object> = resources.object()?.into();
    Some((object, resources.file()?.into()))
}

/// `lseek()` for data or holes on a cache file, with the error that tests inject.
fn seek(file: &File, pos: i64, whence: Whence) -> Result<i64> {
    injected_read_error()?;
    file.llseek(pos, whence)
}

/// What is at `pos`, and up to where, at most `end`. Errors: those of `lseek()`.
///
/// Asks the file system only for what is not known, and once where the answer is the expected one.
/// Blocks that are data in part count as data, as they did when they were written: the daemon
/// writes whole pages.
pub(crate) fn next_extent(object: &Object, file: &File, pos: i64, end: i64) -> Result<Extent> {
    let known = object.known(file);
    if let Some(data_end) = known.data_end(pos) {
        return Ok(Extent::Data(data_end.min(end)));
    }
    if !known.expects_data() {
        if let Some(hole) = hole_at(object, file, pos, end)? {
            return Ok(hole);
        }
    }
    let data_end = match seek(file, pos, Whence::Hole) {
        Err(error) if error == ENXIO => return Ok(Extent::LastHole),
        found => found?,
    };
    if data_end > pos {
        object.update_known(file, |now| now.learn_data(known.age(), pos, data_end));
        return Ok(Extent::Data(data_end.min(end)));
    }
    // None if data came in between the questions: to have it written again does no harm.
    Ok(hole_at(object, file, pos, end)?.unwrap_or(Extent::Hole(end)))
}

/// The hole at `pos`, if there is one.
fn hole_at(object: &Object, file: &File, pos: i64, end: i64) -> Result<Option<Extent>> {
    let hole = match seek(file, pos, Whence::Data) {
        Ok(data) if data == pos => return Ok(None),
        Ok(data) => Extent::Hole(data.min(end)),
        Err(error) if error == ENXIO => Extent::LastHole,
        Err(error) => return Err(error),
    };
    object.update_known(file, |now| now.learn_hole());
    Ok(Some(hole))
}
