// SPDX-License-Identifier: GPL-2.0

//! A container that is populated at most once, and read without a lock.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU8, Ordering};

const EMPTY: u8 = 0;
const BEING_SET: u8 = 1;
const SET: u8 = 2;

/// A value that is set at most once.
///
/// # Invariants
///
/// - `state` goes from `EMPTY` to `BEING_SET` to `SET`, and never back.
/// - While it is `BEING_SET`, only the thread that made it so accesses `value`.
/// - When it is `SET`, `value` is initialised and is not written any more.
pub struct SetOnce<T> {
    state: AtomicU8,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: Owns a `T`.
unsafe impl<T: Send> Send for SetOnce<T> {}
// SAFETY: One thread puts a `T` in, which another may read, and drop.
unsafe impl<T: Send + Sync> Sync for SetOnce<T> {}

impl<T> Default for SetOnce<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> SetOnce<T> {
    /// Creates an empty container.
    pub const fn new() -> Self {
        Self {
            state: AtomicU8::new(EMPTY),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Sets the value. False if it is set already, or is being set: then `value` is dropped.
    pub fn populate(&self, value: T) -> bool {
        if self
            .state
            .compare_exchange(EMPTY, BEING_SET, Ordering::Relaxed, Ordering::Relaxed)
            .is_err()
        {
            return false;
        }
        // SAFETY: It was us who made the state `BEING_SET`, so nobody else touches the value.
        unsafe { (*self.value.get()).write(value) };
        // INVARIANT: Initialised. Released together with the state.
        self.state.store(SET, Ordering::Release);
        true
    }

    /// Returns the value, if it is set.
    #[inline]
    pub fn as_ref(&self) -> Option<&T> {
        if self.state.load(Ordering::Acquire) != SET {
            return None;
        }
        // SAFETY: Initialised and constant, by the type invariant; the load of `SET` acquired it.
        Some(unsafe { (*self.value.get()).assume_init_ref() })
    }

    /// Returns a copy of the value, if it is set.
    pub fn copy(&self) -> Option<T>
    where
        T: Copy,
    {
        self.as_ref().copied()
    }
}

impl<T> Drop for SetOnce<T> {
    fn drop(&mut self) {
        if *self.state.get_mut() == SET {
            // SAFETY: Initialised, by the type invariant, and dropped nowhere else.
            unsafe { self.value.get_mut().assume_init_drop() };
        }
    }
}
