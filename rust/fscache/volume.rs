// SPDX-License-Identifier: GPL-2.0

//! Volumes: what a network file system groups cookies by.
//!
//! C header: [`include/linux/fscache.h`](srctree/include/linux/fscache.h)
//! (`struct fscache_volume`). Answers to `fs/cachefiles/volume.c`.
//!
//! # Who lets go first
//!
//! A backend must not hold a reference to a volume for as long as it is attached, or the volume
//! would never be freed. So there are two ways for an attached volume to end:
//!
//! - Its last reference goes. fscache then calls `free_volume`, and frees the volume once that has
//!   returned.
//! - The cache goes. The backend takes a reference ([`Volume::try_get`]), so that the first way is
//!   barred; withdraws the volume, which waits for the end of all accesses; and detaches it.
//!
//! `try_get` has to be safe while `free_volume` is on its way. The C code gets by with its list of
//! volumes: a volume that is found there, under the list's lock, has not been through
//! `free_volume`. Here a [`VolumeHandle`] does not depend on a list: the pointer to the volume is
//! under a spinlock of the handle's own, and is taken away under it by whichever way is the first.
//! A reference is taken under the spinlock only if the count is not 0, and while it is not 0
//! `free_volume` is not called.

use crate::{cache::CachePrivate, Backend, CoherencyData};
use cachefiles_bindings as bindings;
use core::{
    any::TypeId,
    ops::Deref,
    ptr::NonNull,
    sync::atomic::{AtomicPtr, Ordering},
};
use kernel::{
    alloc::flags::GFP_KERNEL,
    ffi::c_void,
    prelude::*,
    sync::{new_spinlock, Arc, SpinLock},
};

/// What changes about a volume.
struct State {
    /// The volume; not freed while it is here. `None` once it is detached.
    raw: Option<NonNull<bindings::fscache_volume>>,
    /// It has the access more that attached volumes have.
    is_pinned: bool,
    /// All accesses have ended, for good.
    is_withdrawn: bool,
    /// As it was when the volume was detached.
    coherency: CoherencyData,
}

// SAFETY: The pointer is to a structure of C, which may be used in any task.
unsafe impl Send for State {}

/// A volume: what stays the same about it, and the way to the rest for as long as it is there.
#[pin_data]
pub struct Volume {
    debug_id: u32,
    /// With a NUL at the end.
    key: KVec<u8>,
    /// Whose attachment `cache_priv` is.
    backend: TypeId,
    /// Taken inside the backend's locks. No other lock is taken inside but those of fscache's
    /// tracepoints.
    #[pin]
    state: SpinLock<State>,
}

impl Volume {
    /// The key; any bytes but NUL.
    #[inline]
    pub fn key(&self) -> &[u8] {
        self.key.split_last().map_or(&[], |(_, key)| key)
    }

    /// The key with a NUL at its end.
    #[inline]
    pub fn key_with_nul(&self) -> &[u8] {
        &self.key
    }

    /// The number by which traces name it.
    #[inline]
    pub fn debug_id(&self) -> u32 {
        self.debug_id
    }

    /// The coherency data as it is now; or as it was when the volume was detached.
    pub fn coherency(&self) -> CoherencyData {
        let state = self.state.lock();
        match state.raw {
            // SAFETY: A volume is not freed while it is in the state.
            Some(raw) => unsafe { read_coherency(raw) },
            None => state.coherency.clone(),
        }
    }

    /// Accesses at this moment, the one that pins it among them. 0 once it is detached.
    pub fn n_accesses(&self) -> i32 {
        let state = self.state.lock();
        state.raw.map_or(0, |raw| {
            // SAFETY: A volume is not freed while it is in the state.
            unsafe { bindings::cfh_fscache_volume_accesses(raw.as_ptr()) }
        })
    }
}

/// # Safety
///
/// `raw` is a volume that is not freed meanwhile.
unsafe fn read_coherency(raw: NonNull<bindings::fscache_volume>) -> CoherencyData {
    // SAFETY: By the caller's promise; the length does not change.
    let len = unsafe { (*raw.as_ptr()).coherency_len };
    CoherencyData::filled_by(len, |to| {
        // SAFETY: By the caller's promise; `to` has room for `coherency_len` bytes.
        unsafe { bindings::cfh_fscache_copy_volume_coherency(raw.as_ptr(), to) };
    })
}

/// A backend's way to a volume, without a reference to it.
#[derive(Clone)]
pub struct VolumeHandle(Arc<Volume>);

impl Deref for VolumeHandle {
    type Target = Volume;

    #[inline]
    fn deref(&self) -> &Volume {
        &self.0
    }
}

impl VolumeHandle {
    /// `None` if memory lacks.
    ///
    /// # Safety
    ///
    /// `raw` is a volume with a reference, and stays valid until [`Volume::take_raw`].
    unsafe fn new<B: Backend>(raw: NonNull<bindings::fscache_volume>) -> Option<Self> {
        // SAFETY: A volume with a reference (the caller's promise). Its key does not change: a byte
        // with the length, as many bytes, and at least one NUL.
        let (debug_id, key) = unsafe {
            let key = (*raw.as_ptr()).key;
            let len = usize::from(*key);
            (
                (*raw.as_ptr()).debug_id,
                core::slice::from_raw_parts(key.add(1), len),
            )
        };
        let mut copy = KVec::with_capacity(key.len().checked_add(1)?, GFP_KERNEL).ok()?;
        copy.extend_from_slice(key, GFP_KERNEL).ok()?;
        copy.push(0, GFP_KERNEL).ok()?;
        let volume = Arc::pin_init(
            pin_init!(Volume {
                debug_id,
                key: copy,
                backend: TypeId::of::<B>(),
                state <- new_spinlock!(
                    State {
                        raw: Some(raw),
                        is_pinned: false,
                        is_withdrawn: false,
                        coherency: CoherencyData::EMPTY,
                    },
                    "fscache_volume_handle"
                ),
            }),
            GFP_KERNEL,
        );
        volume.ok().map(Self)
    }

    /// Takes a reference. `None` once the volume is detached, and when fscache is about to free it:
    /// [`Backend::free_volume`] is then called soon, if it is not running already.
    ///
    /// Does not sleep.
    pub fn try_get(&self) -> Option<VolumeRef> {
        let state = self.state.lock();
        let raw = state.raw?;
        // SAFETY: A volume is not freed while it is in the state.
        let raw = NonNull::new(unsafe { bindings::cfh_fscache_try_get_volume(raw.as_ptr()) })?;
        // INVARIANT: The reference was taken just now.
        Some(VolumeRef {
            raw,
            handle: self.clone(),
        })
    }

    /// [`VolumeRef::detach`] with a reference for the time of the call.
    pub fn detach<B: Backend>(&self) -> Option<Arc<B::Volume>> {
        self.try_get()?.detach::<B>()
    }

    /// Takes the pointer to the volume away, with its coherency data kept. `None` if that was done
    /// before, or if `allow` says no.
    fn take_raw(
        &self,
        allow: impl FnOnce(&State) -> bool,
    ) -> Option<NonNull<bindings::fscache_volume>> {
        let mut state = self.state.lock();
        if !allow(&state) {
            return None;
        }
        let raw = state.raw.take()?;
        // SAFETY: A volume is not freed while it is in the state, where it was until just now, and
        // who else wants to take it away waits for the lock.
        state.coherency = unsafe { read_coherency(raw) };
        Some(raw)
    }
}

/// A counted reference to a volume.
///
/// The last one frees the volume, which may sleep.
///
/// # Invariants
///
/// Owns a reference to the volume `raw`.
pub struct VolumeRef {
    raw: NonNull<bindings::fscache_volume>,
    handle: VolumeHandle,
}

// SAFETY: The reference may be used and given up by any task.
unsafe impl Send for VolumeRef {}
// SAFETY: As above.
unsafe impl Sync for VolumeRef {}

impl Deref for VolumeRef {
    type Target = Volume;

    #[inline]
    fn deref(&self) -> &Volume {
        &self.handle
    }
}

impl VolumeRef {
    /// Waits until all accesses to the volume have ended. May sleep.
    ///
    /// Does nothing for a volume that is not attached, and in a cache that is still active:
    /// [`AcquiredCache::withdraw`](crate::AcquiredCache::withdraw) comes first. The second call
    /// does not wait for the first.
    pub fn withdraw(&self) {
        {
            let mut state = self.state.lock();
            // SAFETY: The volume has a reference (type invariant), and keeps its cache alive.
            let is_active =
                unsafe { bindings::cfh_fscache_cache_is_active((*self.raw.as_ptr()).cache) };
            if !state.is_pinned || is_active {
                return;
            }
            state.is_pinned = false;
        }
        // SAFETY: The volume has a reference (type invariant), and the access that is given up here
        // was taken when it was attached.
        unsafe { bindings::fscache_withdraw_volume(self.raw.as_ptr()) };
        self.state.lock().is_withdrawn = true;
    }

    /// Detaches the backend's volume and returns it. `None` if it is detached already, if it was
    /// not withdrawn, or if it is another backend's.
    pub fn detach<B: Backend>(&self) -> Option<Arc<B::Volume>> {
        if self.backend != TypeId::of::<B>() {
            return None;
        }
        let raw = self.handle.take_raw(|state| state.is_withdrawn)?;
        // SAFETY: The volume has a reference (type invariant), so `free_volume` is not called, and
        // it was withdrawn, so nobody is using what is attached to it. The attachment is of `B`.
        unsafe { take_attachment::<B>(raw) }
    }
}

impl Drop for VolumeRef {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The type invariant: the reference is ours to give up.
        unsafe { bindings::cfh_fscache_put_volume(self.raw.as_ptr()) };
    }
}

/// What `fscache_volume::cache_priv` points to.
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

/// The cache that a volume is in.
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

/// The backend's volume, if there is one.
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

/// Takes the attachment off the volume.
///
/// # Safety
///
/// `raw` is a volume in a cache of `B`, with a reference or in the hands of `free_volume`, and
/// nobody uses what is attached to it.
unsafe fn take_attachment<B: Backend>(
    raw: NonNull<bindings::fscache_volume>,
) -> Option<Arc<B::Volume>> {
    // SAFETY: The volume is not freed meanwhile (the caller's promise).
    let attachment = unsafe { private_slot(raw) }.swap(core::ptr::null_mut(), Ordering::AcqRel);
    if attachment.is_null() {
        return None;
    }
    // SAFETY: It was attached until just now, so the cache is not relinquished yet.
    unsafe { cache_of::<B>(raw.as_ptr()) }.detach();
    // SAFETY: It came out of a `KBox` in `acquire()`, and was taken out of the volume just now, by
    // us alone.
    let attachment = unsafe { KBox::from_raw(attachment.cast::<Attachment<B>>()) };
    Some(KBox::into_inner(attachment).data)
}

/// `fscache_cache_ops::acquire_volume`: has the backend acquire the volume, and attaches it.
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
    {
        let mut state = handle.state.lock();
        state.is_pinned = true;
        // SAFETY: A volume with a reference.
        unsafe { private_slot(raw) }.store(KBox::into_raw(attachment).cast(), Ordering::Release);
        // SAFETY: As above.
        unsafe { bindings::cfh_fscache_pin_volume(raw.as_ptr()) };
    }
}

/// `fscache_cache_ops::free_volume`: takes the attachment off, and gives it to the backend.
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
    if let Some(data) = unsafe { take_attachment::<B>(raw) } {
        B::free_volume(data);
    }
}
