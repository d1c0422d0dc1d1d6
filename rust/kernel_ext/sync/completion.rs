// SPDX-License-Identifier: GPL-2.0

//! Completions: waiting for something that happens once.
//!
//! C header: `include/linux/completion.h`

use cachefiles_bindings as bindings;
use kernel::error::code::EINTR;
use kernel::prelude::*;
use kernel::types::Opaque;

/// An event that happens once, and that any number of tasks can wait for (`struct completion`).
///
/// # Examples
///
/// A request that one task waits for, unless it is killed, and another one serves:
///
/// ```
/// use core::sync::atomic::{AtomicUsize, Ordering};
/// use kernel::prelude::*;
/// use kernel::sync::Arc;
/// use kernel_ext::sync::Completion;
///
/// #[pin_data]
/// struct Request {
///     bytes: AtomicUsize,
///     #[pin]
///     served: Completion,
/// }
///
/// impl Request {
///     fn new() -> Result<Arc<Self>> {
///         Arc::pin_init(
///             pin_init!(Self {
///                 bytes: AtomicUsize::new(0),
///                 served <- Completion::new(),
///             }),
///             GFP_KERNEL,
///         )
///     }
///
///     fn serve(&self, bytes: usize) {
///         self.bytes.store(bytes, Ordering::Release);
///         self.served.complete_all();
///     }
///
///     fn wait(&self) -> Result<usize> {
///         self.served.wait_killable()?;
///         Ok(self.bytes.load(Ordering::Acquire))
///     }
/// }
///
/// let request = Request::new()?;
/// assert!(!request.served.is_done());
/// request.serve(4096);
/// assert_eq!(request.wait(), Ok(4096));
/// ```
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
    /// Creates a completion that is not done.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: Initialised by the C function.
            // SAFETY: `slot` is valid for writes, and pinned from here on.
            inner <- Opaque::ffi_init(|slot| unsafe { bindings::cfh_init_completion(slot) }),
        })
    }

    /// Completes: wakes all waiters, and nobody waits from now on.
    ///
    /// Does not sleep. Any context, except hard interrupts in a kernel with `CONFIG_PREEMPT_RT`, as
    /// there may be many tasks to wake.
    #[inline]
    pub fn complete_all(&self) {
        // SAFETY: Initialised, by the type invariant.
        unsafe { bindings::complete_all(self.inner.get()) };
    }

    /// Waits for the completion, or for a fatal signal. Sleeps.
    ///
    /// Error: EINTR, a fatal signal ended the wait. The completion may be done nevertheless.
    #[inline]
    pub fn wait_killable(&self) -> Result {
        // SAFETY: Initialised, by the type invariant.
        if unsafe { bindings::wait_for_completion_killable(self.inner.get()) } == 0 {
            Ok(())
        } else {
            Err(EINTR)
        }
    }

    /// Returns whether the completion is done. Any context, also with `CONFIG_PREEMPT_RT`, as the
    /// lock is a raw one.
    ///
    /// Once this is true, `complete_all` does not access the memory of the completion any more.
    #[inline]
    pub fn is_done(&self) -> bool {
        // SAFETY: Initialised, by the type invariant.
        unsafe { bindings::completion_done(self.inner.get()) }
    }
}
