// SPDX-License-Identifier: GPL-2.0

//! Tasks, and where one may be interrupted by another.
//!
//! With the feature `shuttle` the tasks are shuttle's, and its scheduler decides at each point who
//! goes on. Without it there is one task, which goes on.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::task::Waker;

#[derive(Default)]
struct Task {
    killed: bool,
    /// Spinlocks held.
    atomic: u32,
    /// Where it sleeps killably.
    killable: Option<Waker>,
}

std::thread_local! {
    static TASKS: RefCell<HashMap<usize, Task>> = RefCell::default();
    static CHOICES: Cell<usize> = const { Cell::new(0) };
    static STEPS: RefCell<Vec<(usize, &'static str, u64)>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn reset() {
    TASKS.with_borrow_mut(HashMap::clear);
    STEPS.with_borrow_mut(Vec::clear);
}

/// Notes a step, for whoever reads how a test failed.
pub fn note(what: &'static str, number: u64) {
    if !std::thread::panicking() {
        let id = current();
        STEPS.with_borrow_mut(|steps| steps.push((id, what, number)));
    }
}

/// The steps of this execution so far: task, what it did, to what.
pub fn steps() -> Vec<(usize, &'static str, u64)> {
    STEPS.with_borrow(Vec::clone)
}

/// The running task.
pub fn current() -> usize {
    #[cfg(feature = "shuttle")]
    return shuttle::thread::current().id().into();
    #[cfg(not(feature = "shuttle"))]
    0
}

fn with_task<R>(id: usize, f: impl FnOnce(&mut Task) -> R) -> R {
    TASKS.with_borrow_mut(|tasks| f(tasks.entry(id).or_default()))
}

/// Another task may run here.
pub fn point() {
    // A test that failed takes everything down as it is.
    if std::thread::panicking() {
        return;
    }
    // A sleep of no time is shuttle's plain switch, without the hint that this task has nothing
    // to do.
    #[cfg(feature = "shuttle")]
    shuttle::thread::sleep(std::time::Duration::ZERO);
}

/// The running task might sleep here: it must not hold a spinlock.
pub fn may_sleep() {
    let held = with_task(current(), |task| task.atomic);
    assert_eq!(held, 0, "sleeps with a spinlock held");
}

pub(crate) fn enter_atomic() {
    with_task(current(), |task| task.atomic += 1);
}

pub(crate) fn leave_atomic() {
    with_task(current(), |task| task.atomic -= 1);
}

/// Runs `poll` until it returns something. Between two tries the task sleeps until somebody calls
/// the waker.
pub fn sleep_until<R>(poll: impl FnMut(&Waker) -> Option<R>) -> R {
    may_sleep();
    wait_until(poll)
}

#[cfg(feature = "shuttle")]
pub(crate) fn wait_until<R>(mut poll: impl FnMut(&Waker) -> Option<R>) -> R {
    use std::task::Poll;
    shuttle::future::block_on(std::future::poll_fn(|context| {
        match poll(context.waker()) {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    }))
}

#[cfg(not(feature = "shuttle"))]
pub(crate) fn wait_until<R>(mut poll: impl FnMut(&Waker) -> Option<R>) -> R {
    match poll(Waker::noop()) {
        Some(result) => result,
        None => panic!("the only task sleeps for ever"),
    }
}

/// The same, but a fatal signal ends it: `None`. What has happened already counts for more.
pub(crate) fn sleep_until_killed<R>(mut poll: impl FnMut(&Waker) -> Option<R>) -> Option<R> {
    let id = current();
    sleep_until(|waker| {
        if let Some(result) = poll(waker) {
            return Some(Some(result));
        }
        with_task(id, |task| {
            task.killable = Some(waker.clone());
            task.killed.then_some(None)
        })
    })
}

/// Sends a task a fatal signal.
pub fn kill(id: usize) {
    point();
    let waker = with_task(id, |task| {
        task.killed = true;
        task.killable.take()
    });
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Whether the running task has got a fatal signal.
pub fn is_killed() -> bool {
    with_task(current(), |task| task.killed)
}

/// One of `0..n`, as the scheduler likes.
pub fn choose(n: usize) -> usize {
    CHOICES.set(n);
    #[cfg(feature = "shuttle")]
    return {
        use shuttle::rand::RngCore;
        (shuttle::rand::thread_rng().next_u64() % n as u64) as usize
    };
    #[cfg(not(feature = "shuttle"))]
    0
}

/// How many answers there are to the choice that is being made: for schedulers that try all.
pub fn choices() -> usize {
    CHOICES.get()
}
