// SPDX-License-Identifier: GPL-2.0

//! Reads from the cache.

use super::{seek, wait_for};
use crate::backend::Cachefiles;
use crate::object::{IoRef, Object};
use cachefiles_trace::{self as trace, ErrorSite};
use fscache::{ReadHole, Resources, Termination, WantState};
use kernel::prelude::*;
use kext::errno::{ENOBUFS, ENODATA, ESTALE};
use kext::fs::{File, Whence};
use kext::io::{read_sync, IoCompletion, IovIter, RequestSlot};
use kext::params::injected_read_error;

/// What a read leaves to be done when it ends.
struct ReadDone {
    object: IoRef,
    /// Bytes of hole in front that were filled with zeros.
    skipped: usize,
    /// What the cookie's counter said at the start: another value means that the data is old.
    inval_counter: u32,
    failure: Failure,
    done: Termination,
}

/// What the caller is told of a read that fails.
#[derive(Clone, Copy)]
enum Failure {
    /// The error: there is no other source.
    Error,
    /// That nothing was read. netfs then asks the server, which for an error it does not: Linux
    /// 6.12 hands that on to whoever reads the file.
    Nothing,
}

impl Failure {
    /// Only netfs has looked for holes itself (`prepare_read`), and it has a server to go to.
    fn of(hole: ReadHole) -> Self {
        match hole {
            ReadHole::Ignore => Self::Nothing,
            ReadHole::Clear | ReadHole::Fail => Self::Error,
        }
    }

    fn outcome(self, error: Error) -> isize {
        match self {
            Self::Error => error.to_errno() as isize,
            Self::Nothing => 0,
        }
    }
}

impl IoCompletion for ReadDone {
    fn complete(self, file: &File, result: isize, was_async: bool) {
        let Self {
            object,
            skipped,
            inval_counter,
            failure,
            done,
        } = self;
        let outcome = if result < 0 {
            failure.outcome(note_error(&object, file, result))
        } else if object.cookie().inval_counter() == inval_counter {
            result.saturating_add_unsigned(skipped)
        } else {
            failure.outcome(ESTALE)
        };
        // First ours: once the caller knows, it may end its access to the cookie, and then ours
        // would be the last reference to the object, in a context where it can't be put away.
        drop(object);
        done.finish(outcome, was_async);
    }
}

#[cold]
fn note_error(object: &Object, file: &File, result: isize) -> Error {
    // An error number, which an `i32` holds.
    let error = kext::errno::error(result as i32);
    trace::io_error(
        Some(object.debug_id()),
        file.inode(),
        error,
        ErrorSite::Read,
    );
    error
}

/// Reads from the cache. Returns 0 or a negative errno, EIOCBQUEUED where `done` comes later.
#[inline]
pub(crate) fn read(
    resources: &mut Resources<'_, Cachefiles>,
    start: i64,
    iter: &mut IovIter,
    hole: ReadHole,
    done: Termination,
) -> isize {
    let failure = Failure::of(hole);
    let Some((object, file)) = wait_for(resources, WantState::Read) else {
        return finish(done, failure, ENOBUFS);
    };
    fscache::stats::count_read();
    let is_data = hole == ReadHole::Ignore || object.known_data_end(file, start).is_some();
    let skipped = if is_data {
        0
    } else {
        match skip_hole(file, start, iter, hole) {
            Ok(skipped) => skipped,
            Err(error) => return finish(done, failure, error),
        }
    };
    let len = iter.count();
    if !is_data && len == 0 {
        done.finish(skipped as isize, false);
        return 0;
    }
    let pos = start.saturating_add_unsigned(skipped as u64);
    trace::read(object.debug_id(), file.inode(), pos, len);
    if !done.is_wanted() {
        return read_now(file, pos, iter);
    }
    let Ok(slot) = RequestSlot::new() else {
        return finish(done, failure, ENOMEM);
    };
    let owner = ReadDone {
        object: IoRef::new(object),
        skipped,
        inval_counter: resources.inval_counter(),
        failure,
        done,
    };
    match injected_read_error() {
        Ok(()) => slot.submit_read(file, pos, iter, owner),
        Err(error) => {
            let result = error.to_errno() as isize;
            owner.complete(file, result, false);
            result
        }
    }
}

/// Nobody would learn of the end: it has to come before we return.
#[cold]
fn read_now(file: &File, pos: i64, iter: &mut IovIter) -> isize {
    let result = injected_read_error().and_then(|()| read_sync(file, pos, iter));
    result.err().map_or(0, |error| error.to_errno() as isize)
}

#[cold]
fn finish(done: Termination, failure: Failure, error: Error) -> isize {
    done.finish(failure.outcome(error), false);
    error.to_errno() as isize
}

/// Clears what is a hole at `start`, and returns its length in bytes; at most what there is to read.
///
/// Errors: ENODATA all of it is a hole, and that is not wanted; those of `lseek()`.
fn skip_hole(file: &File, start: i64, iter: &mut IovIter, hole: ReadHole) -> Result<usize> {
    let len = iter.count();
    let end = start.saturating_add_unsigned(len as u64);
    let data = match seek(file, start, Whence::Data) {
        Ok(data) => data.min(end),
        Err(error) if error == ENXIO => end,
        Err(error) => return Err(error),
    };
    if data == end && hole == ReadHole::Fail {
        return Err(ENODATA);
    }
    let skipped = usize::try_from(data - start).unwrap_or(0);
    iter.zero(skipped);
    Ok(skipped)
}
