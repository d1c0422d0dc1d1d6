// SPDX-License-Identifier: GPL-2.0

//! Questions to a file system: where a cache file has data, and where holes.

use kernel::prelude::*;
use kernel_ext::fs::{File, Whence};
use kernel_ext::params::injected_read_error;

/// Calls `lseek()` for data or holes on a cache file, with the error that tests inject.
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

/// Finds the first data at or behind `pos`. `None` where there is none. Errors: those of `lseek()`.
pub(crate) fn next_data(file: &File, pos: i64) -> Result<Option<i64>> {
    match seek(file, pos, Whence::Data) {
        Err(error) if error == ENXIO => Ok(None),
        data => data.map(Some),
    }
}

/// Finds the first hole at or behind `pos`. Errors: those of `lseek()`; ENXIO `pos` is behind the
/// end of the file.
pub(crate) fn next_hole(file: &File, pos: i64) -> Result<i64> {
    seek(file, pos, Whence::Hole)
}

/// Returns whether there is data in the range. Errors: those of `lseek()`.
pub(crate) fn has_data(file: &File, start: i64, end: i64) -> Result<bool> {
    Ok(next_data(file, start)?.is_some_and(|data| data < end))
}

/// Where the data at a position ends.
#[derive(Clone, Copy)]
pub(super) enum DataEnd {
    /// All of it is data.
    Sure(i64),
    /// Some of it may be nothing but what somebody read into the page cache.
    Unsure(i64),
}

/// Finds the end of the data at `pos`. Where somebody reads the file into the page cache meanwhile
/// it tries again, up to three times in all.
///
/// Errors: as for [`next_hole`].
pub(super) fn data_end(file: &File, pos: i64) -> Result<DataEnd> {
    let mut end = next_hole(file, pos)?;
    for _ in 0..2 {
        if !file.has_cached_pages(pos, end) {
            break;
        }
        end = next_hole(file, pos)?;
    }
    Ok(if file.has_cached_pages(pos, end) {
        DataEnd::Unsure(end)
    } else {
        DataEnd::Sure(end)
    })
}
