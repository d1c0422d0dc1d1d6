// SPDX-License-Identifier: GPL-2.0

//! The interface of fscache and netfs to a cache backend.
//!
//! C headers: [`include/linux/fscache-cache.h`](srctree/include/linux/fscache-cache.h),
//! [`include/linux/netfs.h`](srctree/include/linux/netfs.h). See also
//! `Documentation/filesystems/caching/backend-api.rst` of the kernel.
//!
//! A backend implements [`Backend`] and hands itself to fscache with [`AcquiredCache::add`]. Its
//! own state is attached to the three structures of fscache, each as an `Arc` in the field
//! `cache_priv`:
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
//! when its cookie has no access. A volume can be detached only after [`VolumeRef::withdraw`] has
//! drained its accesses in a cache that is not active any more, which admits no new ones. So all
//! that a callback borrows stays valid during the callback.
//!
//! The crate counts the attachments of a cache, and those that are being freed. Relinquishing
//! drains the latter. A cache that still has attachments is not freed: it is leaked, with an error
//! in the log.
//!
//! # What keeps the code
//!
//! fscache takes no reference to the module whose functions it calls. A cache holds one, from
//! [`AcquiredCache::add`] to the end of [`AcquiredCache::relinquish`]; for good if it is leaked.

#![warn(missing_docs)]
#![deny(unsafe_op_in_unsafe_fn)]
#![deny(clippy::undocumented_unsafe_blocks)]

mod attach;
mod backend;
mod cache;
mod callback;
mod cookie;
mod netfs;
mod operation;
mod ops;
mod resources;
pub mod stats;
mod subrequest;
mod use_count;
mod volume;
mod windowed;

pub use self::{
    backend::{Backend, Begin, IoSource, Prepared, ReadHole, WantState},
    cache::{AcquiredCache, ObjectCount},
    callback::{Invalidation, Lookup, LookupSlot},
    cookie::{Cookie, CookieFlag, CookieRef},
    operation::{Begun, Operation, PendingRead, ReadOperation, Termination, WriteOperation},
    resources::Resources,
    subrequest::{SubreqFlags, WriteLimits, WriteSubrequest},
    volume::{Volume, VolumeHandle, VolumeRef},
    windowed::Windowed,
};

use core::mem::MaybeUninit;
use core::ops::Deref;
use kernel::workqueue::Queue;

/// The prefix of errors in the log.
pub(crate) const LOG_PREFIX: &[u8] = b"CacheFiles\0";

/// Returns the work queue of fscache (`fscache_wq`), on which cookies are looked up and withdrawn.
#[inline]
pub fn queue() -> &'static Queue {
    // SAFETY: The queue is made when the netfs module comes and destroyed when it goes, which
    // cannot be before we go, as we use its symbols. The pointer does not change in between.
    unsafe { Queue::from_raw(cachefiles_bindings::fscache_wq) }
}

/// A copy of the coherency data of a network file system, which tells stale data from current, at
/// most 255 bytes.
///
/// It is a copy, as the owner may change the data at any time.
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
    /// Creates empty coherency data.
    // INVARIANT: There are no bytes.
    pub(crate) const EMPTY: Self = Self {
        bytes: [const { MaybeUninit::uninit() }; 255],
        len: 0,
    };

    /// Creates coherency data of `len` bytes, which `fill` writes to the place that it is given.
    ///
    /// # Safety
    ///
    /// `fill` writes `len` bytes there.
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
