// SPDX-License-Identifier: GPL-2.0

//! The running task.

/// Other tasks may run meanwhile.
pub fn sleep(_milliseconds: u32) {
    cachefiles_bindings::sched::may_sleep();
    cachefiles_bindings::sched::point();
}
