// SPDX-License-Identifier: GPL-2.0

//! A gate that many pass shortly, in any context, until it is closed for good.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use kernel_ext::task::sleep;

/// See the module.
///
/// Guards the pointer to a `struct fscache_cache`, which has no reference count that a backend can
/// reach. A lock will not do: objects may be dropped in an interrupt.
pub(crate) struct Gate {
    closed: AtomicBool,
    inside: AtomicUsize,
}

impl Gate {
    pub(crate) const fn new() -> Self {
        Self {
            closed: AtomicBool::new(false),
            inside: AtomicUsize::new(0),
        }
    }

    /// Runs `f` if the gate is open; [`Gate::close`] waits for that. `f` does not sleep.
    pub(crate) fn pass<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        // Sequentially consistent on both sides: either we see the gate closed, or the one who
        // closes it sees us inside.
        self.inside.fetch_add(1, Ordering::SeqCst);
        let result = if self.closed.load(Ordering::SeqCst) {
            None
        } else {
            Some(f())
        };
        self.inside.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// Closes the gate and waits until nobody is inside. May sleep.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        while self.inside.load(Ordering::SeqCst) != 0 {
            // Not `cond_resched`: who is inside may be preempted, and of a lower priority than we.
            sleep(1);
        }
    }
}
