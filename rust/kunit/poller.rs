// SPDX-License-Identifier: GPL-2.0

//! A poller of a file, as `select()` and `epoll` are.
//!
//! C header: `include/linux/poll.h`

use crate::bindings;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel_ext::fs::File;

/// A poller, which has polled a file and waits for its events until it is dropped.
///
/// # Invariants
///
/// `poller` came from `cfk_poller_new()`, and is ours.
pub struct Poller {
    poller: NonNull<bindings::cfk_poller>,
    ready: u32,
}

impl Poller {
    /// Polls the file for `events`, a mask of [`kernel_ext::sync::poll`]. Sleeps. Error: ENOMEM.
    pub fn new(file: &File, events: u32) -> Result<Self> {
        Self::with(file, events, false)
    }

    /// Polls the file with `EPOLLEXCLUSIVE`: a wake-up may go to other pollers.
    pub fn exclusive(file: &File, events: u32) -> Result<Self> {
        Self::with(file, events, true)
    }

    fn with(file: &File, events: u32, exclusive: bool) -> Result<Self> {
        let mut ready = 0;
        // SAFETY: The file is open; it is held until the poller is freed.
        let poller =
            unsafe { bindings::cfk_poller_new(file.as_ptr(), events, exclusive, &mut ready) };
        let poller = NonNull::new(poller).ok_or(ENOMEM)?;
        // INVARIANT: Made just now.
        Ok(Self { poller, ready })
    }

    /// Returns the events that were ready when the file was polled.
    pub fn ready(&self) -> u32 {
        self.ready
    }

    /// Returns whether the file has a wait queue with this poller in it.
    pub fn waits(&self) -> bool {
        // SAFETY: Ours, by the type invariant.
        unsafe { bindings::cfk_poller_waits(self.poller.as_ptr()) }
    }

    /// Returns the number of wake-ups.
    pub fn wakeups(&self) -> i32 {
        // SAFETY: Ours, by the type invariant.
        unsafe { bindings::cfk_poller_wakeups(self.poller.as_ptr()) }
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        // SAFETY: Ours, by the type invariant. The file, and so its queue, is still there.
        unsafe { bindings::cfk_poller_free(self.poller.as_ptr()) };
    }
}
