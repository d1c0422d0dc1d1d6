// SPDX-License-Identifier: GPL-2.0

//! Telling the daemon that something happened: what `poll` on the device waits for.

use core::num::NonZeroU32;
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::prelude::*;
use kext::sync::{poll, WaitQueue};

/// Shared by the device, which the daemon polls, and the cache, where things happen.
#[pin_data]
pub(crate) struct Notifier {
    #[pin]
    waiters: WaitQueue,
    /// The daemon is to make room.
    culling: AtomicBool,
    /// Something changed since the daemon last read the state.
    changed: AtomicBool,
}

impl Notifier {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            waiters <- WaitQueue::new(),
            culling: AtomicBool::new(false),
            changed: AtomicBool::new(false),
        })
    }

    pub(crate) fn wait_queue(&self) -> &WaitQueue {
        &self.waiters
    }

    /// So many requests became ready: wakes as many of those who wait exclusively, and all others.
    pub(crate) fn requests_ready(&self, count: u32) {
        if let Some(count) = NonZeroU32::new(count) {
            self.waiters.wake_up_poll(poll::IN, count);
        }
    }

    /// What any waiter may want to know: the cache died, or the daemon is a new one.
    pub(crate) fn everything(&self) {
        self.waiters.wake_up_all();
    }

    /// The state that the daemon reads in the original mode changed.
    pub(crate) fn state_changed(&self) {
        self.changed.store(true, Ordering::Release);
        self.waiters.wake_up_all();
    }

    /// The daemon reads the state now. What changes from here on is news.
    pub(crate) fn state_read(&self) {
        self.changed.store(false, Ordering::Release);
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
