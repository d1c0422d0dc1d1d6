// SPDX-License-Identifier: GPL-2.0

//! Static variables that a mutex protects.
//!
//! C header: `include/linux/mutex.h`

use cachefiles_bindings as bindings;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

/// A static variable that is only accessed with a mutex held.
///
/// All of them share one mutex, as only C can make a mutex that is initialised from the start: a
/// task that holds one guard and locks another variable deadlocks. A static is not dropped: values
/// that own memory have to be taken out when the module is unloaded.
///
/// # Invariants
///
/// `value` is only accessed by a task that holds the mutex.
pub struct Global<T> {
    value: UnsafeCell<T>,
}

// SAFETY: One task at a time touches the value, which may be another each time.
unsafe impl<T: Send> Sync for Global<T> {}

impl<T> Global<T> {
    /// Creates the variable with its first value.
    pub const fn new(value: T) -> Self {
        // INVARIANT: Nobody can touch what is being made.
        Self {
            value: UnsafeCell::new(value),
        }
    }

    /// Locks the variable. Sleeps.
    pub fn lock(&'static self) -> GlobalGuard<T> {
        // SAFETY: The mutex is there as long as the module is. A context that must not sleep, and a
        // task that holds it, are reported by the kernel, or wait; neither is undefined.
        unsafe { bindings::cfh_lock_global() };
        // INVARIANT: Locked just now.
        GlobalGuard {
            global: self,
            _task: PhantomData,
        }
    }
}

/// A locked static variable.
///
/// # Invariants
///
/// The mutex is held, by this task, for this value.
pub struct GlobalGuard<T: 'static> {
    global: &'static Global<T>,
    /// A mutex is unlocked by the task that locked it.
    _task: PhantomData<*mut ()>,
}

impl<T> Deref for GlobalGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The mutex is held (type invariant), and so for this value alone, as another guard
        // would have waited for it.
        unsafe { &*self.global.value.get() }
    }
}

impl<T> DerefMut for GlobalGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: The mutex is held (type invariant), and so for this value alone, as another guard
        // would have waited for it; this one is borrowed exclusively.
        unsafe { &mut *self.global.value.get() }
    }
}

impl<T> Drop for GlobalGuard<T> {
    fn drop(&mut self) {
        // SAFETY: Held by this task (type invariant, and it has not been sent to another).
        unsafe { bindings::cfh_unlock_global() };
    }
}
