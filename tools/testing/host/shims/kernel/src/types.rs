// SPDX-License-Identifier: GPL-2.0

//! Boxes, and things of C.

use crate::alloc::Flags;
use crate::error::{Error, Result};
use crate::init::{from_fn, InPlaceInit, PinInit};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use core::pin::Pin;

/// A value that C looks after.
pub struct Opaque<T>(UnsafeCell<MaybeUninit<T>>);

impl<T> Opaque<T> {
    /// An initialiser that is a function on the place.
    pub fn ffi_init(init: impl FnOnce(*mut T)) -> impl PinInit<Self> {
        from_fn(move || {
            let this = Self(UnsafeCell::new(MaybeUninit::uninit()));
            init(this.get());
            Ok(this)
        })
    }

    /// The place, for C.
    pub const fn get(&self) -> *mut T {
        self.0.get().cast()
    }
}

/// A box.
pub struct KBox<T>(Box<T>);

impl<T> KBox<T> {
    /// Allocates. Error: ENOMEM.
    pub fn new(value: T, _flags: Flags) -> Result<Self> {
        cachefiles_bindings::sched::may_sleep();
        if cachefiles_bindings::alloc_fails() {
            return Err(crate::error::code::ENOMEM);
        }
        Ok(Self(Box::new(value)))
    }

    /// What was in it.
    pub fn into_inner(this: Self) -> T {
        *this.0
    }
}

impl<T> KBox<T> {
    /// As a pointer, which holds the box.
    pub fn into_raw(this: Self) -> *mut T {
        Box::into_raw(this.0)
    }

    /// # Safety
    ///
    /// `ptr` is of `into_raw`, whose box this takes.
    pub unsafe fn from_raw(ptr: *mut T) -> Self {
        // SAFETY: The caller's promise.
        Self(unsafe { Box::from_raw(ptr) })
    }
}

impl<T> Deref for KBox<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for KBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> InPlaceInit<T> for KBox<T> {
    type Pinned = Pin<KBox<T>>;

    fn pin_init<E>(init: impl PinInit<T, E>, flags: Flags) -> Result<Pin<KBox<T>>>
    where
        Error: From<E>,
    {
        let boxed = KBox::new(init.make()?, flags)?;
        // SAFETY: What is in a box does not move, and a pinned one does not give it away.
        Ok(unsafe { Pin::new_unchecked(boxed) })
    }
}

/// A vector that grows where it is told to.
pub struct KVec<T>(Vec<T>);

impl<T> KVec<T> {
    /// An empty one, with no memory.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a value. Error: ENOMEM.
    pub fn push(&mut self, value: T, _flags: crate::alloc::Flags) -> crate::error::Result {
        if cachefiles_bindings::alloc_fails() {
            return Err(crate::error::code::ENOMEM);
        }
        self.0.push(value);
        Ok(())
    }
}

impl<T> Default for KVec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> core::ops::Deref for KVec<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> core::ops::DerefMut for KVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}
