// SPDX-License-Identifier: GPL-2.0

//! A fake network file system, as far as fscache sees one: volumes, cookies and operations.
//!
//! C headers: `include/linux/fscache.h`, `include/linux/netfs.h`

mod operation;

pub use self::operation::{End, Hole, Write, Writing};

use crate::{bindings, Buffer, Outcome};
use core::cell::Cell;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, Ordering};
use kernel::alloc::flags::GFP_KERNEL;
use kernel::error::from_err_ptr;
use kernel::ffi::c_void;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::sync::Arc;
use kernel_ext::errno::error;
use kernel_ext::io::IovIterDest;
use kernel_ext::sync::SetOnce;

/// An acquired volume. Dropping it relinquishes the volume.
///
/// # Invariants
///
/// `volume` is a volume that was acquired and is not relinquished.
pub struct NetVolume {
    volume: NonNull<bindings::fscache_volume>,
}

// SAFETY: A volume may be relinquished by another task than the one that acquired it.
unsafe impl Send for NetVolume {}

impl NetVolume {
    /// Acquires a volume for the cache of this name. Sleeps. Errors: EBUSY, there is such a volume
    /// already; ENOMEM.
    pub fn acquire(key: &CStr, cache: &CStr, coherency: &[u8]) -> Result<Self> {
        // SAFETY: Strings; and as many bytes as is said, which are copied.
        let volume = from_err_ptr(unsafe {
            bindings::__fscache_acquire_volume(
                key.as_char_ptr(),
                cache.as_char_ptr(),
                coherency.as_ptr().cast(),
                coherency.len(),
            )
        })?;
        // INVARIANT: Acquired just now.
        let volume = NonNull::new(volume).ok_or(ENOMEM)?;
        Ok(Self { volume })
    }

    /// Acquires a cookie of this volume. Error: EINVAL, the key is empty or something is too long,
    /// or ENOMEM.
    pub fn cookie(&self, wanted: Wanted<'_>) -> Result<NetCookie<'_>> {
        let advice = if wanted.has_size_of_cache {
            bindings::FSCACHE_ADV_WANT_CACHE_SIZE as u8
        } else {
            0
        };
        // SAFETY: A volume of ours; as many bytes as is said, which are copied.
        let cookie = unsafe {
            bindings::__fscache_acquire_cookie(
                self.volume.as_ptr(),
                advice,
                wanted.key.as_ptr().cast(),
                wanted.key.len(),
                wanted.aux.as_ptr().cast(),
                wanted.aux.len(),
                wanted.size,
            )
        };
        // INVARIANT: Acquired just now.
        let cookie = NonNull::new(cookie).ok_or(EINVAL)?;
        Ok(NetCookie {
            cookie,
            is_retired: Cell::new(false),
            _volume: PhantomData,
        })
    }
}

impl Drop for NetVolume {
    fn drop(&mut self) {
        // SAFETY: Ours, by the type invariant. All cookies are given up, as they borrow this.
        unsafe {
            bindings::__fscache_relinquish_volume(self.volume.as_ptr(), core::ptr::null(), false)
        };
    }
}

/// The parameters of a cookie.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Its key in the volume.
    pub key: &'a [u8],
    /// The coherency data.
    pub aux: &'a [u8],
    /// The size of the file, in bytes.
    pub size: i64,
    /// The cache tells the size (`FSCACHE_ADV_WANT_CACHE_SIZE`).
    pub has_size_of_cache: bool,
}

/// An acquired cookie. Dropping it relinquishes the cookie.
///
/// # Invariants
///
/// `cookie` is a cookie that was acquired and is not relinquished.
pub struct NetCookie<'a> {
    cookie: NonNull<bindings::fscache_cookie>,
    is_retired: Cell<bool>,
    _volume: PhantomData<&'a NetVolume>,
}

impl NetCookie<'_> {
    /// Uses the cookie until the result is dropped. A worker looks it up.
    pub fn use_for(&self, writing: bool) -> InUse<'_> {
        // SAFETY: Ours, by the type invariant.
        unsafe { bindings::__fscache_use_cookie(self.cookie.as_ptr(), writing) };
        InUse { cookie: self }
    }

    /// Has the cached data deleted when the cookie is relinquished.
    pub fn retire(&self) {
        self.is_retired.set(true);
    }

    fn state(&self) -> bindings::fscache_cookie_state {
        // SAFETY: Ours, by the type invariant; the state changes at any time, hence the volatile
        // read.
        unsafe { (&raw const (*self.cookie.as_ptr()).state).read_volatile() }
    }

    /// Returns whether the cookie was found, and can be read and written.
    pub fn is_active(&self) -> bool {
        self.state() == bindings::fscache_cookie_state_FSCACHE_COOKIE_STATE_ACTIVE
    }

    /// Returns whether the cache is not used for the cookie at present.
    pub fn is_quiescent(&self) -> bool {
        self.state() == bindings::fscache_cookie_state_FSCACHE_COOKIE_STATE_QUIESCENT
    }
}

impl Drop for NetCookie<'_> {
    fn drop(&mut self) {
        // SAFETY: Ours, by the type invariant. Nobody uses it, as `InUse` borrows this.
        unsafe {
            bindings::__fscache_relinquish_cookie(self.cookie.as_ptr(), self.is_retired.get())
        };
    }
}

/// A cookie that is in use.
pub struct InUse<'a> {
    cookie: &'a NetCookie<'a>,
}

impl InUse<'_> {
    /// Invalidates the cached data, as stale.
    pub fn invalidate(&self, size: i64) {
        // SAFETY: The cookie is ours, and there is no new coherency data.
        unsafe {
            let cookie = self.cookie.cookie.as_ptr();
            bindings::__fscache_invalidate(cookie, core::ptr::null(), size, 0);
        }
    }

    /// Begins a read operation, after waiting for the cookie to be looked up. Error: ENOBUFS, the
    /// cache cannot be used for it.
    pub fn begin_read(&self) -> Result<Reading<'_>> {
        let resources = KBox::new(bindings::netfs_cache_resources::default(), GFP_KERNEL)?;
        let resources = KBox::into_raw(resources);
        let cookie = self.cookie.cookie.as_ptr();
        // SAFETY: The place is for the resources, and stays; the cookie is ours.
        let ret = unsafe { bindings::__fscache_begin_read_operation(resources, cookie) };
        // INVARIANT: Begun just now, if there was no error.
        let reading = Reading {
            resources,
            has_begun: ret == 0,
            _use: PhantomData,
        };
        if ret == 0 {
            Ok(reading)
        } else {
            Err(error(ret))
        }
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        // SAFETY: The cookie is ours, and in use.
        unsafe {
            bindings::__fscache_unuse_cookie(
                self.cookie.cookie.as_ptr(),
                core::ptr::null(),
                core::ptr::null(),
            )
        };
    }
}

/// An operation that has begun. Ended when this is dropped.
///
/// # Invariants
///
/// `resources` came out of a `KBox`. If `has_begun`, an operation of them has begun.
pub struct Reading<'a> {
    resources: *mut bindings::netfs_cache_resources,
    has_begun: bool,
    _use: PhantomData<&'a InUse<'a>>,
}

/// The reported end of a read.
struct Told {
    result: SetOnce<(isize, Teller)>,
    times: AtomicU32,
}

/// The way in which the end of a read was told.
#[derive(Clone, Copy)]
struct Teller {
    was_async: bool,
    in_interrupt: bool,
}

/// A read that has ended.
pub struct Read {
    /// The buffer that was read into.
    pub buffer: Buffer,
    /// The return value of the call that began it.
    pub returned: i32,
    /// Bytes that were left in the iterator after that call.
    pub left: usize,
    /// Bytes, or a negative error number.
    pub result: isize,
    /// Whether its end was told as one in another context.
    pub was_async: bool,
    /// Whether its end was told in a hard interrupt, or with interrupts disabled.
    pub in_interrupt: bool,
    /// Whether its end was told before the call that began it returned.
    pub was_awaited: bool,
    /// How often its end was told.
    pub times: u32,
}

impl Reading<'_> {
    /// Prepares an on-demand read of `len` bytes. Returns whether they can be read from the cache,
    /// and how many of them.
    pub fn prepare(&self, start: i64, len: usize) -> Result<(bool, usize)> {
        self.check()?;
        let mut len = len;
        // SAFETY: The operation has begun (type invariant) and has functions; nothing else uses it
        // meanwhile.
        let from_cache =
            unsafe { bindings::cfk_fscache_prepare_ondemand_read(self.resources, start, &mut len) };
        Ok((from_cache, len))
    }

    /// Reads from the cache into the buffer, and waits for the end. If all of it is a hole, that is
    /// an error.
    #[track_caller]
    pub fn read(&self, start: i64, buffer: Buffer) -> Outcome<Read> {
        self.read_over(Hole::Fail, start, buffer)
    }

    /// Reads as [`Self::read`] does, with another treatment of holes.
    #[track_caller]
    pub fn read_over(&self, hole: Hole, start: i64, buffer: Buffer) -> Outcome<Read> {
        let len = buffer.len();
        self.read_by(hole, End::AtOnce, start, buffer, |buffer, f| {
            buffer.to_read_into(len, f)
        })
    }

    /// Reads as [`Self::read`] does, and has the end told in this way.
    #[track_caller]
    pub fn read_to_end(&self, end: End, start: i64, buffer: Buffer) -> Outcome<Read> {
        let len = buffer.len();
        self.read_by(Hole::Fail, end, start, buffer, |buffer, f| {
            buffer.to_read_into(len, f)
        })
    }

    /// Reads as [`Self::read`] does, with an iterator over a list of pages, as EROFS has for
    /// compressed images.
    #[track_caller]
    pub fn read_pages(&self, start: i64, buffer: Buffer) -> Outcome<Read> {
        let len = buffer.len();
        self.read_by(Hole::Fail, End::AtOnce, start, buffer, |buffer, f| {
            buffer.to_read_into_pages(len, f)
        })
    }

    #[track_caller]
    fn read_by(
        &self,
        hole: Hole,
        end: End,
        start: i64,
        mut buffer: Buffer,
        iterate: impl FnOnce(&mut Buffer, &mut dyn FnMut(&mut IovIterDest<'_>) -> i32) -> i32,
    ) -> Outcome<Read> {
        let told = Told {
            result: SetOnce::new(),
            times: AtomicU32::new(0),
        };
        let told = Arc::new(told, GFP_KERNEL)?;
        self.check()?;
        // A reference for the function that is called at the end. It is not dropped there, as a
        // test is to find out whether there is a second call.
        let private = Arc::into_raw(told.clone()).cast_mut();
        let (mut left, mut was_awaited) = (0, false);
        let returned = iterate(&mut buffer, &mut |iter| {
            let (cres, iter_ptr, hole) = (self.resources, iter.as_ptr(), hole.as_raw());
            let (func, private) = (Some(tell as Tell), private.cast());
            // SAFETY: The operation has begun (type invariant) and has functions. What `tell` needs
            // stays, and the memory up to the end of the read. Process context.
            let returned = unsafe {
                match end {
                    End::AtOnce => {
                        bindings::cfk_fscache_read(cres, start, iter_ptr, hole, func, private)
                    }
                    End::Late | End::Awaited => {
                        let is_awaited = end == End::Awaited;
                        bindings::cfk_read_late(
                            cres, start, iter_ptr, hole, func, private, is_awaited,
                        )
                    }
                }
            };
            left = iter.count();
            was_awaited = told.result.as_ref().is_some();
            returned
        });
        let waited = crate::wait_until("the read to end", || told.result.as_ref().is_some());
        let Some(&(result, teller)) = told.result.as_ref() else {
            // The memory may still be written to.
            core::mem::forget(buffer);
            waited?;
            return Err(EIO.into());
        };
        // SAFETY: It came out of an `Arc` for `tell`, which has run, as the read has ended.
        drop(unsafe { Arc::from_raw(private) });
        Ok(Read {
            buffer,
            returned,
            left,
            result,
            was_async: teller.was_async,
            in_interrupt: teller.in_interrupt,
            was_awaited,
            times: told.times.load(Ordering::SeqCst),
        })
    }
}

/// The C type of [`tell`].
type Tell = unsafe extern "C" fn(*mut c_void, isize, bool);

/// # Safety
///
/// `told` is a [`Told`] that is there still.
unsafe extern "C" fn tell(told: *mut c_void, result: isize, was_async: bool) {
    // SAFETY: By the caller's promise.
    let told = unsafe { &*told.cast_const().cast::<Told>() };
    told.times.fetch_add(1, Ordering::SeqCst);
    // Last, as the reader goes on then.
    let teller = Teller {
        was_async,
        // SAFETY: It only looks at the processor's state.
        in_interrupt: unsafe { bindings::cfk_is_in_interrupt() },
    };
    told.result.populate((result, teller));
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if self.has_begun {
            // SAFETY: The operation has begun (type invariant), and this is its end.
            unsafe { bindings::cfk_fscache_end_operation(self.resources) };
        }
        // SAFETY: It came out of a `KBox` (type invariant).
        drop(unsafe { KBox::from_raw(self.resources) });
    }
}
