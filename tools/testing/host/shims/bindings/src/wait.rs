// SPDX-License-Identifier: GPL-2.0

//! Completions and wait queues.
//!
//! Beginning to wait is no point of its own: who is interrupted before it finds what happened
//! meanwhile, and who is not is woken by it.

use crate::sched;
use crate::{ERESTARTSYS, TASK_NORMAL};
use core::ffi::{c_int, c_void};
use std::cell::RefCell;
use std::task::Waker;

/// `struct completion`: the place in the table.
#[repr(C)]
pub struct completion {
    place: usize,
}

/// `struct wait_queue_head`: the place in the table.
#[repr(C)]
pub struct wait_queue_head {
    place: usize,
}

#[derive(Default)]
struct Completion {
    done: bool,
    waiting: Vec<Waker>,
}

/// One that hangs in a wait queue, as epoll does: from when it is put there until it is taken out.
struct Poller {
    queue: usize,
    exclusive: bool,
    mask: u32,
    /// Woken since it last looked.
    woken: bool,
    sleeping: Option<Waker>,
    gone: bool,
}

#[derive(Default)]
struct Tables {
    completions: Vec<Completion>,
    queues: usize,
    pollers: Vec<Poller>,
}

std::thread_local! {
    static TABLES: RefCell<Tables> = RefCell::default();
}

fn with<R>(f: impl FnOnce(&mut Tables) -> R) -> R {
    TABLES.with_borrow_mut(f)
}

pub(crate) fn reset() {
    with(|tables| *tables = Tables::default());
}

pub unsafe fn cfh_init_completion(slot: *mut completion) {
    let place = with(|tables| {
        tables.completions.push(Completion::default());
        tables.completions.len() - 1
    });
    // SAFETY: The caller's place is valid for writes.
    unsafe { slot.write(completion { place }) };
}

pub unsafe fn complete_all(at: *mut completion) {
    sched::point();
    // SAFETY: Initialised, as the caller says.
    let place = unsafe { (*at).place };
    sched::note("completes", place as u64);
    let waiting = with(|tables| {
        let completion = &mut tables.completions[place];
        assert!(!completion.done, "completed twice");
        completion.done = true;
        std::mem::take(&mut completion.waiting)
    });
    waiting.into_iter().for_each(Waker::wake);
}

pub unsafe fn wait_for_completion_killable(at: *mut completion) -> c_int {
    // SAFETY: Initialised, as the caller says.
    let place = unsafe { (*at).place };
    sched::note("waits", place as u64);
    let done = sched::sleep_until_killed(|waker| {
        with(|tables| {
            let completion = &mut tables.completions[place];
            completion.waiting.push(waker.clone());
            completion.done.then_some(())
        })
    });
    done.map_or(-ERESTARTSYS, |()| 0)
}

pub unsafe fn completion_done(at: *mut completion) -> bool {
    sched::point();
    // SAFETY: Initialised, as the caller says.
    let place = unsafe { (*at).place };
    with(|tables| tables.completions[place].done)
}

pub unsafe fn cfh_init_waitqueue_head(slot: *mut wait_queue_head) {
    let place = with(|tables| {
        tables.queues += 1;
        tables.queues - 1
    });
    // SAFETY: The caller's place is valid for writes.
    unsafe { slot.write(wait_queue_head { place }) };
}

pub unsafe fn cfh_wake_up_all(at: *mut wait_queue_head) {
    // SAFETY: Initialised, as the caller says.
    wake(unsafe { (*at).place }, u32::MAX, usize::MAX);
}

pub unsafe fn cfh_wake_up_poll(at: *mut wait_queue_head, mask: u32) {
    // SAFETY: Initialised, as the caller says.
    wake(unsafe { (*at).place }, mask, 1);
}

pub unsafe fn __wake_up(at: *mut wait_queue_head, mode: u32, exclusive: c_int, key: *mut c_void) {
    assert_eq!(mode, TASK_NORMAL);
    // 0 means all of them.
    let exclusive = match usize::try_from(exclusive) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(count) => count,
    };
    // SAFETY: Initialised, as the caller says.
    wake(unsafe { (*at).place }, key as usize as u32, exclusive);
}

/// Those who share come first, then those who do not: of them `exclusive` that were asleep.
fn wake(queue: usize, mask: u32, mut exclusive: usize) {
    sched::point();
    sched::note("wakes pollers", mask.into());
    let mut wakers = Vec::new();
    with(|tables| {
        let mut pollers: Vec<_> = tables.pollers.iter_mut().collect();
        pollers.sort_by_key(|poller| poller.exclusive);
        for poller in pollers {
            if poller.gone || poller.queue != queue || poller.mask & mask == 0 {
                continue;
            }
            if poller.exclusive && exclusive == 0 {
                break;
            }
            poller.woken = true;
            let sleeping = poller.sleeping.take();
            if poller.exclusive && sleeping.is_some() {
                exclusive -= 1;
            }
            wakers.extend(sleeping);
        }
    });
    wakers.into_iter().for_each(Waker::wake);
}

/// A poller: one entry in a wait queue.
pub struct Polling {
    place: usize,
}

impl Polling {
    /// Hangs itself into a queue. Dropped, it goes out of it.
    ///
    /// # Safety
    ///
    /// `queue` is initialised.
    pub unsafe fn new(queue: *mut c_void, exclusive: bool, mask: u32) -> Self {
        // SAFETY: The caller's promise.
        let queue = unsafe { (*queue.cast::<wait_queue_head>()).place };
        let place = with(|tables| {
            tables.pollers.push(Poller {
                queue,
                exclusive,
                mask,
                woken: false,
                sleeping: None,
                gone: false,
            });
            tables.pollers.len() - 1
        });
        Self { place }
    }

    /// Sleeps until it was woken since this last returned.
    pub fn wait(&self) {
        sched::sleep_until(|waker| {
            with(|tables| {
                let poller = &mut tables.pollers[self.place];
                if std::mem::take(&mut poller.woken) {
                    return Some(());
                }
                poller.sleeping = Some(waker.clone());
                None
            })
        });
    }

    /// Wakes it, as another file in the same set would.
    pub fn wake(&self) {
        sched::point();
        let sleeping = with(|tables| {
            let poller = &mut tables.pollers[self.place];
            poller.woken = true;
            poller.sleeping.take()
        });
        if let Some(waker) = sleeping {
            waker.wake();
        }
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        with(|tables| {
            if let Some(poller) = tables.pollers.get_mut(self.place) {
                poller.gone = true;
            }
        });
    }
}
