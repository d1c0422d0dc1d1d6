// SPDX-License-Identifier: GPL-2.0

//! Work queues: one queue, whose workers are tasks of the test.

use cachefiles_bindings::sched;
use kernel::sync::Arc;
use kernel::workqueue::WorkItem;
use std::cell::RefCell;
use std::task::Waker;

struct Pending {
    of: *const (),
    /// When it is to be done: 0 is at once.
    due: usize,
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
    /// Time does not pass.
    is_held: bool,
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

pub(crate) fn key<T>(target: &Arc<T>) -> *const () {
    let target: *const T = &**target;
    target.cast()
}

/// Empties it: a new execution begins.
pub fn reset() {
    with(|queue| *queue = Queue::default());
    crate::task::set_jiffies(0);
}

/// Leaves it as it is: the execution failed, and nothing of it may run any more.
pub fn abandon() {
    std::mem::forget(QUEUE.take());
}

/// Until it is let go, or the workers are to end, no time passes.
pub fn hold_time(is_held: bool) {
    with(|queue| queue.is_held = is_held);
    wake();
}

/// Has `run` called for the target at a later time, whenever it was to be called before.
pub(crate) fn start_later<T: 'static>(
    of: *const (),
    target: Arc<T>,
    ticks: usize,
    run: fn(Arc<T>),
) {
    if let Some(old) = take_back(of) {
        (old.cancel)();
    }
    let due = crate::task::jiffies() + ticks.max(1);
    let target = std::rc::Rc::new(std::cell::Cell::new(Some(target)));
    let other = target.clone();
    with(|queue| {
        queue.pending.push(Pending {
            of,
            due,
            run: Box::new(move || {
                if let Some(target) = target.take() {
                    run(target);
                }
            }),
            cancel: Box::new(move || drop(other.take())),
        })
    });
    wake();
}

fn take_back(of: *const ()) -> Option<Pending> {
    with(|queue| {
        let at = queue.pending.iter().position(|pending| pending.of == of)?;
        Some(queue.pending.swap_remove(at))
    })
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
            due: 0,
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
    cancel_sync(key(target))
}

pub(crate) fn cancel_sync(of: *const ()) -> bool {
    sched::point();
    let was_pending = take_back(of);
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
                let is_held = queue.is_held && !queue.stopped;
                let ready = |(_, pending): &(usize, &Pending)| {
                    !(queue.running.contains(&pending.of) || is_held && pending.due > 0)
                };
                let pending = queue.pending.iter().enumerate().filter(ready);
                if let Some((at, _)) = pending.min_by_key(|(_, pending)| pending.due) {
                    let pending = queue.pending.remove(at);
                    crate::task::set_jiffies(crate::task::jiffies().max(pending.due));
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
        let Some(Pending {
            of, run, cancel, ..
        }) = next
        else {
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
