// SPDX-License-Identifier: GPL-2.0
//! The few things that no safe interface offers.

use std::io;

/// The processor's time stamp counter.
pub fn ticks() -> u64 {
    // SAFETY: reads a register that every x86-64 has, and touches no memory.
    #[allow(unused_unsafe, reason = "safe in newer compilers")]
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
}

/// Lets the calling thread run only when no other can.
pub fn only_when_idle() -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameter outlives the call; 0 is the calling thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameter) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
