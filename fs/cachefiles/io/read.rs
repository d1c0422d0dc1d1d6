// SPDX-License-Identifier: GPL-2.0

//! Reads from the cache.

use super::{seek, wait_for};
use crate::backend::Cachefiles;
use crate::object::{Object, ObjectRef};
use cachefiles_trace::{self as trace, ErrorSite, RefWhy};
use fscache::{ReadHole, Resources, Termination, WantState};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::ARef;
use kext::errno::{ENOBUFS, ENODATA, ESTALE};
use kext::fs::{File, Whence};
use kext::io::{read_sync, submit_read, IoCompletion, IovIter};
use kext::params::injected_read_error;

/// What a read leaves to be done when it ends.
struct ReadDone {
    object: ObjectRef,
    file: ARef<File>,
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
    fn complete(self, result: isize, was_async: bool) {
        let Self {
            object,
            file,
            skipped,
            inval_counter,
            failure,
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
            failure.outcome(error)
        } else if object.cookie().inval_counter() == inval_counter {
            result.saturating_add_unsigned(skipped)
        } else {
            failure.outcome(ESTALE)
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
    let failure = Failure::of(hole);
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
                failure,
                done,
            };
            match injected_read_error() {
                Ok(()) => match submit_read(&file, pos, iter, owner) {
                    Ok(result) => result,
                    Err((error, owner)) => finish(owner.done, failure, error),
                },
                Err(error) => {
                    owner.complete(error.to_errno() as isize, false);
                    error.to_errno() as isize
                }
            }
        }
        Err(error) => finish(done, failure, error),
    }
}

fn finish(done: Termination, failure: Failure, error: Error) -> isize {
    done.finish(failure.outcome(error), false);
    error.to_errno() as isize
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
