// SPDX-License-Identifier: GPL-2.0

//! Values that the lock of a table protects, kept outside of the table.

use super::LockedXArray;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::error::{code::EINVAL, Result};

/// A value that is only reached with the lock of one [`LockedXArray`] held, by
/// [`Guard::with`](super::Guard::with) and [`GuardedAccess`].
///
/// # Invariants
///
/// `value` is only accessed with the lock of the table at `owner` held, or through the only
/// reference to this.
pub struct Guarded<T> {
    /// The address of the table, which is only compared. If the table was freed and another one is
    /// at its address, the lock of that one protects the value as well: no two of them exist at a
    /// time.
    owner: NonNull<()>,
    value: UnsafeCell<T>,
}

// SAFETY: `owner` is only compared; apart from it this is a `T`.
unsafe impl<T: Send> Send for Guarded<T> {}
// SAFETY: By the type invariant, one thread at a time reaches the value.
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    /// Creates a value that the lock of `owner` protects.
    pub fn new<S, L, D>(owner: &LockedXArray<S, L, D>, value: T) -> Self {
        Self {
            owner: owner.identity(),
            value: UnsafeCell::new(value),
        }
    }

    /// Returns the value. Error: EINVAL, the value belongs to a table other than that at `owner`.
    ///
    /// # Safety
    ///
    /// The caller holds the lock of the table at `owner` while the result is alive, and no other
    /// result of this function for a value of that table is alive.
    #[inline]
    // Not "expect": the clippy of Rust 1.85 has no complaint here.
    #[allow(clippy::mut_from_ref, reason = "the lock makes it unique")]
    pub(super) unsafe fn get(&self, owner: NonNull<()>) -> Result<&mut T> {
        if self.owner != owner {
            return Err(EINVAL);
        }
        // SAFETY: By the caller's promise, and the type invariant.
        Ok(unsafe { &mut *self.value.get() })
    }
}

/// Access to the values that the lock of one table protects, one at a time.
///
/// # Invariants
///
/// During `'g` the lock of the table at `owner` is held, and this is the only access to such
/// values.
pub struct GuardedAccess<'g> {
    owner: NonNull<()>,
    _lock: PhantomData<&'g mut ()>,
}

impl GuardedAccess<'_> {
    /// # Safety
    ///
    /// During the lifetime of the result the lock of the table at `owner` is held, and no value
    /// that it protects is reached in another way.
    #[inline]
    pub(super) unsafe fn new(owner: NonNull<()>) -> Self {
        // INVARIANT: By the caller's promise.
        Self {
            owner,
            _lock: PhantomData,
        }
    }

    /// Returns the value. Error: EINVAL, it belongs to another table.
    #[inline]
    pub fn get<'a, T>(&'a mut self, cell: &'a Guarded<T>) -> Result<&'a mut T> {
        // SAFETY: By the type invariant; `&mut self` lets no two results exist at a time.
        unsafe { cell.get(self.owner) }
    }
}
