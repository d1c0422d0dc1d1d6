// SPDX-License-Identifier: GPL-2.0

//! Counted references.

use crate::alloc::Flags;
use crate::error::{code::ENOMEM, Error, Result};
use crate::init::{InPlaceInit, PinInit};
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::pin::Pin;

/// A lock class.
#[repr(transparent)]
pub struct LockClassKey(u8);

impl LockClassKey {
    /// A new one.
    pub const fn new() -> Self {
        Self(0)
    }
}

impl Default for LockClassKey {
    fn default() -> Self {
        Self::new()
    }
}

/// A lock under which nobody is interrupted: nothing in it is a step of the model.
pub struct SpinLock<T>(std::sync::Mutex<T>);

impl<T> SpinLock<T> {
    /// One around a value.
    pub const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    /// Takes it.
    pub fn lock(&self) -> std::sync::MutexGuard<'_, T> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// An initialiser of a lock.
#[macro_export]
macro_rules! new_spinlock {
    ($value:expr, $name:literal) => {
        $crate::sync::SpinLock::new($value)
    };
}
pub use new_spinlock;

/// A counted reference.
pub struct Arc<T>(std::sync::Arc<T>);

impl<T> Arc<T> {
    /// Allocates. Error: ENOMEM.
    pub fn new(value: T, _flags: Flags) -> Result<Self> {
        cachefiles_bindings::sched::may_sleep();
        if cachefiles_bindings::alloc_fails() {
            return Err(ENOMEM);
        }
        Ok(Self(std::sync::Arc::new(value)))
    }

    /// Whether both are references to the same.
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        std::sync::Arc::ptr_eq(&this.0, &other.0)
    }

    /// As a pointer, which holds the reference.
    pub fn into_raw(this: Self) -> *const T {
        std::sync::Arc::into_raw(this.0)
    }

    /// # Safety
    ///
    /// `ptr` is of `into_raw`, whose reference this takes.
    pub unsafe fn from_raw(ptr: *const T) -> Self {
        // SAFETY: The caller's promise.
        Self(unsafe { std::sync::Arc::from_raw(ptr) })
    }

    /// References that there are: for checks.
    pub fn count(this: &Self) -> usize {
        std::sync::Arc::strong_count(&this.0)
    }

    /// A borrowed reference.
    pub fn as_arc_borrow(&self) -> ArcBorrow<'_, T> {
        ArcBorrow {
            ptr: std::sync::Arc::as_ptr(&self.0),
            _arc: PhantomData,
        }
    }
}

impl<T> Clone for Arc<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> InPlaceInit<T> for Arc<T> {
    type Pinned = Self;

    fn pin_init<E>(init: impl PinInit<T, E>, flags: Flags) -> Result<Self>
    where
        Error: From<E>,
    {
        Self::new(init.make()?, flags)
    }
}

/// A reference that another one outlives.
pub struct ArcBorrow<'a, T> {
    ptr: *const T,
    _arc: PhantomData<&'a T>,
}

impl<T> ArcBorrow<'_, T> {
    /// # Safety
    ///
    /// `ptr` is of `Arc::into_raw`, and its reference stays for the lifetime of this.
    pub unsafe fn from_raw(ptr: *const T) -> Self {
        Self {
            ptr,
            _arc: PhantomData,
        }
    }
}

impl<T> Clone for ArcBorrow<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for ArcBorrow<'_, T> {}

impl<T> Deref for ArcBorrow<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: A reference to it stays, by the promise of `from_raw`.
        unsafe { &*self.ptr }
    }
}

impl<T> From<ArcBorrow<'_, T>> for Arc<T> {
    fn from(borrow: ArcBorrow<'_, T>) -> Self {
        // SAFETY: The pointer is that of an `Arc`, of which there is a reference.
        unsafe { std::sync::Arc::increment_strong_count(borrow.ptr) };
        // SAFETY: The reference just made.
        Self(unsafe { std::sync::Arc::from_raw(borrow.ptr) })
    }
}

/// The only reference.
pub struct UniqueArc<T>(Arc<T>);

impl<T> Deref for UniqueArc<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for UniqueArc<T> {
    fn deref_mut(&mut self) -> &mut T {
        // The only one, by construction.
        std::sync::Arc::get_mut(&mut self.0 .0).expect("a unique reference")
    }
}

impl<T> InPlaceInit<T> for UniqueArc<T> {
    type Pinned = Pin<Self>;

    fn pin_init<E>(init: impl PinInit<T, E>, flags: Flags) -> Result<Pin<Self>>
    where
        Error: From<E>,
    {
        let arc = Arc::new(init.make()?, flags)?;
        // SAFETY: What is in it does not move, and a pinned one does not give it away.
        Ok(unsafe { Pin::new_unchecked(Self(arc)) })
    }
}

impl<T> From<Pin<UniqueArc<T>>> for Arc<T> {
    fn from(unique: Pin<UniqueArc<T>>) -> Self {
        // SAFETY: An `Arc` of the kernel is pinned as well: it never gives its value away.
        unsafe { Pin::into_inner_unchecked(unique) }.0
    }
}

impl<T> From<UniqueArc<T>> for Arc<T> {
    fn from(unique: UniqueArc<T>) -> Self {
        unique.0
    }
}
