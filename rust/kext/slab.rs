// SPDX-License-Identifier: GPL-2.0

//! Slab caches: memory for many things of one size, without rounding up and without looking for
//! the cache of that size.
//!
//! C header: `include/linux/slab.h`
//!
//! A [`Slab`] is a static. The module creates its cache when it is loaded and keeps the [`Created`]
//! as the last of what it drops when it is unloaded: one rule that types do not express is that
//! nobody allocates any more by then. (The module cannot be unloaded while a file or a callback of
//! it is in use, and what it has registered goes before.)
//!
//! ```ignore
//! static REQUESTS: Slab<Request> = Slab::new(kernel::c_str!("cachefiles_request"));
//! let created = REQUESTS.create()?;
//! let request = REQUESTS.alloc(GFP_KERNEL)?.write(Request::new());
//! ```

use crate::gfp;
use cachefiles_bindings as bindings;
use core::marker::PhantomData;
use core::mem::{align_of, size_of, ManuallyDrop, MaybeUninit};
use core::ops::{Deref, DerefMut};
use core::ptr::{null_mut, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};
use kernel::alloc::{AllocError, Flags};
use kernel::prelude::*;
use kernel::str::CStr;

/// A cache for values of type `T`.
///
/// # Invariants
///
/// `cache` is null, or a cache for objects of at least the size and alignment of `T`.
pub struct Slab<T> {
    name: &'static CStr,
    cache: AtomicPtr<bindings::kmem_cache>,
    _values: PhantomData<fn() -> T>,
}

impl<T> Slab<T> {
    /// A cache that is yet to be created. The name is that in `/proc/slabinfo`.
    pub const fn new(name: &'static CStr) -> Self {
        const { assert!(size_of::<T>() > 0 && size_of::<T>() <= u32::MAX as usize) };
        // INVARIANT: Null.
        Self {
            name,
            cache: AtomicPtr::new(null_mut()),
            _values: PhantomData,
        }
    }

    /// Creates the cache. Sleeps. Errors: ENOMEM; EBUSY, it is there already.
    pub fn create(&'static self) -> Result<Created<T>> {
        // Before there are two of the name, of which a kernel with `CONFIG_DEBUG_VM` complains.
        if !self.cache.load(Ordering::Relaxed).is_null() {
            return Err(EBUSY);
        }
        // SAFETY: The name is a C string, which the cache keeps a copy of.
        let cache = unsafe {
            bindings::cfh_kmem_cache_create(
                self.name.as_char_ptr(),
                // Both fit, the size by the assertion in `new`.
                size_of::<T>() as u32,
                align_of::<T>() as u32,
            )
        };
        if cache.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: A cache for `T`, made just now.
        let set =
            self.cache
                .compare_exchange(null_mut(), cache, Ordering::Release, Ordering::Relaxed);
        if set.is_err() {
            // SAFETY: Nobody else knows of it.
            unsafe { bindings::kmem_cache_destroy(cache) };
            return Err(EBUSY);
        }
        Ok(Created(self))
    }

    /// Memory for one value. Sleeps where `flags` allow it. Error: no memory, or no cache.
    #[inline]
    pub fn alloc(&self, flags: Flags) -> core::result::Result<SlabBox<MaybeUninit<T>>, AllocError> {
        let cache = self.cache.load(Ordering::Acquire);
        if cache.is_null() {
            return Err(AllocError);
        }
        // SAFETY: A cache, by the type invariant.
        let memory = unsafe { bindings::kmem_cache_alloc_noprof(cache, gfp::to_raw(flags)) };
        // INVARIANT: Ours alone, large and aligned enough by the type invariant; and any bytes are
        // a `MaybeUninit`.
        NonNull::new(memory.cast()).map(SlabBox).ok_or(AllocError)
    }
}

/// A cache that exists, until this is dropped.
///
/// What is still allocated then stays, and with it the cache: the kernel warns of it.
#[must_use = "the cache goes when this is dropped"]
pub struct Created<T: 'static>(&'static Slab<T>);

impl<T> Drop for Created<T> {
    fn drop(&mut self) {
        // INVARIANT: Null.
        let cache = self.0.cache.swap(null_mut(), Ordering::AcqRel);
        // SAFETY: Made by `create`, out of reach by now, and, by the rule at the head, not in the
        // hands of somebody who allocates.
        unsafe { bindings::kmem_cache_destroy(cache) };
    }
}

/// A value in memory of a [`Slab`].
///
/// # Invariants
///
/// Points to a valid `T` in memory that came from a slab cache, and is its only owner.
#[repr(transparent)]
pub struct SlabBox<T>(NonNull<T>);

// SAFETY: Owns a `T`; its memory belongs to no thread.
unsafe impl<T: Send> Send for SlabBox<T> {}
// SAFETY: As above.
unsafe impl<T: Sync> Sync for SlabBox<T> {}

impl<T> SlabBox<MaybeUninit<T>> {
    /// Puts a value in.
    #[inline]
    pub fn write(mut self, value: T) -> SlabBox<T> {
        (*self).write(value);
        // INVARIANT: Initialised just now.
        SlabBox(ManuallyDrop::new(self).0.cast())
    }
}

impl<T> SlabBox<T> {
    /// The memory, to be freed by way of [`SlabBox::from_raw`].
    #[inline]
    pub fn into_raw(self) -> *mut T {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// Takes back what [`SlabBox::into_raw`] gave.
    ///
    /// # Safety
    ///
    /// `ptr` came from `into_raw`, and nothing else uses it any more.
    #[inline]
    pub unsafe fn from_raw(ptr: *mut T) -> Self {
        // INVARIANT: By the caller's promise.
        // SAFETY: As above: it is not null.
        Self(unsafe { NonNull::new_unchecked(ptr) })
    }
}

impl<T> Deref for SlabBox<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: Valid, by the type invariant.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for SlabBox<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: Valid and ours, by the type invariant.
        unsafe { self.0.as_mut() }
    }
}

impl<T> Drop for SlabBox<T> {
    #[inline]
    fn drop(&mut self) {
        let ptr = self.0.as_ptr();
        // SAFETY: Valid and ours, by the type invariant, and not used after this.
        unsafe { ptr.drop_in_place() };
        // SAFETY: Came from a slab cache, of which `kfree()` finds out by itself.
        unsafe { bindings::kfree(ptr.cast_const().cast()) };
    }
}
