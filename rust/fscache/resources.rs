// SPDX-License-Identifier: GPL-2.0

//! The resources of an operation on a cookie: cookie, object, file.
//!
//! C header: [`include/linux/netfs.h`](srctree/include/linux/netfs.h)
//! (`struct netfs_cache_resources`).

use crate::{netfs::NetfsOps, Backend, Cookie, WantState};
use cachefiles_bindings as bindings;
use core::{
    marker::PhantomData,
    ptr::NonNull,
    sync::atomic::{AtomicPtr, Ordering},
};
use kernel::{error::Error, ffi::c_void, sync::ArcBorrow, types::ARef};
use kernel_ext::{errno::error, fs::File};

/// The resources of an operation during one callback (`struct netfs_cache_resources`).
///
/// # Invariants
///
/// - `raw` is valid for `'a`. Its `cache_priv` is a cookie of `B`, to which there is an access for
///   `'a`.
/// - Its `cache_priv2` is null, or a file with a reference that the resources own. Once it is set
///   it stays, up to the end of `end_operation`.
pub struct Resources<'a, B: Backend> {
    raw: NonNull<bindings::netfs_cache_resources>,
    _cookie: PhantomData<&'a Cookie>,
    _backend: PhantomData<fn() -> B>,
}

impl<'a, B: Backend> Resources<'a, B> {
    /// # Safety
    ///
    /// The type invariants hold for `raw`, as fscache and netfs guarantee it in callbacks.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: *mut bindings::netfs_cache_resources) -> Self {
        // INVARIANT: By the caller's promise.
        Self {
            // SAFETY: Valid pointers are not null.
            raw: unsafe { NonNull::new_unchecked(raw) },
            _cookie: PhantomData,
            _backend: PhantomData,
        }
    }

    /// Borrows the resources for a shorter time.
    #[inline]
    pub(crate) fn reborrow(&self) -> Resources<'_, B> {
        // INVARIANT: All that holds for `'a` holds for a part of it.
        Resources {
            raw: self.raw,
            _cookie: PhantomData,
            _backend: PhantomData,
        }
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> NonNull<bindings::netfs_cache_resources> {
        self.raw
    }

    /// Returns the cookie.
    #[inline]
    pub fn cookie(&self) -> &'a Cookie {
        // SAFETY: The type invariant: a cookie with an access, and that has a reference.
        unsafe { Cookie::from_raw((*self.raw.as_ptr()).cache_priv.cast()) }
    }

    /// Returns the object of the cookie; none while it is looked up.
    #[inline]
    pub fn object(&self) -> Option<ArcBorrow<'a, B::Object>> {
        let object = self.cookie().private().cast::<B::Object>().cast_const();
        // SAFETY: It came out of an `Arc` when it was attached. An object is not withdrawn while
        // there is an access to its cookie, which there is for `'a` (type invariant).
        (!object.is_null()).then(|| unsafe { ArcBorrow::from_raw(object) })
    }

    #[inline]
    fn file_slot(&self) -> &AtomicPtr<c_void> {
        // SAFETY: Valid for `'a` (type invariant), and aligned. The operations of one request may
        // run at the same time; netfs only ever compares the field with null.
        unsafe { AtomicPtr::from_ptr(&raw mut (*self.raw.as_ptr()).cache_priv2) }
    }

    /// Returns the file, if the operation has one.
    #[inline]
    pub fn file(&self) -> Option<&'a File> {
        let file = self.file_slot().load(Ordering::Acquire);
        // SAFETY: The type invariant: a file with a reference, that stays up to the end of
        // `end_operation`. By then the callback that `'a` is the time of has returned, and in
        // `end_operation` itself nothing that has this lifetime outlives the backend's part.
        (!file.is_null()).then(|| unsafe { File::from_raw(file.cast()) })
    }

    /// Sets the file of the operation. If it has one already, that one stays, and the new one is
    /// dropped.
    #[inline]
    pub fn set_file(&mut self, file: ARef<File>) {
        let file = ARef::into_raw(file);
        let stored = self.file_slot().compare_exchange(
            core::ptr::null_mut(),
            file.as_ptr().cast(),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        if stored.is_err() {
            // SAFETY: The reference came out of an `ARef`, and the resources did not take it.
            drop(unsafe { ARef::from_raw(file) });
        }
    }

    /// Sets the functions of the backend. False if the operation has functions already.
    #[inline]
    pub(crate) fn set_ops(&mut self) -> bool {
        // SAFETY: Valid for `'a` (type invariant).
        let ops = unsafe { &raw mut (*self.raw.as_ptr()).ops };
        // SAFETY: A field of what is valid. Operations of one request that run at the same time
        // were begun before that, so that there is a table by then; hence no two write.
        unsafe {
            let has_none = ops.read_volatile().is_null();
            if has_none {
                ops.write_volatile(NetfsOps::<B>::table());
            }
            has_none
        }
    }

    /// Returns how often the object had been invalidated when the operation began.
    #[inline]
    pub fn inval_counter(&self) -> u32 {
        // SAFETY: Valid for `'a` (type invariant); the value only changes where an operation fails,
        // which is then alone with its resources.
        unsafe { (*self.raw.as_ptr()).inval_counter }
    }

    /// Makes it a failed operation, which from now on fails with this error.
    ///
    /// # Safety
    ///
    /// Nobody else uses the resources at this time.
    #[inline]
    pub(crate) unsafe fn fail(&mut self, error: Error) {
        // SAFETY: Valid for `'a` (type invariant), and ours alone; the table lives for ever. Nobody
        // but the backend looks at the counter, and of a failed operation only `failure` does.
        unsafe {
            (*self.raw.as_ptr()).inval_counter = error.to_errno().unsigned_abs();
            (*self.raw.as_ptr()).ops = NetfsOps::<B>::table_of_failed();
        }
    }

    /// Leaves it to the read that follows to have missing data fetched.
    ///
    /// # Safety
    ///
    /// Nobody else uses the resources at this time.
    #[inline]
    pub(crate) unsafe fn fetch_in_read(&mut self) {
        // SAFETY: Valid for `'a` (type invariant), and ours alone; the table lives for ever.
        unsafe { (*self.raw.as_ptr()).ops = NetfsOps::<B>::table_of_fetching() };
    }

    /// Returns the error that a failed operation fails with.
    #[inline]
    pub(crate) fn failure(&self) -> Error {
        // Error numbers are small.
        error(-(self.inval_counter() as i32))
    }

    /// Waits until the object has reached the state `want`, and begins the operation if it has no
    /// file yet: calls [`Backend::begin_operation`]. False if the object will never reach it.
    ///
    /// Process context. Sleeps uninterruptibly.
    #[inline]
    pub fn wait_for_operation(&mut self, want: WantState) -> bool {
        // SAFETY: Valid for `'a` (type invariant), with a cookie and an access to it. We hold no
        // reference into it, so the nested callback may use it as this one does.
        unsafe { bindings::fscache_wait_for_operation(self.raw.as_ptr(), want.as_raw()) }
    }

    /// Ends the operation: drops the file and ends the access to the cookie. Any context.
    ///
    /// # Safety
    ///
    /// Only at the very end of `end_operation`.
    #[inline]
    pub(crate) unsafe fn end(self) {
        let cookie = self.cookie().as_ptr();
        let file = self
            .file_slot()
            .swap(core::ptr::null_mut(), Ordering::AcqRel);
        if let Some(file) = NonNull::new(file.cast::<File>()) {
            // SAFETY: The type invariant: the resources own the reference, and nobody uses the
            // operation any more (the caller's promise).
            drop(unsafe { ARef::from_raw(file) });
        }
        // SAFETY: The access is the one that came with the operation, and nothing that it keeps
        // alive is used any more (the caller's promise).
        unsafe { bindings::cfh_fscache_end_io_access(cookie) };
    }
}
