// SPDX-License-Identifier: GPL-2.0

//! A static place for what a callback is to find.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::sync::Arc;

/// Where a test puts a thing for a callback that is handed nothing.
///
/// # Invariants
///
/// `thing` is only touched by the one who made `is_in_use` true, until it makes it false again.
pub struct Shelf<T> {
    is_in_use: AtomicBool,
    thing: UnsafeCell<Option<Arc<T>>>,
}

// SAFETY: By the type invariant one thread at a time touches the reference.
unsafe impl<T: Send + Sync> Sync for Shelf<T> {}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Shelf<T> {
    /// An empty place.
    pub const fn new() -> Self {
        Self {
            is_in_use: AtomicBool::new(false),
            thing: UnsafeCell::new(None),
        }
    }

    /// Puts a thing there, or takes it away. Drops what was there before.
    pub fn set(&self, thing: Option<Arc<T>>) {
        drop(self.with(|place| core::mem::replace(place, thing)));
    }

    /// What is there.
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
