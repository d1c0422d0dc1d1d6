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
