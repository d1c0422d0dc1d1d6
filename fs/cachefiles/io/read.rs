// SPDX-License-Identifier: GPL-2.0

//! Reads from the cache.

use super::{deferred, wait_for};
use crate::cache::object::read::{start_read, Failure};
use crate::data::seek;
use crate::marker::Cachefiles;
use fscache::{Begun, ReadHole, ReadOperation, WantState};
use kernel::prelude::*;
use kernel_ext::errno::{ENOBUFS, ENODATA};
use kernel_ext::fs::File;
use kernel_ext::io::{IovIterDest, RequestSlot};

/// Reads from the cache.
#[inline]
pub(crate) fn read<'op>(
    mut operation: ReadOperation<'op, Cachefiles>,
    start: i64,
    hole: ReadHole,
) -> Begun<'op> {
    if hole == ReadHole::Fetch {
        return deferred::read(operation, start);
    }
    let (mut resources, iter) = operation.parts();
    let Some((object, file)) = wait_for(&mut resources, WantState::Read) else {
        return operation.finish(Failure::of(hole, true).outcome(ENOBUFS));
    };
    let failure = Failure::of(hole, object.is_ondemand());
    fscache::stats::count_read();
    let is_data = hole == ReadHole::Ignore || object.data().known_data_end(file, start).is_some();
    let skipped = if is_data {
        0
    } else {
        match skip_hole(file, start, iter, hole, failure) {
            Ok(skipped) => skipped,
            Err(error) => return operation.finish(failure.outcome(error)),
        }
    };
    let len = iter.count();
    if !is_data && len == 0 {
        return operation.finish(skipped as isize);
    }
    let Ok(slot) = RequestSlot::new() else {
        return operation.finish(failure.outcome(ENOMEM));
    };
    start_read(operation, slot, start, skipped, failure)
}

/// Clears what is a hole at `start`, and returns its length in bytes; at most what there is to
/// read.
///
/// Errors: ENODATA there is a hole, and none is wanted; those of `lseek()`.
fn skip_hole(
    file: &File,
    start: i64,
    iter: &mut IovIterDest<'_>,
    hole: ReadHole,
    failure: Failure,
) -> Result<usize> {
    let len = iter.count();
    let end = start.saturating_add_unsigned(len as u64);
    let data = seek::next_data(file, start)?.map_or(end, |data| data.min(end));
    let is_unwanted = match failure {
        Failure::Whole => data > start,
        Failure::Error | Failure::Nothing => data == end && hole == ReadHole::Fail,
    };
    if is_unwanted {
        return Err(ENODATA);
    }
    let skipped = usize::try_from(data - start).unwrap_or(0);
    iter.zero(skipped);
    Ok(skipped)
}
