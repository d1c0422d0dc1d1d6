// SPDX-License-Identifier: GPL-2.0

//! Wait queues, as `poll` uses them.
//!
//! C headers: `include/linux/wait.h`, `include/linux/poll.h`
//!
//! Whoever polls a file hangs itself into the queue and takes itself out when it has done: `select`
//! and `poll` while they hold the file, `epoll` before the file's release. So a queue must live
//! until then. [`crate::miscdevice::MiscDevice::wait_queue`] sees to it: the queue is part of what
//! the file keeps alive.
//!
//! Its lock is a `spinlock_t`: nothing here sleeps, and any context will do. With
//! `CONFIG_PREEMPT_RT` such a lock may sleep, so there it is to be a thread's context, with no raw
//! spinlock held and interrupts on.

use cachefiles_bindings as bindings;
use core::num::NonZeroU32;
use kernel::prelude::*;
use kernel::types::Opaque;

/// What `poll` reports, as in `include/uapi/linux/eventpoll.h`.
pub mod poll {
    use cachefiles_bindings as bindings;

    /// `EPOLLIN`: there is something to read.
    pub const IN: u32 = bindings::EPOLLIN;
    /// `EPOLLOUT`: a write would not block.
    pub const OUT: u32 = bindings::EPOLLOUT;
    /// `EPOLLERR`: the file is in error.
    pub const ERR: u32 = bindings::EPOLLERR;
}

/// Those who poll a file.
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
    /// An empty queue.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: Initialised by the C function.
            // SAFETY: `slot` is valid for writes, and pinned from here on.
            inner <- Opaque::ffi_init(|slot| unsafe { bindings::cfh_init_waitqueue_head(slot) }),
        })
    }

    /// Wakes every waiter, exclusive ones as well, whatever it waits for. Any context but those of
    /// the head of this file.
    #[inline]
    pub fn wake_up_all(&self) {
        // SAFETY: Initialised, by the type invariant.
        unsafe { bindings::cfh_wake_up_all(self.inner.get()) };
    }

    /// Wakes those who wait for an event of `mask`: `count` of the exclusive waiters
    /// (`EPOLLEXCLUSIVE`), and all others. Any context but those of the head of this file.
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

    /// The C wait queue, for `poll_wait()`.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut bindings::wait_queue_head {
        self.inner.get()
    }
}
