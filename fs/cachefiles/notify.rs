// SPDX-License-Identifier: GPL-2.0

//! Telling the daemon that something happened: what `poll` on the device waits for.
//!
//! # Memory ordering
//!
//! Two things must not be missed. All accesses are atomic ones of Rust, whose orderings are those
//! of the kernel's memory model of the same name (`Documentation/memory-barriers.txt`).
//!
//! - *A waiter that goes to sleep.* A change is stored first, and then wakes. `poll`
//!   puts its waiter into the queue first, and looks then. Both take the lock of the queue in
//!   between: if the waker comes first, the unlock and the lock order its store before the look of
//!   the other; if it comes second, it finds the waiter. There is no look at an empty queue without
//!   the lock, so that no full barrier is needed.
//! - *News while the daemon reads the state.* It takes `changed` back, and reads the state then.
//!   With a plain store the reads could go first: they see the old state, the change and its mark
//!   come, and then the store wipes out the mark. So it is a swap with acquire and release: a mark
//!   that it takes away was set with release, after the change, which the reads behind it see; and
//!   one that comes later stays.

use core::num::NonZeroU32;
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::sync::Arc;
use kernel_ext::sync::{poll, WaitQueue};

/// Tells the daemon what happens to a cache, by the wait queue of the device: a cache may be bound
/// again by another daemon, but pollers stay in the queue.
pub(crate) struct Notifier {
    waiters: Arc<WaitQueue>,
    /// The daemon is to make room.
    culling: AtomicBool,
    /// Something changed since the daemon last read the state.
    changed: AtomicBool,
}

impl Notifier {
    pub(crate) fn new(waiters: Arc<WaitQueue>) -> Self {
        Self {
            waiters,
            culling: AtomicBool::new(false),
            changed: AtomicBool::new(false),
        }
    }

    /// Wakes as many exclusive waiters as requests became ready, and all others.
    pub(crate) fn requests_ready(&self, count: u32) {
        if let Some(count) = NonZeroU32::new(count) {
            self.waiters.wake_up_poll(poll::IN, count);
        }
    }

    /// Wakes all waiters: the cache died, or the daemon is a new one.
    pub(crate) fn wake_all(&self) {
        self.waiters.wake_up_all();
    }

    /// Notes that the state changed that the daemon reads in the original mode, and wakes it.
    pub(crate) fn state_changed(&self) {
        self.changed.store(true, Ordering::Release);
        self.waiters.wake_up_all();
    }

    /// Notes that the daemon reads the state now. What changes from here on is news.
    pub(crate) fn state_read(&self) {
        self.changed.swap(false, Ordering::AcqRel);
    }

    pub(crate) fn is_state_changed(&self) -> bool {
        self.changed.load(Ordering::Acquire)
    }

    pub(crate) fn is_culling(&self) -> bool {
        self.culling.load(Ordering::Acquire)
    }

    /// Starts or ends culling, and says so if that is news.
    pub(crate) fn set_culling(&self, culling: bool) {
        if self.is_culling() != culling && self.culling.swap(culling, Ordering::AcqRel) != culling {
            self.state_changed();
        }
    }
}
