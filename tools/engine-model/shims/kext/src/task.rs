// SPDX-License-Identifier: GPL-2.0

//! The running task.

/// Another task may run.
pub fn cond_resched() {
    cachefiles_bindings::sched::may_sleep();
    cachefiles_bindings::sched::point();
}
