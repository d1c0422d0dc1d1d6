// SPDX-License-Identifier: GPL-2.0
//! What an error of a fetch means: whether trying again may help, and how to say it.

use std::io;

use cachefiles_protocol::Errno;

use crate::backend::{Fault, source_error};

/// Whether trying again is of no use: the blob is another one now, or ends before the range, or the
/// time is over.
pub fn is_final(error: &io::Error) -> bool {
    match source_error(error) {
        Some(error) => matches!(
            error.fault(),
            Fault::Changed | Fault::Corrupt | Fault::Useless
        ),
        None => matches!(
            Errno::from_io_error(error),
            Some(Errno::STALE | Errno::NODATA | Errno::TIMEDOUT)
        ),
    }
}

/// Whether the object was opened by a process whose fd may still be open somewhere: it may yet
/// serve what is asked for, within its time.
pub fn is_of_another(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::BADF)
}

/// Whether what came is not what the blob's index says.
pub fn is_corrupt(error: &io::Error) -> bool {
    source_error(error).is_some_and(|error| error.fault() == Fault::Corrupt)
}

/// Whether the cache had no room for the data.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOSPC | Errno::NOBUFS | Errno::DQUOT)
    )
}

/// What is wrong, for the log.
pub fn cause(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::STALE) => "the blob is another one now".into(),
        Some(Errno::NODATA) => "the range is behind the end of the blob: is it complete?".into(),
        Some(Errno::TIMEDOUT) => "its source did not answer in time (--fetch-deadline)".into(),
        Some(Errno::BADF) => "the object is not open here".into(),
        Some(Errno::NOSPC) => "the disk of the cache is full".into(),
        Some(Errno::NOBUFS) => {
            "there is no room in the cache: its disk is fuller than --bstop or --fstop say".into()
        }
        _ => error.to_string(),
    }
}
