// SPDX-License-Identifier: GPL-2.0

//! A static cell from which a callback gets an object.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::sync::Arc;

/// A spin-locked cell in which a test leaves an object for a callback that has no argument for it.
///
/// # Invariants
///
/// `thing` is only accessed by the task that set `is_in_use`, until it clears it.
pub struct SpinCell<T> {
    is_in_use: AtomicBool,
    thing: UnsafeCell<Option<Arc<T>>>,
}

// SAFETY: By the type invariant one thread at a time touches the reference.
unsafe impl<T: Send + Sync> Sync for SpinCell<T> {}

impl<T> Default for SpinCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> SpinCell<T> {
    /// Creates an empty cell.
    pub const fn new() -> Self {
        Self {
            is_in_use: AtomicBool::new(false),
            thing: UnsafeCell::new(None),
        }
    }

    /// Sets or clears the object. Drops the one that was there before.
    pub fn set(&self, thing: Option<Arc<T>>) {
        drop(self.with(|place| core::mem::replace(place, thing)));
    }

    /// Returns the object.
    pub fn get(&self) -> Option<Arc<T>> {
        self.with(|place| place.clone())
    }

    fn with<R>(&self, f: impl FnOnce(&mut Option<Arc<T>>) -> R) -> R {
        while self.is_in_use.swap(true, Ordering::Acquire) {
            core::hint::spin_loop();
        }
        // SAFETY: By the type invariant, the thing is ours from the swap to the store.
        let result = f(unsafe { &mut *self.thing.get() });
        self.is_in_use.store(false, Ordering::Release);
        result
    }
}
