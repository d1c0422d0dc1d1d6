// SPDX-License-Identifier: GPL-2.0

//! fscache as a cache backend sees it.
//!
//! C headers: [`include/linux/fscache-cache.h`](srctree/include/linux/fscache-cache.h),
//! [`include/linux/netfs.h`](srctree/include/linux/netfs.h). See also
//! `Documentation/filesystems/caching/backend-api.rst` of the kernel.
//!
//! A backend implements [`Backend`] and hands itself to fscache with [`AcquiredCache::add`]. Its
//! own state hangs off fscache's three structures, each as an `Arc` in the field `cache_priv`:
//!
//! - of `fscache_cache`, from [`AcquiredCache::add`] to [`AcquiredCache::relinquish`];
//! - of `fscache_volume`, from the end of [`Backend::acquire_volume`] to [`Backend::free_volume`]
//!   or [`VolumeRef::detach`];
//! - of `fscache_cookie`, from [`LookupSlot::attach`] to the end of [`Backend::withdraw_cookie`].
//!
//! # What keeps the pointers valid
//!
//! fscache counts *accesses*: to a cache while a volume is acquired, to a volume while a cookie is
//! looked up, to a cookie while it is looked up, invalidated or operated on. An object is withdrawn
//! when its cookie has no access; a volume can be detached only after
//! [`VolumeRef::withdraw`] saw its accesses end in a cache that is not active any more, which
//! admits no new one. So what a callback borrows stays for the time of the callback.
//!
//! The crate counts what is attached to a cache, and what is just being put away. Relinquishing one
//! waits for the latter. One that still has something attached is not freed: it is given up for
//! lost, with an error in the log.
//!
//! # What keeps the code
//!
//! fscache takes no reference to the module whose functions it calls. A cache holds one, from
//! [`AcquiredCache::add`] to the end of [`AcquiredCache::relinquish`]; for good if it is given up
//! for lost or forgotten.

#![warn(missing_docs)]
#![deny(unsafe_op_in_unsafe_fn)]
#![deny(clippy::undocumented_unsafe_blocks)]

mod attach;
mod backend;
mod cache;
mod callback;
mod cookie;
mod gate;
mod netfs;
mod operation;
mod ops;
mod resources;
pub mod stats;
mod subrequest;
mod volume;

pub use self::{
    backend::{Backend, Begin, IoSource, Prepared, ReadHole, WantState},
    cache::{AcquiredCache, ObjectCount},
    callback::{Invalidation, Lookup, LookupSlot},
    cookie::{Cookie, CookieFlag, CookieRef},
    operation::{Begun, Operation, PendingRead, ReadOperation, Termination, WriteOperation},
    resources::Resources,
    subrequest::{SubreqFlags, WriteLimits, WriteSubrequest},
    volume::{Volume, VolumeHandle, VolumeRef},
};

use core::mem::MaybeUninit;
use core::ops::Deref;
use kernel::workqueue::Queue;

/// What errors in the log begin with.
pub(crate) const LOG_PREFIX: &[u8] = b"CacheFiles\0";

/// fscache's own work queue (`fscache_wq`), on which cookies are looked up and withdrawn.
#[inline]
pub fn queue() -> &'static Queue {
    // SAFETY: The queue is made when the netfs module comes and destroyed when it goes, which
    // cannot be before we go, as we use its symbols. The pointer does not change in between.
    unsafe { Queue::from_raw(cachefiles_bindings::fscache_wq) }
}

/// A copy of what a network file system stores to tell stale data from current, at most 255 bytes.
///
/// A copy, as the owner may store something new at any time.
///
/// # Invariants
///
/// The first `len` of `bytes` are initialised.
#[derive(Clone)]
pub struct CoherencyData {
    bytes: [MaybeUninit<u8>; 255],
    len: u8,
}

impl CoherencyData {
    /// No data.
    // INVARIANT: There are no bytes.
    pub(crate) const EMPTY: Self = Self {
        bytes: [const { MaybeUninit::uninit() }; 255],
        len: 0,
    };

    /// Lets `fill` write `len` bytes to the place that it is given.
    ///
    /// # Safety
    ///
    /// `fill` does so.
    #[inline]
    pub(crate) unsafe fn filled_by(len: u8, fill: impl FnOnce(*mut u8)) -> Self {
        let mut data = Self::EMPTY;
        fill(data.bytes.as_mut_ptr().cast());
        // INVARIANT: By the caller's promise.
        data.len = len;
        data
    }
}

impl Deref for CoherencyData {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: Initialised, by the type invariant, and `len` is at most 255.
        unsafe { core::slice::from_raw_parts(self.bytes.as_ptr().cast(), self.len.into()) }
    }
}
