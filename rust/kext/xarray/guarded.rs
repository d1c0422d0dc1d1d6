// SPDX-License-Identifier: GPL-2.0

//! Values that the lock of a table protects, kept outside of the table.

use super::LockedXArray;
use core::cell::UnsafeCell;
use kernel::error::{code::EINVAL, Result};

/// A value that is only reached with the lock of one [`LockedXArray`] held, by
/// [`Guard::with`](super::Guard::with).
///
/// # Invariants
///
/// `value` is only touched by one who holds the lock of the table at `owner`, or who has the only
/// reference to this.
pub struct Guarded<T> {
    /// Where the table is, or was. Never followed. Should the table be gone and another be in its
    /// place, that one's lock protects the value just as well: no two of them exist at a time.
    owner: *const (),
    value: UnsafeCell<T>,
}

// SAFETY: `owner` is only compared; apart from it this is a `T`.
unsafe impl<T: Send> Send for Guarded<T> {}
// SAFETY: By the type invariant, one thread at a time reaches the value.
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    /// A value that the lock of `owner` protects from now on.
    pub fn new<S, L, D>(owner: &LockedXArray<S, L, D>, value: T) -> Self {
        Self {
            owner: owner.identity(),
            value: UnsafeCell::new(value),
        }
    }

    /// The value. Error: EINVAL, the value belongs to a table other than that at `owner`.
    ///
    /// # Safety
    ///
    /// The caller holds the lock of the table at `owner` while the result is alive, and no other
    /// result of this function for a value of that table is alive.
    #[inline]
    // Not "expect": the clippy of Rust 1.85 has no complaint here.
    #[allow(clippy::mut_from_ref, reason = "the lock makes it unique")]
    pub(super) unsafe fn get(&self, owner: *const ()) -> Result<&mut T> {
        if !core::ptr::eq(self.owner, owner) {
            return Err(EINVAL);
        }
        // SAFETY: By the caller's promise, and the type invariant.
        Ok(unsafe { &mut *self.value.get() })
    }
}
