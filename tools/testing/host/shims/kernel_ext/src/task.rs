// SPDX-License-Identifier: GPL-2.0

//! The running task, and time.

use crate::anon_file;
use std::cell::Cell;

std::thread_local! {
    static NOW: Cell<usize> = const { Cell::new(0) };
}

/// Other tasks may run meanwhile.
pub fn sleep(_milliseconds: u32) {
    cachefiles_bindings::sched::may_sleep();
    cachefiles_bindings::sched::point();
}

/// Other tasks may run meanwhile.
pub fn cond_resched() {
    sleep(0);
}

/// The time. It only goes on when a worker finds that work is due later, and nothing else is.
pub fn jiffies() -> usize {
    NOW.get()
}

/// Time goes on, though nobody waits for that.
pub fn pass(ticks: usize) {
    set_jiffies(jiffies() + ticks);
}

pub(crate) fn set_jiffies(now: usize) {
    NOW.set(now);
}

/// Ticks in so many seconds.
pub fn ticks(seconds: u32) -> usize {
    100 * seconds as usize
}

/// Whether the running task is not on its way out.
pub fn is_living() -> bool {
    !anon_file::is_exiting()
}
