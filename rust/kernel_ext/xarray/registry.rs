// SPDX-License-Identifier: GPL-2.0

//! A list of refcounted objects by id, in an xarray: some ten bytes for each.
//!
//! C header: `include/linux/xarray.h`

use super::XA_PRESENT;
use crate::{errno, gfp::Gfp};
use cachefiles_bindings as bindings;
use core::marker::PhantomData;
use core::mem::align_of;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::sync::{Arc, ArcBorrow, LockClassKey};
use kernel::types::Opaque;

/// A list of references to objects, by the id of each. Has a spinlock of its own, for process
/// context only.
///
/// # Invariants
///
/// `xa` is an initialised xarray. Each entry is an `Arc<T>` turned into a raw pointer, whose
/// reference is the registry's.
#[pin_data(PinnedDrop)]
pub struct Registry<T> {
    #[pin]
    xa: Opaque<bindings::xarray>,
    _things: PhantomData<Arc<T>>,
}

// SAFETY: Owns references to `T`, which other threads share; apart from them a locked tree.
unsafe impl<T: Send + Sync> Send for Registry<T> {}
// SAFETY: The tree is only touched with its lock held, and shared access to the things in it is
// given to other threads.
unsafe impl<T: Send + Sync> Sync for Registry<T> {}

impl<T> Registry<T> {
    /// Creates an empty registry. The name is that of the lock.
    pub fn new(name: &'static CStr, key: &'static LockClassKey) -> impl PinInit<Self> {
        // An xarray keeps the two low bits of what it stores for itself.
        const { assert!(align_of::<T>() >= 4) };
        pin_init!(Self {
            // INVARIANT: Initialised by the C function, and empty.
            // SAFETY: `slot` is valid for writes and pinned from here on. Name and class are
            // static, and a `LockClassKey` is a transparent wrapper.
            xa <- Opaque::ffi_init(move |slot| unsafe {
                bindings::cfh_xa_init_alloc(
                    slot,
                    name.as_char_ptr(),
                    core::ptr::from_ref(key).cast_mut().cast(),
                )
            }),
            _things: PhantomData,
        })
    }

    /// Inserts an object under an id. Sleeps where `gfp` allows it.
    ///
    /// Errors: EBUSY, the id is in use; ENOMEM.
    pub fn insert(&self, id: u32, thing: Arc<T>, gfp: Gfp) -> Result {
        let entry = Arc::into_raw(thing);
        // SAFETY: Initialised, by the type invariant. It is unlocked before this function returns.
        unsafe { bindings::cfh_xa_lock(self.xa.get()) };
        // SAFETY: The lock is held. The entry is aligned, by the assertion in `new`.
        let ret = unsafe {
            bindings::__xa_insert(
                self.xa.get(),
                id as usize,
                entry.cast_mut().cast(),
                gfp.as_raw(),
            )
        };
        // SAFETY: This task has locked it, in the statements before.
        unsafe { bindings::cfh_xa_unlock(self.xa.get()) };
        // INVARIANT: Where it was taken, the reference is the registry's from here on.
        errno::check(ret).inspect_err(|_| {
            // SAFETY: The registry did not take it.
            drop(unsafe { Arc::from_raw(entry) });
        })
    }

    /// Removes the object with the id.
    pub fn remove(&self, id: u32) -> Option<Arc<T>> {
        // SAFETY: Initialised, by the type invariant.
        let entry = unsafe { bindings::xa_erase(self.xa.get(), id as usize) };
        let entry = entry.cast::<T>().cast_const();
        // SAFETY: By the type invariant; the entry is gone, so the reference is ours.
        (!entry.is_null()).then(|| unsafe { Arc::from_raw(entry) })
    }

    /// Takes the lock: nothing is inserted or removed until the guard is dropped. Spins.
    #[inline]
    pub fn lock(&self) -> RegistryGuard<'_, T> {
        // SAFETY: Initialised, by the type invariant.
        unsafe { bindings::cfh_xa_lock(self.xa.get()) };
        // INVARIANT: Just locked.
        RegistryGuard {
            registry: self,
            _not_send: PhantomData,
        }
    }
}

#[pinned_drop]
impl<T> PinnedDrop for Registry<T> {
    fn drop(self: Pin<&mut Self>) {
        loop {
            // Nobody else has it any more, so that nothing comes in between.
            let first = self.lock().first().map(|(id, _)| id);
            let Some(id) = first else { break };
            drop(self.remove(id));
        }
        // SAFETY: Initialised, by the type invariant.
        unsafe { bindings::xa_destroy(self.xa.get()) };
    }
}

/// A guard that holds the lock of a registry.
///
/// # Invariants
///
/// The running task holds the lock of `registry`.
#[must_use = "the lock is released when the guard is dropped"]
pub struct RegistryGuard<'a, T> {
    registry: &'a Registry<T>,
    // A spinlock is released on the CPU that took it.
    _not_send: PhantomData<*mut ()>,
}

impl<T> RegistryGuard<'_, T> {
    /// Returns the object with the lowest id.
    #[inline]
    pub fn first(&self) -> Option<(u32, ArcBorrow<'_, T>)> {
        self.at_or_behind(0)
    }

    /// Returns the object with the lowest id that is not below `id`.
    pub fn at_or_behind(&self, id: u32) -> Option<(u32, ArcBorrow<'_, T>)> {
        let mut index = id as usize;
        let xa = self.registry.xa.get();
        // SAFETY: Initialised and locked.
        let entry = unsafe { bindings::xa_find(xa, &mut index, u32::MAX as usize, XA_PRESENT) };
        if entry.is_null() {
            return None;
        }
        // SAFETY: By the registry's invariant, an entry is an `Arc` turned into a raw pointer.
        // Nothing can remove it while the lock is held, and `remove` here needs `&mut self`.
        let thing = unsafe { ArcBorrow::from_raw(entry.cast::<T>().cast_const()) };
        // Not above the bound of the search, which is a `u32`.
        Some((u32::try_from(index).ok()?, thing))
    }

    /// Removes the object with the id. Drop it after the lock is released.
    pub fn remove(&mut self, id: u32) -> Option<Arc<T>> {
        // SAFETY: Initialised and locked.
        let entry = unsafe { bindings::__xa_erase(self.registry.xa.get(), id as usize) };
        let entry = entry.cast::<T>().cast_const();
        // SAFETY: By the registry's invariant; the entry is gone, so the reference is ours.
        (!entry.is_null()).then(|| unsafe { Arc::from_raw(entry) })
    }
}

impl<T> Drop for RegistryGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: Locked, by the type invariant.
        unsafe { bindings::cfh_xa_unlock(self.registry.xa.get()) };
    }
}
