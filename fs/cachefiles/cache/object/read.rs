// SPDX-License-Identifier: GPL-2.0

//! Reading the file of an object: direct I/O to the pages of netfs and EROFS.

use super::{IoRef, Object};
use crate::marker::Cachefiles;
use cachefiles_trace::{self as trace, ErrorSite};
use fscache::{Begun, ReadHole, ReadOperation, Termination};
use kernel::prelude::*;
use kernel_ext::errno::{ENOBUFS, ENODATA, ESTALE};
use kernel_ext::fs::File;
use kernel_ext::io::{IoCompletion, RequestSlot};
use kernel_ext::params::injected_read_error;

/// What a read leaves to be done when it ends.
pub(crate) struct ReadDone {
    object: IoRef,
    /// Bytes of hole in front that were filled with zeros.
    skipped: usize,
    /// Bytes behind them that were asked for.
    len: usize,
    /// What the cookie's counter said at the start: another value means that the data is old.
    inval_counter: u32,
    failure: Failure,
}

/// What the caller is told of a read that fails.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The error: there is no other source.
    Error,
    /// That nothing was read. netfs then asks the server, which for an error it does not: Linux
    /// 6.12 hands that on to the reader of the file.
    Nothing,
    /// That there was an I/O error, also where a part was read: EROFS takes that for all, and would
    /// show the memory as it was before.
    Whole,
}

impl Failure {
    /// Chooses by what the caller wants of holes. Only netfs has looked for holes itself
    /// (`prepare_read`), and it has a server to go to. Only EROFS wants no holes of a cache with a
    /// daemon: it asks for what was fetched.
    pub(crate) fn of(hole: ReadHole, is_ondemand: bool) -> Self {
        match hole {
            ReadHole::Ignore => Self::Nothing,
            ReadHole::Fail if is_ondemand => Self::Whole,
            ReadHole::Fetch => Self::Whole,
            ReadHole::Clear | ReadHole::Fail => Self::Error,
        }
    }

    pub(crate) fn outcome(self, error: Error) -> isize {
        match self {
            Self::Error => error.to_errno() as isize,
            Self::Nothing => 0,
            // Of the cache, and not of what is read from it: a reader of the image can't know them.
            Self::Whole if [ENOBUFS, ENODATA, ESTALE].contains(&error) => EIO.to_errno() as isize,
            Self::Whole => error.to_errno() as isize,
        }
    }
}

impl IoCompletion for ReadDone {
    fn complete(self, file: &File, result: isize, _was_async: bool) -> isize {
        let Self {
            object,
            skipped,
            len,
            inval_counter,
            failure,
        } = self;
        if result >= 0 && result.unsigned_abs() < len {
            // Somebody has cut the file off, and not even its number of blocks has told.
            object.data().doubt(file);
        }
        if result < 0 {
            failure.outcome(note_error(&object, file, result))
        } else if failure == Failure::Whole && result.unsigned_abs() < len {
            failure.outcome(note_error(&object, file, EIO.to_errno() as isize))
        } else if object.cookie().inval_counter() == inval_counter {
            result.saturating_add_unsigned(skipped)
        } else {
            failure.outcome(ESTALE)
        }
        // Our reference to the object goes before the caller is told: that one may end its access
        // to the cookie, and then ours would be the last one, in a context where the object can't
        // be withdrawn.
    }
}

#[cold]
fn note_error(object: &Object, file: &File, result: isize) -> Error {
    // An error number, which an `i32` holds.
    let error = kernel_ext::errno::error(result as i32);
    trace::io_error(
        Some(object.debug_id()),
        file.inode(),
        error,
        ErrorSite::Read,
    );
    error
}

/// Starts the read of what the operation has memory for, behind `skipped` bytes at `start`.
#[inline]
pub(crate) fn start_read<'op>(
    mut operation: ReadOperation<'op, Cachefiles>,
    slot: RequestSlot<ReadDone, Termination>,
    start: i64,
    skipped: usize,
    failure: Failure,
) -> Begun<'op> {
    let (resources, iter) = operation.parts();
    let (Some(object), Some(file)) = (resources.object(), resources.file()) else {
        return operation.finish(failure.outcome(ENOBUFS));
    };
    let len = iter.count();
    let pos = start.saturating_add_unsigned(skipped as u64);
    trace::read(object.debug_id(), file.inode(), pos, len);
    let owner = ReadDone {
        object: IoRef::new(object),
        skipped,
        len,
        inval_counter: resources.inval_counter(),
        failure,
    };
    if let Err(error) = injected_read_error() {
        let outcome = owner.complete(file, error.to_errno() as isize, false);
        return operation.finish(outcome);
    }
    let file = file.into();
    operation.submit(slot, file, pos, owner)
}

/// Ends the read of memory that the daemon's writes have filled, with no I/O.
pub(crate) fn end_filled<'op>(mut operation: ReadOperation<'op, Cachefiles>) -> Begun<'op> {
    let (resources, iter) = operation.parts();
    let len = iter.count();
    if resources.cookie().inval_counter() == resources.inval_counter() {
        operation.finish(len as isize)
    } else {
        operation.finish(Failure::Whole.outcome(ESTALE))
    }
}
