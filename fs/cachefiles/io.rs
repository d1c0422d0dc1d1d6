// SPDX-License-Identifier: GPL-2.0

//! Reading and writing cache files: direct I/O to the pages of netfs and EROFS.

mod deferred;
mod first_part;
mod prepare_read;
mod read;
mod straight;
mod write;

pub(crate) use self::prepare_read::{prepare_ondemand_read, prepare_read, query_occupancy};
pub(crate) use self::read::read;
pub(crate) use self::write::{issue_write, prepare_write, prepare_write_subreq, write};

use crate::cache::object::Object;
use crate::marker::Cachefiles;
use fscache::{Begin, Resources, WantState};
use kernel::sync::ArcBorrow;
use kernel_ext::errno::ENOBUFS;
use kernel_ext::fs::File;

/// Attaches the object's file to the operation. Refused where there has to be one and is none;
/// failed, with ENOBUFS, if the object could not be looked up.
///
/// Waits while the daemon is asked for an object that is looked up. Failed, with EINTR, if the task
/// is killed meanwhile.
#[inline]
pub(crate) fn begin(resources: &mut Resources<'_, Cachefiles>, want: WantState) -> Begin {
    if resources.file().is_some() {
        return Begin::Begun;
    }
    if let Some(object) = resources.object() {
        if let Err(error) = object.lookup.wait() {
            return Begin::Failed(error);
        }
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

/// Returns the object and its file, once netfs has them in the wanted state.
#[inline]
fn wait_for<'a>(resources: &mut Resources<'a, Cachefiles>, want: WantState) -> Option<Opened<'a>> {
    if !resources.wait_for_operation(want) {
        return None;
    }
    Some((resources.object()?, resources.file()?))
}

/// Returns the object and its file. Waits for netfs, as [`wait_for`], only where the operation has
/// no file yet.
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
