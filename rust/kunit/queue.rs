// SPDX-License-Identifier: GPL-2.0

//! A work queue with one worker.
//!
//! C header: `include/linux/workqueue.h`

use crate::bindings;
use core::ops::Deref;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::workqueue::Queue;

/// A queue whose works run one after the other. Dropping it waits for all that is queued.
///
/// # Invariants
///
/// `queue` is a work queue of ours.
pub struct OrderedQueue {
    queue: NonNull<bindings::workqueue_struct>,
}

impl OrderedQueue {
    /// Creates an empty queue. Sleeps. Error: ENOMEM.
    pub fn new() -> Result<Self> {
        let name = kernel::c_str!("kunit_ordered");
        // SAFETY: The name is a string, which is copied.
        let queue = unsafe { bindings::cfk_alloc_ordered_workqueue(name.as_char_ptr()) };
        // INVARIANT: Made just now.
        let queue = NonNull::new(queue).ok_or(ENOMEM)?;
        Ok(Self { queue })
    }
}

impl Deref for OrderedQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        // SAFETY: A work queue, which lives as long as this is borrowed.
        unsafe { Queue::from_raw(self.queue.as_ptr()) }
    }
}

impl Drop for OrderedQueue {
    fn drop(&mut self) {
        // SAFETY: Ours, by the type invariant; nobody can borrow it any more.
        unsafe { bindings::destroy_workqueue(self.queue.as_ptr()) };
    }
}
