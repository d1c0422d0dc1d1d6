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

/// Checks where a write begins. Error: ENOBUFS not at a page.
#[inline]
pub(crate) fn check_start(start: i64) -> Result {
    if start.rem_euclid(PAGE_SIZE as i64) != 0 {
        fscache::stats::count_dio_misfit();
        return Err(ENOBUFS);
    }
    Ok(())
}

/// Begins a write of `len` bytes. Returns the blocks it takes, for [`end_write`].
#[inline]
pub(crate) fn begin_write(object: &Object, file: &File, start: i64, len: usize) -> u64 {
    fscache::stats::count_write();
    trace::write(object.debug_id(), file.inode(), start, len);
    object.cache().backing.space.begin_write(len)
}

/// Writes, and waits for the end. Returns the bytes written. Errors: what the file system says.
#[inline]
pub(crate) fn write_now(file: &File, start: i64, iter: &mut IovIterSource<'_>) -> Result<usize> {
    injected_write_error().and_then(|()| write_sync(file, start, iter))
}

/// Ends what [`begin_write`] began; `blocks` is what it returned.
#[inline]
pub(crate) fn end_write(object: &Object, file: &File, blocks: u64, error: Option<Error>) {
    if let Some(error) = error {
        trace_error(object, file, error);
    }
    object.cache().backing.space.end_write(blocks);
    let cookie = object.cookie();
    if !cookie.test_flag(CookieFlag::HaveData) {
        cookie.set_flag(CookieFlag::HaveData);
    }
}

#[cold]
fn trace_error(object: &Object, file: &File, error: Error) {
    trace::io_error(
        Some(object.debug_id()),
        file.inode(),
        error,
        ErrorSite::Write,
    );
}
