// SPDX-License-Identifier: GPL-2.0

//! The functions that fscache calls: they convert, call the backend, and convert back.
//!
//! C header: [`include/linux/fscache-cache.h`](srctree/include/linux/fscache-cache.h)
//! (`struct fscache_cache_ops`).

use crate::{attach, Backend, Begin, Cookie, Invalidation, LookupSlot, Resources, WantState};
use cachefiles_bindings as bindings;
use core::{cell::Cell, marker::PhantomData, ptr::NonNull};
use kernel::{
    ffi::c_uint,
    sync::{Arc, ArcBorrow},
};

/// The table of functions of a backend (`struct fscache_cache_ops`).
pub(crate) struct CacheOps<B>(PhantomData<B>);

impl<B: Backend> CacheOps<B> {
    // Functions that begin with `cfh_` have a prototype that only C can have (see
    // `rust/helpers/ops.c`). They call the functions at the end of the table.
    const TABLE: bindings::cfh_cache_ops = bindings::cfh_cache_ops {
        ops: bindings::fscache_cache_ops {
            name: B::NAME.as_char_ptr(),
            acquire_volume: Some(Self::acquire_volume),
            free_volume: Some(Self::free_volume),
            lookup_cookie: Some(Self::lookup_cookie),
            withdraw_cookie: Some(Self::withdraw_cookie),
            resize_cookie: Some(Self::resize_cookie),
            invalidate_cookie: Some(Self::invalidate_cookie),
            begin_operation: Some(bindings::cfh_begin_operation),
            prepare_to_write: Some(Self::prepare_to_write),
        },
        begin_operation: Some(Self::begin_operation),
    };

    /// Returns the part of the table that fscache knows of, with the rest behind it.
    #[inline]
    pub(crate) fn table() -> *const bindings::fscache_cache_ops {
        let table: &'static bindings::cfh_cache_ops = &Self::TABLE;
        core::ptr::from_ref(table).cast()
    }

    /// # Safety
    ///
    /// Only called by fscache: the volume has a reference and no attachment, its cache an access.
    unsafe extern "C" fn acquire_volume(volume: *mut bindings::fscache_volume) {
        // SAFETY: By the function's promise; and what is valid is not null.
        unsafe { attach::acquire::<B>(NonNull::new_unchecked(volume)) };
    }

    /// # Safety
    ///
    /// Only called by fscache: the volume has an attachment and no reference.
    unsafe extern "C" fn free_volume(volume: *mut bindings::fscache_volume) {
        // SAFETY: By the function's promise; and what is valid is not null.
        unsafe { attach::free::<B>(NonNull::new_unchecked(volume)) };
    }

    /// # Safety
    ///
    /// Only called by fscache: the cookie and its volume have an access, and the cookie has no
    /// object.
    unsafe extern "C" fn lookup_cookie(raw: *mut bindings::fscache_cookie) -> bool {
        // SAFETY: The cookie has an access, and so a reference; its volume does not change.
        let (cookie, volume) = unsafe { (Cookie::from_raw(raw), (*raw).volume) };
        // SAFETY: The access to the volume keeps the cache from being relinquished.
        let cache = unsafe { attach::cache_of::<B>(volume) };
        // SAFETY: The volume has an access for the time of the call; it is not null.
        let attached = unsafe { attach::attached::<B>(NonNull::new_unchecked(volume)) };
        let found = B::lookup_cookie(
            cache.data().as_arc_borrow(),
            attached.map(Arc::as_arc_borrow),
            cookie,
            LookupSlot::new(cookie, cache),
        );
        // The object is withdrawn when fscache drops the cookie. Without this it would look up a
        // cookie again that still has its object.
        if !found && !cookie.private().is_null() {
            cookie.caching_failed();
        }
        found
    }

    /// # Safety
    ///
    /// Only called by fscache: the cookie has an object and no access, and no other callback has
    /// it.
    unsafe extern "C" fn withdraw_cookie(raw: *mut bindings::fscache_cookie) {
        // SAFETY: The cookie has a reference; its volume does not change.
        let (cookie, volume) = unsafe { (Cookie::from_raw(raw), (*raw).volume) };
        // SAFETY: The cookie has an object, which keeps its cache from being relinquished.
        let cache = unsafe { attach::cache_of::<B>(volume) };
        if let Some(object) = object_of::<B>(cookie) {
            B::withdraw_cookie(cookie, object);
        }
        let object = cookie.take_private().cast::<B::Object>().cast_const();
        if !object.is_null() {
            // The cache is not given up before the object is dropped.
            let leaving = cache.detach();
            // SAFETY: It came out of an `Arc` when it was attached, and was taken out of the cookie
            // just now.
            drop(unsafe { Arc::from_raw(object) });
            drop(leaving);
        }
    }

    /// # Safety
    ///
    /// Only called by fscache: the cookie has an access.
    unsafe extern "C" fn invalidate_cookie(raw: *mut bindings::fscache_cookie) -> bool {
        // SAFETY: The cookie has an access, and so a reference.
        let cookie = unsafe { Cookie::from_raw(raw) };
        let is_resumed = Cell::new(false);
        let is_done = object_of::<B>(cookie).is_some_and(|object| {
            B::invalidate_cookie(cookie, object, Invalidation::new(cookie, &is_resumed))
        });
        // If it is said to be done and was not resumed, fscache would invalidate again, and end an
        // access for it each time.
        is_done && is_resumed.get()
    }

    /// # Safety
    ///
    /// Only called by fscache, by the worker that alone withdraws the cookie.
    unsafe extern "C" fn prepare_to_write(raw: *mut bindings::fscache_cookie) {
        // SAFETY: The worker holds a reference to the cookie.
        let cookie = unsafe { Cookie::from_raw(raw) };
        if let Some(object) = object_of::<B>(cookie) {
            B::prepare_to_write(cookie, object);
        }
    }

    /// # Safety
    ///
    /// Only called by fscache: the resources are those of an operation that has begun.
    unsafe extern "C" fn resize_cookie(
        cres: *mut bindings::netfs_cache_resources,
        new_size: bindings::loff_t,
    ) {
        // SAFETY: By the function's promise.
        let mut resources = unsafe { Resources::from_raw(cres) };
        // Sizes of files are not negative.
        B::resize_cookie(&mut resources, new_size as u64);
    }

    /// # Safety
    ///
    /// Only called by fscache: the resources have a cookie, with an access.
    unsafe extern "C" fn begin_operation(
        cres: *mut bindings::netfs_cache_resources,
        want: c_uint,
    ) -> bool {
        // SAFETY: By the function's promise.
        let mut resources = unsafe { Resources::<B>::from_raw(cres) };
        let is_first = resources.set_ops();
        match B::begin_operation(&mut resources, WantState::from_raw(want)) {
            Begin::Begun => true,
            Begin::Failed(error) if is_first => {
                // SAFETY: An operation that had no functions until now is known to nobody but the
                // task that begins it.
                unsafe { resources.fail(error) };
                true
            }
            Begin::Failed(_) | Begin::Refused => false,
        }
    }
}

/// Returns the object of the cookie of a callback of fscache.
///
/// The result is valid during the callback: fscache runs one at a time for a cookie, and only
/// `withdraw_cookie` takes the object away.
#[inline]
fn object_of<B: Backend>(cookie: &Cookie) -> Option<ArcBorrow<'_, B::Object>> {
    let object = cookie.private().cast::<B::Object>().cast_const();
    // SAFETY: It came out of an `Arc` when it was attached, and is there for the time of the
    // callback, which is what `cookie` is borrowed for.
    (!object.is_null()).then(|| unsafe { ArcBorrow::from_raw(object) })
}
