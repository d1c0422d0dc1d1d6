// SPDX-License-Identifier: GPL-2.0

//! Direct I/O on cache files, synchronous and asynchronous.
//!
//! C headers: [`include/linux/uio.h`](srctree/include/linux/uio.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h) (`struct kiocb`). Answers to
//! `fs/cachefiles/io.c`.

mod iter;
mod request;
mod window;

pub use self::iter::{Dest, Direction, IovIter, IovIterDest, IovIterSource, Source};
pub use self::request::{IoCompletion, Lender, RequestSlot, Transfer};
pub use self::window::{OpenWindow, View, Window};

use crate::{errno::error, fs::File};
use cachefiles_bindings as bindings;
use kernel::error::Result;

/// Creates a `kiocb` for direct I/O at `pos`.
#[inline]
fn new_kiocb<D: Direction>(file: &File, pos: i64) -> bindings::kiocb {
    let write = if D::WRITES { bindings::IOCB_WRITE } else { 0 };
    bindings::kiocb {
        ki_filp: file.as_ptr(),
        ki_pos: pos,
        // Both are low bits.
        ki_flags: (bindings::IOCB_DIRECT | write) as i32,
        ..Default::default()
    }
}

/// Submits the I/O to the file system. Allocations meanwhile do not call into file systems, as the
/// one of the cache must not wait for the one that is cached.
///
/// # Safety
///
/// - `kiocb` is set up by [`new_kiocb`] for `D`, and `iter` is a valid iterator in this direction.
/// - Both stay where they are until the `kiocb` is completed, if it has a completion, and until
///   this returns in any case; and so long its file is open, and the iterator's memory there.
#[inline]
unsafe fn start<D: Direction>(kiocb: *mut bindings::kiocb, iter: *mut bindings::iov_iter) -> isize {
    let ret = if D::WRITES {
        // SAFETY: A `kiocb` for a write to a file that is open, a valid iterator over what is to be
        // written (the caller's promise).
        unsafe { bindings::cfh_iocb_write_nofs(kiocb, iter) }
    } else {
        // SAFETY: A `kiocb` for a read of a file that is open, a valid iterator over memory to be
        // written to (the caller's promise).
        unsafe { bindings::cfh_iocb_read_nofs(kiocb, iter) }
    };
    if ret >= 0 || ret == -(bindings::EIOCBQUEUED as isize) {
        ret
    } else {
        without_restart(ret)
    }
}

/// Converts restart codes of interrupted I/O to EINTR, as a netfs operation cannot be restarted.
#[cold]
fn without_restart(ret: isize) -> isize {
    const RESTARTS: [u32; 4] = [
        bindings::ERESTARTSYS,
        bindings::ERESTARTNOINTR,
        bindings::ERESTARTNOHAND,
        bindings::ERESTART_RESTARTBLOCK,
    ];
    let is_restart = RESTARTS.iter().any(|&errno| ret == -(errno as isize));
    if is_restart {
        -(bindings::EINTR as isize)
    } else {
        ret
    }
}

/// Submits the I/O and waits for it. Returns the bytes transferred, or a negative error number.
#[inline]
fn run_sync<D: Direction>(file: &File, pos: i64, iter: &mut IovIter<'_, D>) -> isize {
    let mut kiocb = new_kiocb::<D>(file, pos);
    // SAFETY: The `kiocb` was set up for this just now, and the iterator is valid and of this
    // direction (its type's invariant). Without a completion the I/O is over when the call returns,
    // and until then both stay in their places, the file open, and the memory there.
    unsafe { start::<D>(&mut kiocb, iter.as_ptr()) }
}

#[inline]
fn bytes_or_error(result: isize) -> Result<usize> {
    // A negative answer is an error number, which an `i32` holds.
    usize::try_from(result).map_err(|_| error(result as i32))
}

/// Reads from the file at `pos` (bytes) by direct I/O, and waits for it. Returns the bytes read.
///
/// Process context; may sleep. Errors: `EINTR`, `EINVAL` for what direct I/O cannot do, `EIO`, and
/// others of the file system.
pub fn read_sync(file: &File, pos: i64, iter: &mut IovIterDest<'_>) -> Result<usize> {
    bytes_or_error(run_sync(file, pos, iter))
}

/// Writes to the file at `pos` (bytes) by direct I/O, and waits for it. Returns the bytes written.
///
/// Process context; may sleep. Errors: `EINTR`, `EINVAL` for what direct I/O cannot do, `ENOSPC`,
/// `EFBIG`, `EIO`, and others of the file system.
#[inline]
pub fn write_sync(file: &File, pos: i64, iter: &mut IovIterSource<'_>) -> Result<usize> {
    bytes_or_error(run_sync(file, pos, iter))
}
