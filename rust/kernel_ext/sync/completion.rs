// SPDX-License-Identifier: GPL-2.0

//! Completions: waiting for something that happens once.
//!
//! C header: `include/linux/completion.h`

use cachefiles_bindings as bindings;
use kernel::error::code::EINTR;
use kernel::prelude::*;
use kernel::types::Opaque;

/// Something that happens once, and that any number of tasks can wait for.
///
/// # Invariants
///
/// `inner` is an initialised `struct completion`.
#[pin_data]
pub struct Completion {
    #[pin]
    inner: Opaque<bindings::completion>,
}

// SAFETY: A completion has its own lock, and belongs to no thread.
unsafe impl Send for Completion {}
// SAFETY: Every function on it takes its lock, so that any thread may call it at any time.
unsafe impl Sync for Completion {}

impl Completion {
    /// A completion that has not happened.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: Initialised by the C function.
            // SAFETY: `slot` is valid for writes, and pinned from here on.
            inner <- Opaque::ffi_init(|slot| unsafe { bindings::cfh_init_completion(slot) }),
        })
    }

    /// It has happened: wakes all who wait, and nobody waits from now on.
    ///
    /// Does not sleep. Any context; but in a kernel with `CONFIG_PREEMPT_RT` no hard interrupt, as
    /// there may be many to wake.
    #[inline]
    pub fn complete_all(&self) {
        // SAFETY: Initialised, by the type invariant.
        unsafe { bindings::complete_all(self.inner.get()) };
    }

    /// Waits until it has happened. Sleeps.
    ///
    /// Error: EINTR, where a fatal signal ended the wait. It may have happened all the same.
    #[inline]
    pub fn wait_killable(&self) -> Result {
        // SAFETY: Initialised, by the type invariant.
        if unsafe { bindings::wait_for_completion_killable(self.inner.get()) } == 0 {
            Ok(())
        } else {
            Err(EINTR)
        }
    }

    /// Whether it has happened. Any context, also with `CONFIG_PREEMPT_RT`: the lock is a raw one.
    ///
    /// Once this is true, `complete_all` has done with the completion's memory.
    #[inline]
    pub fn is_done(&self) -> bool {
        // SAFETY: Initialised, by the type invariant.
        unsafe { bindings::completion_done(self.inner.get()) }
    }
}
