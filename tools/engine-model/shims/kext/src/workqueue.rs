// SPDX-License-Identifier: GPL-2.0

//! Work queues: one queue, whose workers are tasks of the test.

use cachefiles_bindings::sched;
use kernel::sync::Arc;
use kernel::workqueue::WorkItem;
use std::cell::RefCell;
use std::task::Waker;

struct Pending {
    of: *const (),
    run: Box<dyn FnOnce()>,
    cancel: Box<dyn FnOnce()>,
}

#[derive(Default)]
struct Queue {
    pending: Vec<Pending>,
    running: Vec<*const ()>,
    /// Workers without work, and those who wait for work to end.
    waiting: Vec<Waker>,
    stopped: bool,
}

std::thread_local! {
    static QUEUE: RefCell<Queue> = RefCell::default();
}

fn with<R>(f: impl FnOnce(&mut Queue) -> R) -> R {
    QUEUE.with_borrow_mut(f)
}

fn wake() {
    let waiting = with(|queue| std::mem::take(&mut queue.waiting));
    waiting.into_iter().for_each(Waker::wake);
}

fn key<T>(target: &Arc<T>) -> *const () {
    let target: *const T = &**target;
    target.cast()
}

/// Empties it: a new execution begins.
pub fn reset() {
    with(|queue| *queue = Queue::default());
}

/// Leaves it as it is: the execution failed, and nothing of it may run any more.
pub fn abandon() {
    std::mem::forget(QUEUE.take());
}

/// Queues the work, unless it waits already: then the reference comes back.
pub fn enqueue<T: WorkItem<Pointer = Arc<T>> + 'static>(target: Arc<T>) -> Result<(), Arc<T>> {
    sched::point();
    let of = key(&target);
    if with(|queue| queue.pending.iter().any(|pending| pending.of == of)) {
        return Err(target);
    }
    sched::note("queues work", 0);
    let target = std::rc::Rc::new(std::cell::Cell::new(Some(target)));
    let other = target.clone();
    with(|queue| {
        queue.pending.push(Pending {
            of,
            run: Box::new(move || {
                if let Some(target) = target.take() {
                    T::run(target);
                }
            }),
            cancel: Box::new(move || drop(other.take())),
        })
    });
    wake();
    Ok(())
}

/// As the real one.
pub fn cancel_work_sync<T: WorkItem<Pointer = Arc<T>>>(target: &Arc<T>) -> bool {
    sched::point();
    let of = key(target);
    let was_pending = with(|queue| {
        let at = queue.pending.iter().position(|pending| pending.of == of)?;
        Some(queue.pending.swap_remove(at))
    });
    let cancelled = was_pending.is_some();
    if let Some(pending) = was_pending {
        (pending.cancel)();
    }
    sched::sleep_until(|waker| {
        with(|queue| {
            if !queue.running.contains(&of) {
                return Some(());
            }
            queue.waiting.push(waker.clone());
            None
        })
    });
    cancelled
}

/// A worker: runs what is queued, until `stop`. One piece of work never runs twice at a time.
pub fn work() {
    loop {
        sched::point();
        let next = sched::sleep_until(|waker| {
            with(|queue| {
                let ready = |pending: &Pending| !queue.running.contains(&pending.of);
                if let Some(at) = queue.pending.iter().position(ready) {
                    let pending = queue.pending.remove(at);
                    queue.running.push(pending.of);
                    return Some(Some(pending));
                }
                if queue.stopped {
                    return Some(None);
                }
                queue.waiting.push(waker.clone());
                None
            })
        });
        let Some(Pending { of, run, cancel }) = next else {
            return;
        };
        drop(cancel);
        sched::note("runs work", 0);
        run();
        with(|queue| queue.running.retain(|&running| running != of));
        wake();
    }
}

/// The workers end when nothing is queued any more.
pub fn stop() {
    with(|queue| queue.stopped = true);
    wake();
}
