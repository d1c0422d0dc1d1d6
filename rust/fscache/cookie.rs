// SPDX-License-Identifier: GPL-2.0

//! Cookies: the objects that a network file system asks to have cached.
//!
//! C header: [`include/linux/fscache.h`](srctree/include/linux/fscache.h)
//! (`struct fscache_cookie`).

use crate::CoherencyData;
use cachefiles_bindings as bindings;
use core::{
    ops::Deref,
    ptr::NonNull,
    sync::atomic::{AtomicPtr, Ordering},
};
use kernel::{ffi::c_void, types::Opaque};

/// Bits of `fscache_cookie::flags` that concern a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CookieFlag {
    /// The owner wants the object deleted.
    Retired = bindings::FSCACHE_COOKIE_RETIRED,
    /// The cache has no data to read.
    NoDataToRead = bindings::FSCACHE_COOKIE_NO_DATA_TO_READ,
    /// The attributes are to be written down.
    NeedsUpdate = bindings::FSCACHE_COOKIE_NEEDS_UPDATE,
    /// The owner wrote to the file locally.
    LocalWrite = bindings::FSCACHE_COOKIE_LOCAL_WRITE,
    /// Data was written to the cache.
    HaveData = bindings::FSCACHE_COOKIE_HAVE_DATA,
}

/// A cookie (`struct fscache_cookie`).
///
/// # Invariants
///
/// The cookie has a reference count above zero for as long as a reference to this value exists.
#[repr(transparent)]
pub struct Cookie(Opaque<bindings::fscache_cookie>);

// SAFETY: What is reached through a shared reference is constant, atomic, locked by fscache, or
// copied.
unsafe impl Send for Cookie {}
// SAFETY: What is reached through a shared reference is constant, atomic, locked by fscache, or
// copied.
unsafe impl Sync for Cookie {}

impl Cookie {
    /// Borrows a cookie from a pointer of C.
    ///
    /// # Safety
    ///
    /// `ptr` is a cookie that has a reference for all of `'a`.
    #[inline]
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::fscache_cookie) -> &'a Self {
        // SAFETY: `Cookie` is transparent over `fscache_cookie`; the rest is the caller's promise.
        // INVARIANT: The caller promises the reference.
        unsafe { &*ptr.cast() }
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut bindings::fscache_cookie {
        self.0.get()
    }

    /// Takes a reference. Any context.
    #[inline]
    pub fn get(&self) -> CookieRef {
        // SAFETY: `self` is a cookie with a reference (type invariant).
        unsafe { bindings::cfh_fscache_get_cookie(self.as_ptr()) };
        // INVARIANT: The reference was taken just now.
        CookieRef(NonNull::from(self))
    }

    /// Returns the number that identifies the cookie in traces.
    #[inline]
    pub fn debug_id(&self) -> u32 {
        // SAFETY: `self` is a cookie with a reference; the number does not change.
        unsafe { (*self.as_ptr()).debug_id }
    }

    /// Returns the key of the object in its volume; 1 to 255 bytes of any value.
    #[inline]
    pub fn key(&self) -> &[u8] {
        // SAFETY: `self` is a cookie with a reference. The key, which is in it or hangs off it, has
        // `key_len` bytes, lives as long, and does not change.
        unsafe {
            core::slice::from_raw_parts(
                bindings::cfh_fscache_get_key(self.as_ptr()).cast(),
                usize::from((*self.as_ptr()).key_len),
            )
        }
    }

    /// Returns fscache's hash of volume key and key. It is equal on all machines, as it is part of
    /// the layout on disk.
    #[inline]
    pub fn key_hash(&self) -> u32 {
        // SAFETY: `self` is a cookie with a reference; the hash does not change.
        unsafe { (*self.as_ptr()).key_hash }
    }

    /// Returns the coherency data as it is now.
    #[inline]
    pub fn aux(&self) -> CoherencyData {
        // SAFETY: `self` is a cookie with a reference; the length does not change.
        let len = unsafe { (*self.as_ptr()).aux_len };
        // SAFETY: `self` is a cookie with a reference. The C function writes `aux_len` bytes,
        // for which there is room.
        unsafe {
            CoherencyData::filled_by(len, |to| {
                bindings::cfh_fscache_copy_aux(self.as_ptr(), to);
            })
        }
    }

    /// Returns the size of the object in bytes, as the owner knows it.
    #[inline]
    pub fn object_size(&self) -> u64 {
        // SAFETY: `self` is a cookie with a reference. The owner may store a new size at any time,
        // in one access, hence the volatile read.
        let size = unsafe { (&raw const (*self.as_ptr()).object_size).read_volatile() };
        // The C code, too, takes it for unsigned.
        size as u64
    }

    /// Sets the size of the object in bytes.
    #[inline]
    pub fn set_object_size(&self, size: u64) {
        // SAFETY: `self` is a cookie with a reference. Others may read or store a size at any time,
        // in one access, hence the volatile write.
        unsafe { (&raw mut (*self.as_ptr()).object_size).write_volatile(size as i64) };
    }

    /// Returns how often the object was invalidated. Any context.
    #[inline]
    pub fn inval_counter(&self) -> u32 {
        // SAFETY: `self` is a cookie with a reference. The number changes under a lock that readers
        // do not take, hence the volatile read.
        unsafe { (&raw const (*self.as_ptr()).inval_counter).read_volatile() }
    }

    /// Returns whether the owner does not know the object's size and asks the cache for it.
    #[inline]
    pub fn wants_cache_size(&self) -> bool {
        // SAFETY: `self` is a cookie with a reference; the advice does not change.
        let advice = unsafe { (*self.as_ptr()).advice };
        u32::from(advice) & bindings::FSCACHE_ADV_WANT_CACHE_SIZE != 0
    }

    /// Returns whether a flag is set. Any context.
    #[inline]
    pub fn test_flag(&self, flag: CookieFlag) -> bool {
        // SAFETY: `self` is a cookie with a reference. Other bits are changed at any time, by
        // atomic operations, hence the volatile read.
        let flags = unsafe { (&raw const (*self.as_ptr()).flags).read_volatile() };
        flags & (1 << flag as u32) != 0
    }

    /// Sets a flag. Any context.
    #[inline]
    pub fn set_flag(&self, flag: CookieFlag) {
        // SAFETY: `self` is a cookie with a reference; the helper changes one bit, atomically.
        unsafe { bindings::cfh_fscache_set_cookie_flag(self.as_ptr(), flag as u32) };
    }

    /// Clears a flag. Any context.
    #[inline]
    pub fn clear_flag(&self, flag: CookieFlag) {
        // SAFETY: `self` is a cookie with a reference; the helper changes one bit, atomically.
        unsafe { bindings::cfh_fscache_clear_cookie_flag(self.as_ptr(), flag as u32) };
    }

    /// Clears a flag, and returns whether it was set. Any context.
    #[inline]
    pub fn test_and_clear_flag(&self, flag: CookieFlag) -> bool {
        // SAFETY: `self` is a cookie with a reference; the helper changes one bit, atomically.
        unsafe { bindings::cfh_fscache_test_and_clear_cookie_flag(self.as_ptr(), flag as u32) }
    }

    /// Implements [`Lookup::negative`](crate::Lookup::negative). Only for the worker that looks the
    /// cookie up, with the object attached. Takes the spinlock of the cookie.
    #[inline]
    pub(crate) fn lookup_negative(&self) {
        // SAFETY: `self` is a cookie with a reference (type invariant).
        unsafe { bindings::fscache_cookie_lookup_negative(self.as_ptr()) };
    }

    /// Implements [`Invalidation::resume`](crate::Invalidation::resume). Only for the worker that
    /// invalidates the cookie, and once. Takes the spinlock of the cookie.
    #[inline]
    pub(crate) fn resume_after_invalidation(&self) {
        // SAFETY: `self` is a cookie with a reference (type invariant).
        unsafe { bindings::fscache_resume_after_invalidation(self.as_ptr()) };
    }

    /// Marks the object as impossible to cache: it is withdrawn, and not retried until then. Only
    /// for the worker that looks the cookie up. Takes the spinlock of the cookie.
    #[inline]
    pub(crate) fn caching_failed(&self) {
        // SAFETY: `self` is a cookie with a reference (type invariant).
        unsafe { bindings::fscache_caching_failed(self.as_ptr()) };
    }

    /// Has the object withdrawn by a worker as soon as nobody has access to it, even if it is in
    /// use. Does not sleep: may be called under a spinlock.
    #[inline]
    pub fn withdraw(&self) {
        // SAFETY: `self` is a cookie with a reference (type invariant).
        unsafe { bindings::fscache_withdraw_cookie(self.as_ptr()) };
    }

    /// Returns the place of the pointer to the object of the backend.
    #[inline]
    fn private_slot(&self) -> &AtomicPtr<c_void> {
        // SAFETY: `self` is a cookie with a reference; the field is aligned, and lives as long.
        // fscache only ever compares it with null.
        unsafe { AtomicPtr::from_ptr(&raw mut (*self.as_ptr()).cache_priv) }
    }

    /// Returns the backend's object, null if there is none.
    #[inline]
    pub(crate) fn private(&self) -> *mut c_void {
        self.private_slot().load(Ordering::Acquire)
    }

    /// Stores the backend's object. False if there is one already.
    #[inline]
    pub(crate) fn set_private(&self, private: *mut c_void) -> bool {
        self.private_slot()
            .compare_exchange(
                core::ptr::null_mut(),
                private,
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// Removes the object of the backend.
    #[inline]
    pub(crate) fn take_private(&self) -> *mut c_void {
        self.private_slot()
            .swap(core::ptr::null_mut(), Ordering::AcqRel)
    }
}

/// A counted reference to a cookie.
///
/// The last reference frees the cookie and drops a reference to its volume, which may sleep.
///
/// # Invariants
///
/// Owns a reference to the cookie.
pub struct CookieRef(NonNull<Cookie>);

// SAFETY: A cookie may be used by any task, and the reference be given up by any.
unsafe impl Send for CookieRef {}
// SAFETY: Shared access to it gives shared access to the cookie, which any task may have.
unsafe impl Sync for CookieRef {}

impl Deref for CookieRef {
    type Target = Cookie;

    #[inline]
    fn deref(&self) -> &Cookie {
        // SAFETY: The type invariant: there is a reference that keeps it alive.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for CookieRef {
    #[inline]
    fn clone(&self) -> Self {
        self.get()
    }
}

impl Drop for CookieRef {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The type invariant: the reference is ours to give up.
        unsafe { bindings::cfh_fscache_put_cookie(self.as_ptr()) };
    }
}
