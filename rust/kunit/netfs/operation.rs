// SPDX-License-Identifier: GPL-2.0

//! Operations of the fake network file system, beyond a plain read.
//!
//! C header: `include/linux/netfs.h`, `struct netfs_cache_ops`

use super::{tell, InUse, Reading, Told};
use crate::{bindings, Buffer, Outcome};
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU32, Ordering};
use kernel::alloc::flags::GFP_KERNEL;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel_ext::errno::{error, ENOBUFS};
use kernel_ext::sync::SetOnce;

/// The treatment of holes by a read.
#[derive(Clone, Copy, Debug)]
pub enum Hole {
    /// It is cleared in front of data.
    Clear,
    /// Where there is nothing else, it is an error.
    Fail,
}

/// The way in which the end of a read is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Wherever the read ends.
    AtOnce,
    /// By a worker, if the read ends in an interrupt (`rust/helpers/late.c`).
    Late,
    /// By the caller, who waits for it, as is done without memory to tell it late.
    Awaited,
}

impl Hole {
    pub(super) fn as_raw(self) -> bindings::netfs_read_from_hole {
        match self {
            Self::Clear => bindings::netfs_read_from_hole_NETFS_READ_HOLE_CLEAR,
            Self::Fail => bindings::netfs_read_from_hole_NETFS_READ_HOLE_FAIL,
        }
    }
}

/// A write that has ended.
pub struct Write {
    /// The return value of the call that began it.
    pub returned: i32,
    /// Bytes, or a negative error number.
    pub result: isize,
    /// How often its end was told.
    pub times: u32,
}

impl InUse<'_> {
    /// Begins a write operation, after waiting for the cookie to be looked up. Error: ENOBUFS, the
    /// cache cannot be used for it.
    pub fn begin_write(&self) -> Result<Writing<'_>> {
        let resources = KBox::new(bindings::netfs_cache_resources::default(), GFP_KERNEL)?;
        let resources = KBox::into_raw(resources);
        let cookie = self.cookie.cookie.as_ptr();
        // SAFETY: The place is for the resources, and stays; the cookie is ours.
        let ret = unsafe { bindings::__fscache_begin_write_operation(resources, cookie) };
        // INVARIANT: Begun just now, if there was no error.
        let operation = Reading {
            resources,
            has_begun: ret == 0,
            _use: PhantomData,
        };
        if ret == 0 {
            Ok(Writing(operation))
        } else {
            Err(error(ret))
        }
    }
}

impl Reading<'_> {
    /// Checks that the operation has functions. Error: ENOBUFS, the cache gave none.
    pub(super) fn check(&self) -> Result {
        // SAFETY: Valid (type invariant).
        if unsafe { (*self.resources).ops }.is_null() {
            return Err(ENOBUFS);
        }
        Ok(())
    }

    /// Finds the next data at or behind `start`: its start and length, in bytes. Errors: ENODATA,
    /// there is none; ENOBUFS, the cache cannot tell.
    pub fn occupancy(&self, start: i64, len: usize, granularity: usize) -> Result<(i64, usize)> {
        self.check()?;
        let (mut data_start, mut data_len) = (-1, 0);
        // SAFETY: The operation has begun (type invariant) and has functions; both places are ours.
        let ret = unsafe {
            bindings::cfk_query_occupancy(
                self.resources,
                start,
                len,
                granularity,
                &mut data_start,
                &mut data_len,
            )
        };
        if ret == 0 {
            Ok((data_start, data_len))
        } else {
            Err(error(ret))
        }
    }
}

/// A write operation that has begun. Ended when this is dropped.
pub struct Writing<'a>(Reading<'a>);

impl Writing<'_> {
    /// Prepares a write at `start`. Returns the bytes that the cache will take. Errors: ENOBUFS,
    /// not at a page, or no room.
    pub fn prepare(&self, start: i64, len: usize, upper_len: usize) -> Result<(i64, usize)> {
        self.0.check()?;
        let (mut start, mut len) = (start, len);
        // SAFETY: The operation has begun (invariant of `Reading`) and has functions; both places
        // are ours.
        let ret = unsafe {
            bindings::cfk_prepare_write(self.0.resources, &mut start, &mut len, upper_len)
        };
        if ret == 0 {
            Ok((start, len))
        } else {
            Err(error(ret))
        }
    }

    /// Writes the buffer to the cache, and waits for the end.
    #[track_caller]
    pub fn write(&self, start: i64, buffer: Buffer) -> Outcome<Write> {
        let mut buffer = buffer;
        let told = Told {
            result: SetOnce::new(),
            times: AtomicU32::new(0),
        };
        let told = Arc::new(told, GFP_KERNEL)?;
        self.0.check()?;
        // A reference for the function that is called at the end, dropped after it.
        let private = Arc::into_raw(told.clone()).cast_mut();
        let len = buffer.len();
        let returned = buffer.to_write_from(len, |iter| {
            // SAFETY: The operation has begun (invariant of `Reading`) and has functions. What
            // `tell` needs stays, and the memory up to the end of the write.
            unsafe {
                bindings::cfk_fscache_write(
                    self.0.resources,
                    start,
                    iter.as_ptr(),
                    Some(tell),
                    private.cast(),
                )
            }
        });
        let waited = crate::wait_until("the write to end", || told.result.as_ref().is_some());
        let Some(&(result, _)) = told.result.as_ref() else {
            // The memory may still be read.
            core::mem::forget(buffer);
            waited?;
            return Err(EIO.into());
        };
        // SAFETY: `private` came out of an `Arc`, and the write that had it has ended.
        drop(unsafe { Arc::from_raw(private) });
        Ok(Write {
            returned,
            result,
            times: told.times.load(Ordering::SeqCst),
        })
    }

    /// Writes the buffer to the cache without a function to be told by. Returns the value that the
    /// call returned.
    pub fn write_untold(&self, start: i64, buffer: &mut Buffer) -> Result<i32> {
        self.0.check()?;
        let len = buffer.len();
        Ok(buffer.to_write_from(len, |iter| {
            // SAFETY: The operation has begun (invariant of `Reading`) and has functions. Without a
            // function to call, a cache does not access the memory after it returns.
            unsafe {
                bindings::cfk_fscache_write(
                    self.0.resources,
                    start,
                    iter.as_ptr(),
                    None,
                    core::ptr::null_mut(),
                )
            }
        }))
    }
}
