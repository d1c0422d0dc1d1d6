// SPDX-License-Identifier: GPL-2.0

//! Cyclic allocation of ids.
//!
//! C header: `include/linux/xarray.h`

use crate::{errno, gfp::Gfp};
use cachefiles_bindings as bindings;
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use kernel::prelude::*;
use kernel::types::Opaque;

/// Allocates the ids from 1 to `i32::MAX` cyclically, so that a freed id is not reused soon.
///
/// # Invariants
///
/// `xa` is an initialised xarray that tracks free slots, with no entries but reserved ones. `next`
/// is only touched with its lock held.
#[pin_data(PinnedDrop)]
pub struct CyclicIds {
    #[pin]
    xa: Opaque<bindings::xarray>,
    next: UnsafeCell<u32>,
}

// SAFETY: The xarray has its own lock, which also guards `next`; neither belongs to a thread.
unsafe impl Send for CyclicIds {}
// SAFETY: `next` is only touched with the xarray's lock held, which any thread may take.
unsafe impl Sync for CyclicIds {}

impl CyclicIds {
    const LIMIT: bindings::xa_limit = bindings::xa_limit {
        min: 1,
        max: i32::MAX as u32,
    };

    /// Creates an allocator with all ids free.
    pub fn new() -> impl PinInit<Self> {
        Self::beginning_at(1)
    }

    /// Creates an allocator that hands out `first` first, as if all ids below had been used.
    pub fn beginning_at(first: u32) -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: Initialised by the C function.
            xa <- Opaque::ffi_init(move |slot| {
                let key = kernel::static_lock_class!();
                let name = kernel::c_str!("cyclic_ids");
                // SAFETY: `slot` is valid for writes and pinned from here on; name and class are
                // static.
                unsafe {
                    bindings::cfh_xa_init_alloc(
                        slot,
                        name.as_char_ptr(),
                        core::ptr::from_ref(key).cast_mut().cast(),
                    )
                }
            }),
            next: UnsafeCell::new(first),
        })
    }

    /// Allocates an id. Sleeps where `gfp` allows it.
    ///
    /// Errors: ENOMEM; EBUSY, all ids are in use.
    pub fn alloc(&self, gfp: Gfp) -> Result<u32> {
        let mut id = 0;
        // SAFETY: Initialised, by the type invariant. It is unlocked before this function returns.
        unsafe { bindings::cfh_xa_lock(self.xa.get()) };
        // SAFETY: The lock is held, which also makes `next` ours. A null entry reserves the slot.
        let ret = unsafe {
            bindings::__xa_alloc_cyclic(
                self.xa.get(),
                &mut id,
                null_mut(),
                Self::LIMIT,
                self.next.get(),
                gfp.as_raw(),
            )
        };
        // SAFETY: This task has locked it, in the statements before.
        unsafe { bindings::cfh_xa_unlock(self.xa.get()) };
        errno::check(ret)?;
        Ok(id)
    }

    /// Frees an id. An id that is not in use is ignored. Does not sleep.
    pub fn free(&self, id: u32) {
        // SAFETY: Initialised, by the type invariant. The entries are reservations: nothing to
        // free.
        unsafe { bindings::xa_erase(self.xa.get(), id as usize) };
    }
}

#[pinned_drop]
impl PinnedDrop for CyclicIds {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Initialised, by the type invariant, and nobody else has it any more.
        unsafe { bindings::xa_destroy(self.xa.get()) };
    }
}
