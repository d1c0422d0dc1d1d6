// SPDX-License-Identifier: GPL-2.0

//! The size of cache files: always whole blocks of direct I/O.

use crate::cache::coherency;
use crate::cache::object::Object;
use cachefiles_trace::{self as trace, ErrorSite, Trunc};
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel_ext::errno::ENOBUFS;
use kernel_ext::fs::{FallocMode, File};
use kernel_ext::params::{injected_remove_error, injected_write_error};

/// Unit of direct I/O on cache files, in bytes. Part of the on-disk format.
const DIO_BLOCK_SIZE: u64 = 4096;

/// Returns the size of the file that holds an object of `size` bytes. Error: EFBIG.
pub(crate) fn round_to_dio(size: u64) -> Result<i64> {
    size.checked_next_multiple_of(DIO_BLOCK_SIZE)
        .and_then(|size| i64::try_from(size).ok())
        .ok_or(EFBIG)
}

/// Fits the size of the object's file to the object, after look-up.
///
/// Runs with the cache's credentials. Errors: ENOBUFS no file or an I/O error; what the file
/// system says.
pub(crate) fn adjust(object: &Object) -> Result {
    let file = object.file().ok_or(ENOBUFS)?;
    let inode = file.inode();
    let new_size = round_to_dio(object.cookie().object_size())?;
    let old_size = inode.size();
    if old_size == new_size {
        return Ok(());
    }
    let result = {
        let write = object.cache().backing.want_write()?;
        let mut locked = inode.lock();
        let page_start = old_size - old_size.rem_euclid(PAGE_SIZE as i64);
        let cut_tail = if old_size != page_start && new_size > old_size {
            // A partial last page would keep what was behind the end from being read anew.
            injected_remove_error()
                .and_then(|()| locked.set_size(&write, file.dentry(), page_start))
        } else {
            Ok(())
        };
        cut_tail
            .and_then(|()| injected_write_error())
            .and_then(|()| locked.set_size(&write, file.dentry(), new_size))
    };
    object.data().shortened(&file);
    result.map_err(|error| {
        trace::io_error(None, inode, error, ErrorSite::NotifyChange);
        if error != EIO {
            return error;
        }
        object.file_error(error, "Size set failed");
        ENOBUFS
    })
}

/// Takes over the size that netfs has given the object.
pub(crate) fn resize(object: &Object, file: Option<&File>, new_size: u64) {
    let cookie = object.cookie();
    if new_size < cookie.object_size() {
        if let Some(file) = file {
            object.cache().secure(|| {
                let shortened = shorten(object, file, new_size);
                object.data().shortened(file);
                if shortened.is_err() {
                    // What should be gone would be there again when the object grows.
                    object.data().mark_stale(file);
                    coherency::remove_object(object, file);
                }
            });
        }
    }
    // Growing needs nothing: what is new has to be fetched, and is a hole so far.
    cookie.set_object_size(new_size);
}

/// Cuts the file off, and clears what is left of its last block.
fn shorten(object: &Object, file: &File, new_size: u64) -> Result {
    let id = object.debug_id();
    let inode = file.inode();
    let dio_size = round_to_dio(new_size)?;
    let new_size = i64::try_from(new_size).map_err(|_| EFBIG)?;

    trace::trunc(id, inode, inode.size(), dio_size, Trunc::Shrink);
    injected_remove_error()
        .and_then(|()| file.truncate(dio_size))
        .inspect_err(|&error| {
            trace::io_error(Some(id), inode, error, ErrorSite::Trunc);
            object.file_error(error, "Trunc-to-size failed");
        })?;
    if new_size < dio_size {
        trace::trunc(id, inode, dio_size, new_size, Trunc::DioAdjust);
        injected_write_error()
            .and_then(|()| file.fallocate(FallocMode::ZeroRange, new_size, dio_size - new_size))
            .inspect_err(|&error| {
                trace::io_error(Some(id), inode, error, ErrorSite::Fallocate);
                object.file_error(error, "Trunc-to-dio-size failed");
            })?;
    }
    Ok(())
}
