// SPDX-License-Identifier: GPL-2.0

//! Volumes: the groups of cookies of a network file system.
//!
//! C header: [`include/linux/fscache.h`](srctree/include/linux/fscache.h)
//! (`struct fscache_volume`). Answers to `fs/cachefiles/volume.c`.
//!
//! # Two ways to end
//!
//! A backend must not hold a reference to a volume for as long as it is attached, or the volume
//! would never be freed. So there are two ways for an attached volume to end:
//!
//! - The last reference is dropped. fscache then calls `free_volume`, and frees the volume once
//!   that has returned.
//! - The cache is withdrawn. The backend takes a reference ([`Volume::try_get`]), which bars the
//!   first way; withdraws the volume, which drains all accesses; and detaches it.
//!
//! `try_get` has to be safe while `free_volume` is on its way. The C code gets by with its list of
//! volumes: a volume that is found there, under the list's lock, has not been through
//! `free_volume`. Here a [`VolumeHandle`] does not depend on a list: the pointer to the volume is
//! under a spinlock of the handle's own, and is taken away under it by whichever way is the first.
//! A reference is taken under the spinlock only if the refcount is not 0, and while it is not 0
//! `free_volume` is not called.

use crate::{attach::take_attachment, Backend, CoherencyData};
use cachefiles_bindings as bindings;
use core::{any::TypeId, ops::Deref, ptr::NonNull};
use kernel::{
    alloc::flags::GFP_KERNEL,
    prelude::*,
    sync::{new_spinlock, Arc, SpinLock},
};

/// The mutable state of a volume.
pub(crate) struct State {
    /// The volume; not freed while it is here. `None` once it is detached.
    raw: Option<NonNull<bindings::fscache_volume>>,
    /// Set if the volume has the extra access of attached volumes.
    is_pinned: bool,
    /// Set once all accesses have ended for good.
    is_withdrawn: bool,
    /// The coherency data at the time when the volume was detached.
    coherency: CoherencyData,
}

// SAFETY: The pointer is to a structure of C, which may be used in any task.
unsafe impl Send for State {}

/// A volume: its constant attributes, and access to the volume itself as long as it exists.
#[pin_data]
pub struct Volume {
    debug_id: u32,
    /// The key, with a NUL at the end.
    key: KVec<u8>,
    /// The type of the backend whose attachment `cache_priv` is.
    backend: TypeId,
    /// Nests inside the locks of the backend. Only the locks of fscache's tracepoints nest inside
    /// it.
    #[pin]
    state: SpinLock<State>,
}

impl Volume {
    /// Returns the key; any bytes but NUL.
    #[inline]
    pub fn key(&self) -> &[u8] {
        self.key.split_last().map_or(&[], |(_, key)| key)
    }

    /// Returns the key with a NUL at its end.
    #[inline]
    pub fn key_with_nul(&self) -> &[u8] {
        &self.key
    }

    /// Returns the number that identifies the volume in traces.
    #[inline]
    pub fn debug_id(&self) -> u32 {
        self.debug_id
    }

    /// Returns the coherency data as it is now; or as it was when the volume was detached.
    pub fn coherency(&self) -> CoherencyData {
        let state = self.state.lock();
        match state.raw {
            // SAFETY: A volume is not freed while it is in the state.
            Some(raw) => unsafe { read_coherency(raw) },
            None => state.coherency.clone(),
        }
    }

    /// Returns the number of accesses at this moment, with the one that pins the volume. 0 once it
    /// is detached.
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
    // SAFETY: By the caller's promise. The C function writes `coherency_len` bytes,
    // for which there is room.
    unsafe {
        CoherencyData::filled_by(len, |to| {
            bindings::cfh_fscache_copy_volume_coherency(raw.as_ptr(), to);
        })
    }
}

/// A weak handle of a backend to a volume, which holds no reference to it.
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
    /// Creates a handle; `None` without memory.
    ///
    /// # Safety
    ///
    /// `raw` is a volume with a reference, and stays valid until [`Volume::take_raw`].
    pub(crate) unsafe fn new<B: Backend>(raw: NonNull<bindings::fscache_volume>) -> Option<Self> {
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

    /// Detaches the volume as [`VolumeRef::detach`] does, with a reference during the call.
    pub fn detach<B: Backend>(&self) -> Option<Arc<B::Volume>> {
        self.try_get()?.detach::<B>()
    }

    /// Runs `attach`, and adds the extra access of an attached volume. For tasks that withdraw or
    /// detach it, this is one step.
    pub(crate) fn attach_with(&self, attach: impl FnOnce()) {
        let mut state = self.state.lock();
        if let Some(raw) = state.raw {
            attach();
            state.is_pinned = true;
            // SAFETY: A volume is not freed while it is in the state.
            unsafe { bindings::cfh_fscache_pin_volume(raw.as_ptr()) };
        }
    }

    /// Takes the pointer to the volume away, and keeps its coherency data. `None` if that was done
    /// before, or if `allow` returns false.
    pub(crate) fn take_raw(
        &self,
        allow: impl FnOnce(&State) -> bool,
    ) -> Option<NonNull<bindings::fscache_volume>> {
        let mut state = self.state.lock();
        if !allow(&state) {
            return None;
        }
        let raw = state.raw.take()?;
        // SAFETY: A volume is not freed while it is in the state, where it was until just now, and
        // other tasks that want to take it away wait for the lock.
        state.coherency = unsafe { read_coherency(raw) };
        Some(raw)
    }
}

/// A counted reference to a volume.
///
/// The last reference frees the volume, which may sleep.
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
// SAFETY: Shared access to it gives shared access to the handle, which any task may have.
unsafe impl Sync for VolumeRef {}

impl Deref for VolumeRef {
    type Target = Volume;

    #[inline]
    fn deref(&self) -> &Volume {
        &self.handle
    }
}

impl VolumeRef {
    /// Drains all accesses to the volume. May sleep.
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
        unsafe { take_attachment::<B>(raw) }.map(|(volume, _leaving)| volume)
    }
}

impl Drop for VolumeRef {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The type invariant: the reference is ours to give up.
        unsafe { bindings::cfh_fscache_put_volume(self.raw.as_ptr()) };
    }
}
