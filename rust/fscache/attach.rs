// SPDX-License-Identifier: GPL-2.0

//! The attachment of a volume: how it is made and taken off.
//!
//! Answers to `cachefiles_acquire_volume()` and `cachefiles_free_volume()` of
//! `fs/cachefiles/volume.c`. The module `volume` says why the two ways to take it off cannot race.

use crate::{
    cache::{CachePrivate, Leaving},
    Backend, VolumeHandle,
};
use cachefiles_bindings as bindings;
use core::{
    ptr::NonNull,
    sync::atomic::{AtomicPtr, Ordering},
};
use kernel::{alloc::flags::GFP_KERNEL, ffi::c_void, prelude::*, sync::Arc};

/// The attachment of a volume, to which `fscache_volume::cache_priv` points.
struct Attachment<B: Backend> {
    handle: VolumeHandle,
    data: Arc<B::Volume>,
}

/// # Safety
///
/// `raw` is a volume that is not freed during `'a`.
#[inline]
unsafe fn private_slot<'a>(raw: NonNull<bindings::fscache_volume>) -> &'a AtomicPtr<c_void> {
    // SAFETY: By the caller's promise; the field is aligned. fscache only ever compares it with
    // null.
    unsafe { AtomicPtr::from_ptr(&raw mut (*raw.as_ptr()).cache_priv) }
}

/// Returns the cache that a volume is in.
///
/// # Safety
///
/// `raw` is a volume in a cache of `B` that is not relinquished during `'a`.
#[inline]
pub(crate) unsafe fn cache_of<'a, B: Backend>(
    raw: *mut bindings::fscache_volume,
) -> &'a CachePrivate<B> {
    // SAFETY: A volume holds its cache, and one of `B` that is not relinquished has our structure
    // in `cache_priv`.
    unsafe { &*(*(*raw).cache).cache_priv.cast() }
}

/// Returns the backend's volume, if there is one.
///
/// # Safety
///
/// `raw` is a volume in a cache of `B`, with an access for all of `'a`.
#[inline]
pub(crate) unsafe fn attached<'a, B: Backend>(
    raw: NonNull<bindings::fscache_volume>,
) -> Option<&'a Arc<B::Volume>> {
    // SAFETY: An access keeps the volume, and what is attached to it: it is detached only when all
    // accesses have ended.
    unsafe {
        let attachment = private_slot(raw)
            .load(Ordering::Acquire)
            .cast::<Attachment<B>>();
        attachment.as_ref().map(|attachment| &attachment.data)
    }
}

/// Takes the attachment off the volume. The cache is not relinquished before the second part of the
/// result is dropped.
///
/// # Safety
///
/// `raw` is a volume in a cache of `B`, with a reference or in the hands of `free_volume`, and
/// nobody uses its attachment.
pub(crate) unsafe fn take_attachment<B: Backend>(
    raw: NonNull<bindings::fscache_volume>,
) -> Option<(Arc<B::Volume>, Leaving)> {
    // SAFETY: The volume is not freed meanwhile (the caller's promise).
    let attachment = unsafe { private_slot(raw) }.swap(core::ptr::null_mut(), Ordering::AcqRel);
    if attachment.is_null() {
        return None;
    }
    // SAFETY: It still counts as attached, so the cache is not relinquished yet.
    let leaving = unsafe { cache_of::<B>(raw.as_ptr()) }.detach();
    // SAFETY: It came out of a `KBox` in `acquire()`, and was taken out of the volume just now, by
    // us alone.
    let attachment = unsafe { KBox::from_raw(attachment.cast::<Attachment<B>>()) };
    Some((KBox::into_inner(attachment).data, leaving))
}

/// Implements `fscache_cache_ops::acquire_volume`: has the backend acquire the volume, and attaches
/// it.
///
/// # Safety
///
/// `raw` is a volume with a reference and without an attachment, in a cache of `B` with an access.
pub(crate) unsafe fn acquire<B: Backend>(raw: NonNull<bindings::fscache_volume>) {
    // SAFETY: The access keeps the cache from being relinquished.
    let cache = unsafe { cache_of::<B>(raw.as_ptr()) };
    let Ok(place) = KBox::<Attachment<B>>::new_uninit(GFP_KERNEL) else {
        return;
    };
    // SAFETY: A volume with a reference. Below it is either given up right here, or attached, and
    // fscache does not free an attached volume before `free_volume` took it away.
    let Some(handle) = (unsafe { VolumeHandle::new::<B>(raw) }) else {
        return;
    };
    let data = B::acquire_volume(cache.data().as_arc_borrow(), handle.clone())
        .filter(|data| B::volume_attached(cache.data().as_arc_borrow(), data).is_ok());
    let Some(data) = data else {
        handle.take_raw(|_| true);
        return;
    };
    cache.attach();
    let attachment = KBox::write(
        place,
        Attachment {
            handle: handle.clone(),
            data,
        },
    );
    handle.attach_with(|| {
        // SAFETY: A volume with a reference.
        unsafe { private_slot(raw) }.store(KBox::into_raw(attachment).cast(), Ordering::Release);
    });
}

/// Implements `fscache_cache_ops::free_volume`: takes the attachment off, and hands it to the
/// backend.
///
/// # Safety
///
/// `raw` is a volume in a cache of `B`, with an attachment and without a reference.
pub(crate) unsafe fn free<B: Backend>(raw: NonNull<bindings::fscache_volume>) {
    // SAFETY: Nobody else takes the attachment off: that needs a reference.
    let attachment = unsafe {
        private_slot(raw)
            .load(Ordering::Acquire)
            .cast::<Attachment<B>>()
            .as_ref()
    };
    if let Some(attachment) = attachment {
        // From here on no reference can be taken through a handle.
        attachment.handle.clone().take_raw(|_| true);
    }
    // SAFETY: The volume is in our hands, and without a reference there is no access.
    if let Some((data, leaving)) = unsafe { take_attachment::<B>(raw) } {
        // This may sleep. Meanwhile the cache is not given up, and so neither is the module.
        B::free_volume(data);
        drop(leaving);
    }
}
