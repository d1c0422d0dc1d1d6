// SPDX-License-Identifier: GPL-2.0

//! Wait queues, as `poll` uses them.
//!
//! C headers: `include/linux/wait.h`, `include/linux/poll.h`
//!
//! Pollers add an entry to the queue and remove it themselves: `select` and `poll` while they hold
//! the file, `epoll` before the release of the file. So a queue must live until then.
//! [`crate::miscdevice::MiscDevice::wait_queue`] ensures that: the queue is part of the data of the
//! file.
//!
//! The lock is a `spinlock_t`: nothing here sleeps, and any context will do. With
//! `CONFIG_PREEMPT_RT` such a lock may sleep, so there the context has to be a thread, without a
//! raw spinlock and with interrupts enabled.

use cachefiles_bindings as bindings;
use core::num::NonZeroU32;
use kernel::prelude::*;
use kernel::types::Opaque;

/// The events that `poll` reports (`include/uapi/linux/eventpoll.h`).
pub mod poll {
    use cachefiles_bindings as bindings;

    /// `EPOLLIN`: there is something to read.
    pub const IN: u32 = bindings::EPOLLIN;
    /// `EPOLLOUT`: a write would not block.
    pub const OUT: u32 = bindings::EPOLLOUT;
    /// `EPOLLERR`: the file is in error.
    pub const ERR: u32 = bindings::EPOLLERR;
}

/// A wait queue of pollers (`struct wait_queue_head`).
///
/// # Invariants
///
/// `inner` is an initialised wait queue head.
#[pin_data]
pub struct WaitQueue {
    #[pin]
    inner: Opaque<bindings::wait_queue_head>,
}

// SAFETY: A wait queue has its own lock, and belongs to no thread.
unsafe impl Send for WaitQueue {}
// SAFETY: Every function on it takes its lock, so that any thread may call it at any time.
unsafe impl Sync for WaitQueue {}

impl WaitQueue {
    /// Creates an empty queue.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: Initialised by the C function.
            // SAFETY: `slot` is valid for writes, and pinned from here on.
            inner <- Opaque::ffi_init(|slot| unsafe { bindings::cfh_init_waitqueue_head(slot) }),
        })
    }

    /// Wakes every waiter, exclusive ones as well, regardless of its events. Contexts: see the
    /// module.
    #[inline]
    pub fn wake_up_all(&self) {
        // SAFETY: Initialised, by the type invariant.
        unsafe { bindings::cfh_wake_up_all(self.inner.get()) };
    }

    /// Wakes waiters for an event of `mask`: `count` of the exclusive ones (`EPOLLEXCLUSIVE`), and
    /// all others. Contexts: see the module.
    #[inline]
    pub fn wake_up_poll(&self, mask: u32, count: NonZeroU32) {
        // To the C function, 0 and less mean all of them.
        let count = i32::try_from(count.get()).unwrap_or(i32::MAX);
        // SAFETY: Initialised, by the type invariant. The key of a poller is the mask itself.
        unsafe {
            bindings::__wake_up(
                self.inner.get(),
                bindings::TASK_NORMAL,
                count,
                mask as usize as *mut core::ffi::c_void,
            )
        };
    }

    /// Returns the C wait queue, for `poll_wait()`.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut bindings::wait_queue_head {
        self.inner.get()
    }
}
