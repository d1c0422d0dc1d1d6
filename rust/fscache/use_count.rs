// SPDX-License-Identifier: GPL-2.0

//! A count of short uses of a pointer, in any context, that is closed and drained at its end.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use kernel_ext::task::sleep;

/// Counts uses in any context, until it is closed for good.
///
/// Protects the pointer to a `struct fscache_cache`, whose refcount a backend cannot access. A lock
/// will not do: objects may be dropped in an interrupt.
pub(crate) struct UseCount {
    closed: AtomicBool,
    uses: AtomicUsize,
}

impl UseCount {
    pub(crate) const fn new() -> Self {
        Self {
            closed: AtomicBool::new(false),
            uses: AtomicUsize::new(0),
        }
    }

    /// Runs `f` unless the count is closed. [`UseCount::close`] waits for it. `f` must not sleep.
    pub(crate) fn while_open<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        // Sequentially consistent on both sides: either this sees the flag, or the task that sets
        // it sees this use.
        self.uses.fetch_add(1, Ordering::SeqCst);
        let result = if self.closed.load(Ordering::SeqCst) {
            None
        } else {
            Some(f())
        };
        self.uses.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// Closes the count, and drains the uses under way. May sleep.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        while self.uses.load(Ordering::SeqCst) != 0 {
            // Not `cond_resched`: a preempted user may have a lower priority than this task.
            sleep(1);
        }
    }
}
