// SPDX-License-Identifier: GPL-2.0

//! Cancelling and flushing of queued work.
//!
//! C header: `include/linux/workqueue.h`

use cachefiles_bindings as bindings;
use kernel::sync::Arc;
use kernel::workqueue::{HasWork, Queue, Work, WorkItem};

/// Waits until all work that is queued now has run. Sleeps. Must not be called from a work of that
/// queue.
pub fn flush(queue: &Queue) {
    let queue: *const Queue = queue;
    // SAFETY: A `Queue` is transparent over the C work queue, which is there while it is borrowed.
    unsafe { bindings::__flush_workqueue(queue.cast_mut().cast()) };
}

/// Cancels the work of `target` if it is queued, and waits for it if it runs.
///
/// When this returns, the work is neither queued nor running, unless it was queued again meanwhile.
/// Returns whether it was queued; then the reference of the queue is dropped. Sleeps. Must not be
/// called from the work itself, nor with a lock held that the work takes.
pub fn cancel_work_sync<T, const ID: u64>(target: &Arc<T>) -> bool
where
    T: WorkItem<ID, Pointer = Arc<T>> + HasWork<T, ID>,
{
    let ptr = Arc::into_raw(target.clone());
    // SAFETY: `ptr` is a valid `T`, as the reference just made is still there.
    let work = unsafe { T::raw_get_work(ptr.cast_mut()) };
    // SAFETY: `work` is a field of that `T`. It was initialised with it, as the only way to make a
    // `Work` is to initialise it.
    let was_pending = unsafe { bindings::cancel_work_sync(Work::raw_get(work)) };
    if was_pending {
        // SAFETY: `Work` of a `Pointer = Arc<T>` is queued with an `Arc` turned into a raw pointer,
        // which its function would have turned back. It will not run, so that is left to us.
        drop(unsafe { Arc::from_raw(ptr) });
    }
    // SAFETY: The pointer came out of an `Arc` in this function, whose reference is still ours.
    drop(unsafe { Arc::from_raw(ptr) });
    was_pending
}
