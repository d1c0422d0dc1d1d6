// SPDX-License-Identifier: GPL-2.0

//! Error numbers that `kernel::error::code` of Linux 6.12 lacks.
//!
//! C headers: `include/uapi/asm-generic/errno-base.h`, `include/uapi/asm-generic/errno.h`

use cachefiles_bindings as bindings;
use core::num::NonZeroI32;
use kernel::error::{code, Error, Result};

/// Converts a positive error number to an [`Error`] at compile time. Fails to compile where it is
/// no errno.
const fn of(errno: u32) -> Error {
    assert!(errno > 0 && errno <= bindings::MAX_ERRNO);
    // The assertion above bounds the number, so that the cast keeps its value.
    let Some(value) = NonZeroI32::new(-(errno as i32)) else {
        panic!("zero is no errno");
    };
    // SAFETY: `Error` is a struct of one `NonZeroI32` (the compiler checks that the sizes agree)
    // whose invariant is that it holds a negative errno, which was asserted.
    unsafe { core::mem::transmute::<NonZeroI32, Error>(value) }
}

macro_rules! errnos {
    ($($name:ident $doc:literal,)*) => {$(
        #[doc = $doc]
        pub const $name: Error = of(bindings::$name);
    )*};
}

errnos! {
    ENOBUFS "No buffer space available; fscache's word for \"not cached\".",
    ESTALE "Stale file handle.",
    EOPNOTSUPP "Operation not supported.",
    ENODATA "No data available: the extended attribute is not there.",
    EALREADY "Operation already in progress.",
    EMSGSIZE "Message too long.",
    ETIMEDOUT "Connection timed out.",
    EBADFD "File descriptor in bad state.",
    ENAMETOOLONG "File name too long.",
}

/// Converts a negative error number to an [`Error`]. A number out of the range of errors becomes
/// EINVAL.
#[inline]
pub fn error(errno: i32) -> Error {
    match errno
        .checked_neg()
        .and_then(|positive| u32::try_from(positive).ok())
    {
        Some(positive) if positive > 0 && positive <= bindings::MAX_ERRNO => {
            Error::from_errno(errno)
        }
        _ => code::EINVAL,
    }
}

/// Converts the result of a C function of type `int`: negative numbers are errors, all others
/// success.
#[inline]
pub(crate) fn check(ret: i32) -> Result {
    if ret < 0 {
        Err(error(ret))
    } else {
        Ok(())
    }
}

/// Converts the result of a synchronous read or write of `asked` bytes to what C expects.
///
/// A larger number of bytes is cut down to `asked`, as callers advance by it. EIOCBQUEUED, which
/// promises a completion that never comes, becomes EIO: the kernel stops at a `BUG_ON()` where a
/// plain `write()` gets it.
#[inline]
pub(crate) fn to_ssize(result: Result<usize>, asked: usize) -> isize {
    match result {
        // No read or write is of more than `MAX_RW_COUNT` bytes.
        Ok(bytes) => isize::try_from(bytes.min(asked)).unwrap_or(isize::MAX),
        Err(code::EIOCBQUEUED) => code::EIO.to_errno() as isize,
        Err(error) => error.to_errno() as isize,
    }
}
