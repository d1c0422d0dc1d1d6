// SPDX-License-Identifier: GPL-2.0

//! The running task, and time.
//!
//! C headers: `include/linux/sched.h`, `include/linux/jiffies.h`, `include/linux/rcupdate.h`,
//! `include/linux/timekeeping.h`

use cachefiles_bindings as bindings;

/// Returns the name of the running task, padded with NULs. Any context.
#[inline]
pub fn current_name() -> [u8; NAME_LEN] {
    let mut name = [0u8; NAME_LEN];
    // SAFETY: There is room for a name, which includes its NUL.
    unsafe { bindings::cfh_current_comm(name.as_mut_ptr().cast()) };
    name
}

/// The size of the name of a task in bytes, with its NUL.
const NAME_LEN: usize = bindings::TASK_COMM_LEN as usize;

/// Yields the CPU if another task waits for it. May sleep.
#[inline]
pub fn cond_resched() {
    // SAFETY: No requirements beyond a context that may sleep, and breaking that one is reported
    // by the kernel, not undefined.
    unsafe { bindings::cfh_cond_resched() };
}

/// Sleeps uninterruptibly for at least `milliseconds`.
pub fn sleep(milliseconds: u32) {
    // SAFETY: No requirements beyond a context that may sleep; where it may not, the kernel reports
    // that.
    unsafe { bindings::msleep(milliseconds) };
}

/// Waits until every RCU read-side critical section that is under way has ended. May sleep.
pub fn synchronize_rcu() {
    // SAFETY: No requirements beyond a context that may sleep, outside of the critical sections
    // that it waits for; where it may not, the kernel reports that, and at worst it waits for ever.
    unsafe { bindings::synchronize_rcu() };
}

/// Waits until every task has left the code that it runs now, by sleeping or by returning to user
/// space, and every interrupt has returned. After it no task runs code that could not be entered
/// any more when this was called. Sleeps for tenths of a second.
///
/// A preempted task counts as one that has not left, where the kernel can tell, which it can with
/// `CONFIG_TASKS_RCU`: see the C helper.
pub fn synchronize_rcu_tasks() {
    // SAFETY: No requirements beyond a context that may sleep, and breaking that one is reported
    // by the kernel, not undefined.
    unsafe { bindings::cfh_synchronize_rcu_tasks() };
}

/// Returns the ticks since boot, of which there are `CONFIG_HZ` in a second; wraps around. Any
/// context.
#[inline]
pub fn jiffies() -> usize {
    // SAFETY: A counter that is always there. It changes in one access, hence the volatile read.
    unsafe { (&raw const bindings::jiffies).read_volatile() }
}

/// Converts seconds to ticks. Any context.
#[inline]
pub fn ticks(seconds: u32) -> usize {
    kernel::time::msecs_to_jiffies(seconds.saturating_mul(1000))
}

/// Returns whether the running task is a process that is not exiting. False for kernel threads,
/// which run deferred work of processes that have exited. Any context.
#[inline]
pub fn is_living() -> bool {
    // SAFETY: Reads a word of the running task that only this task changes.
    unsafe { bindings::cfh_current_lives() }
}

/// Returns whether allocations of the running task do not call into file systems
/// (`memalloc_nofs_save()`), which is so in readahead, and in hardly any other read of a file. Any
/// context.
#[inline]
pub fn is_nofs() -> bool {
    // SAFETY: Reads a word of the running task that only this task changes.
    unsafe { bindings::cfh_current_in_nofs() }
}

/// Returns the wall clock, in seconds since 1970. Any context.
#[inline]
pub fn real_seconds() -> i64 {
    // SAFETY: Reads the clock.
    unsafe { bindings::ktime_get_real_seconds() }
}
