// SPDX-License-Identifier: GPL-2.0

//! Slab caches: memory for many values of one type, without rounding up to a size of `kmalloc()`.
//!
//! C header: `include/linux/slab.h`
//!
//! A [`Slab`] is a static. Its cache exists while there is a [`Created`] of it, by which memory is
//! allocated. The module creates the cache when it is loaded, and keeps a `Created` until it is
//! unloaded. Callers that allocate take another one for that time ([`Slab::created`]).
//!
//! ```ignore
//! static REQUESTS: Slab<Request> = Slab::new(kernel::c_str!("cachefiles_request"));
//! let created = REQUESTS.create()?;
//! let request = REQUESTS.created()?.alloc(Gfp::Kernel)?.write(Request::new());
//! ```

use crate::gfp::Gfp;
use cachefiles_bindings as bindings;
use core::marker::PhantomData;
use core::mem::{align_of, size_of, ManuallyDrop, MaybeUninit};
use core::ops::{Deref, DerefMut};
use core::ptr::{null_mut, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use kernel::alloc::AllocError;
use kernel::prelude::*;
use kernel::str::CStr;

/// A cache for values of type `T`.
///
/// # Invariants
///
/// - `cache` is null, or a cache for objects of at least the size and alignment of `T`.
/// - `users` is the number of [`Created`] values of this. While it is above zero, `cache` is not
///   null and does not change.
pub struct Slab<T> {
    name: &'static CStr,
    cache: AtomicPtr<bindings::kmem_cache>,
    users: AtomicUsize,
    _values: PhantomData<fn() -> T>,
}

impl<T> Slab<T> {
    /// Declares a cache that is yet to be created. The name is that in `/proc/slabinfo`.
    pub const fn new(name: &'static CStr) -> Self {
        const { assert!(size_of::<T>() > 0 && size_of::<T>() <= u32::MAX as usize) };
        // INVARIANT: Null, and nobody uses it.
        Self {
            name,
            cache: AtomicPtr::new(null_mut()),
            users: AtomicUsize::new(0),
            _values: PhantomData,
        }
    }

    /// Creates the cache. Sleeps. Errors: ENOMEM; EBUSY, it exists already, or is being destroyed.
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
        // INVARIANT: A cache for `T`, made just now; it was null, so there are no users.
        let set =
            self.cache
                .compare_exchange(null_mut(), cache, Ordering::Relaxed, Ordering::Relaxed);
        if set.is_err() {
            // SAFETY: Nobody else knows of it.
            unsafe { bindings::kmem_cache_destroy(cache) };
            return Err(EBUSY);
        }
        // INVARIANT: One user, of a cache that is there; released together with it.
        self.users.store(1, Ordering::Release);
        Ok(Created(self))
    }

    /// Takes a reference to the cache that [`create`](Slab::create) has made, to allocate from. Any
    /// context.
    ///
    /// Error: ENOENT, the cache does not exist yet, or not any more.
    #[inline]
    pub fn created(&'static self) -> Result<Created<T>> {
        // INVARIANT: One user more, of a cache that has one. Acquires what `create` has released.
        let joined = self
            .users
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |users| match users {
                0 => None,
                users => users.checked_add(1),
            });
        joined.map(|_| Created(self)).map_err(|_| ENOENT)
    }
}

/// A reference to a cache, which exists as long as there are any.
///
/// Values that are alive when the last reference is dropped keep their memory, and the kernel warns
/// of it.
///
/// # Invariants
///
/// Is counted among the users of its slab.
#[must_use = "the cache goes when the last of these is dropped"]
pub struct Created<T: 'static>(&'static Slab<T>);

impl<T> Created<T> {
    /// Allocates memory for one value. Sleeps where `gfp` allows it.
    #[inline]
    pub fn alloc(&self, gfp: Gfp) -> core::result::Result<SlabBox<MaybeUninit<T>>, AllocError> {
        let cache = self.0.cache.load(Ordering::Relaxed);
        // SAFETY: By the invariants a cache, which stays while `self` does.
        let memory = unsafe { bindings::cfh_kmem_cache_alloc(cache, gfp.as_raw()) };
        // INVARIANT: Ours alone, large and aligned enough by the type invariant of the slab; and
        // any bytes are a `MaybeUninit`.
        NonNull::new(memory.cast()).map(SlabBox).ok_or(AllocError)
    }
}

impl<T> Drop for Created<T> {
    /// Destroys the cache with the last reference, which sleeps.
    fn drop(&mut self) {
        if self.0.users.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        // INVARIANT: Null; there are no users, and none come before there is another cache.
        let cache = self.0.cache.swap(null_mut(), Ordering::Relaxed);
        // SAFETY: Made by `create`. Nobody allocates from it, as all users are gone, whose
        // allocations the count has ordered before this; and nobody else destroys it.
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
// SAFETY: Shared access to it gives shared access to a `T`, and to nothing else.
unsafe impl<T: Sync> Sync for SlabBox<T> {}

impl<T> SlabBox<MaybeUninit<T>> {
    /// Initialises the memory with a value.
    #[inline]
    pub fn write(mut self, value: T) -> SlabBox<T> {
        (*self).write(value);
        // INVARIANT: Initialised just now.
        SlabBox(ManuallyDrop::new(self).0.cast())
    }
}

impl<T> SlabBox<T> {
    /// Returns the memory, to be freed by way of [`SlabBox::from_raw`].
    #[inline]
    pub fn into_raw(self) -> *mut T {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// Takes back memory that [`SlabBox::into_raw`] gave.
    ///
    /// # Safety
    ///
    /// `ptr` came from `into_raw`, and nothing else uses it any more.
    #[inline]
    pub unsafe fn from_raw(ptr: *mut T) -> Self {
        // INVARIANT: By the caller's promise.
        // SAFETY: What `into_raw` gives is not null.
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
        // SAFETY: Came from a slab cache, which `kfree()` finds by the address.
        unsafe { bindings::kfree(ptr.cast_const().cast()) };
    }
}
