// SPDX-License-Identifier: GPL-2.0

//! Slab caches: here their memory is the heap's, and they need not be created.

use crate::gfp::Gfp;
use core::marker::PhantomData;
use core::ops::Deref;
use kernel::error::{code::ENOMEM, Result};
use kernel::str::CStr;

/// A cache for values of type `T`.
pub struct Slab<T>(PhantomData<fn() -> T>);

impl<T> Slab<T> {
    /// A cache.
    pub const fn new(_name: &'static CStr) -> Self {
        Self(PhantomData)
    }

    /// The cache, which is always there.
    pub fn created(&'static self) -> Result<Created<T>> {
        Ok(Created(PhantomData))
    }
}

/// A cache that exists.
pub struct Created<T>(PhantomData<fn() -> T>);

impl<T> Created<T> {
    /// Memory for one value. Error: ENOMEM.
    pub fn alloc(&self, _gfp: Gfp) -> Result<Empty<T>> {
        cachefiles_bindings::sched::may_sleep();
        if cachefiles_bindings::alloc_fails() {
            return Err(ENOMEM);
        }
        Ok(Empty(PhantomData))
    }
}

/// Memory with nothing in it.
pub struct Empty<T>(PhantomData<T>);

impl<T> Empty<T> {
    /// Puts a value in.
    pub fn write(self, value: T) -> SlabBox<T> {
        SlabBox(Box::new(value))
    }
}

/// A value in memory of a cache.
pub struct SlabBox<T>(Box<T>);

impl<T> Deref for SlabBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
