// SPDX-License-Identifier: GPL-2.0

//! The module's own abstractions, on the C functions of the host.
//!
//! What the engine's steps hang on is the very code of `rust/kernel_ext`: the locked xarray,
//! completions, wait queues, numbers, errors. Files, work and log lines are replaced.

#![deny(unsafe_op_in_unsafe_fn)]
#![deny(clippy::undocumented_unsafe_blocks)]

pub mod anon_file;
pub mod delayed_work;
pub mod fs;
pub mod io;
pub mod log;
pub mod params;
pub mod slab;
pub mod task;
pub mod workqueue;

// Those who use the rest of them are not here.
#[allow(dead_code)]
#[path = "../../../../../../rust/kernel_ext"]
mod real {
    pub mod errno;
    pub mod gfp;
    pub mod ids;
    pub mod sync;
    pub mod xarray;
}

pub use real::{errno, gfp, ids, sync, xarray};

/// Polling a wait queue, as the epoll of a process does.
pub mod polling {
    use crate::sync::WaitQueue;
    pub use cachefiles_bindings::Polling;

    /// Hangs a poller into the queue.
    pub fn poll(queue: &WaitQueue, exclusive: bool, mask: u32) -> Polling {
        // SAFETY: A `WaitQueue` is initialised.
        unsafe { Polling::new(queue.as_ptr().cast(), exclusive, mask) }
    }
}
