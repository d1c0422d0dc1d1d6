// SPDX-License-Identifier: GPL-2.0
//! The few things that no safe interface offers.

use std::io;

/// The processor's time stamp counter.
#[cfg(target_arch = "x86_64")]
pub fn ticks() -> u64 {
    // SAFETY: reads a register that every x86-64 has, and touches no memory.
    #[allow(unused_unsafe, reason = "safe in newer compilers")]
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
}

/// The processor's virtual counter.
#[cfg(target_arch = "aarch64")]
pub fn ticks() -> u64 {
    let ticks;
    // SAFETY: reads a register that the kernel lets every program read, and touches no memory.
    unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
    ticks
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

/// How often the threads of this process have gone to sleep of their own accord.
pub fn sleeps() -> usize {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel fills the structure, which is one of plain numbers and valid as zeros too.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    usize::try_from(usage.ru_nvcsw).unwrap_or_default()
}

/// Calls a function of the kernel that nobody else calls: a plugin of the emulator takes it for a
/// mark.
pub fn mark() {
    let mut slice = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel fills the structure, which outlives the call; 0 is the calling process.
    unsafe { libc::sched_rr_get_interval(0, &raw mut slice) };
}
