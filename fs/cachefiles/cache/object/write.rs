// SPDX-License-Identifier: GPL-2.0

//! Writing the file of an object: what the writes of netfs and those of the daemon have in common.

use super::Object;
use cachefiles_trace::{self as trace, ErrorSite};
use fscache::CookieFlag;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel_ext::errno::ENOBUFS;
use kernel_ext::fs::File;
use kernel_ext::io::{write_sync, IovIterSource};
use kernel_ext::params::injected_write_error;

/// Error: ENOBUFS where a write does not begin at a page.
#[inline]
pub(crate) fn check_start(start: i64) -> Result {
    if start.rem_euclid(PAGE_SIZE as i64) != 0 {
        fscache::stats::count_dio_misfit();
        return Err(ENOBUFS);
    }
    Ok(())
}

#[inline]
pub(crate) fn note_start(object: &Object, file: &File, start: i64, len: usize) -> u64 {
    fscache::stats::count_write();
    trace::write(object.debug_id(), file.inode(), start, len);
    object.cache().backing.space.begin_write(len)
}

/// Bytes written, or a negative error number.
#[inline]
pub(crate) fn write_now(file: &File, start: i64, iter: &mut IovIterSource<'_>) -> isize {
    let written = injected_write_error().and_then(|()| write_sync(file, start, iter));
    written.map_or_else(
        |error| error.to_errno() as isize,
        |len| isize::try_from(len).unwrap_or(isize::MAX),
    )
}

#[inline]
pub(crate) fn note_end(object: &Object, file: &File, blocks: u64, result: isize) {
    if result < 0 {
        note_error(object, file, result);
    }
    object.cache().backing.space.end_write(blocks);
    let cookie = object.cookie();
    if !cookie.test_flag(CookieFlag::HaveData) {
        cookie.set_flag(CookieFlag::HaveData);
    }
}

#[cold]
fn note_error(object: &Object, file: &File, result: isize) {
    // An error number, which an `i32` holds.
    let error = kernel_ext::errno::error(result as i32);
    trace::io_error(
        Some(object.debug_id()),
        file.inode(),
        error,
        ErrorSite::Write,
    );
}
