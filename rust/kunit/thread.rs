// SPDX-License-Identifier: GPL-2.0

//! Kernel threads that can be killed while they wait.
//!
//! C header: `include/linux/kthread.h`

use crate::outcome::comes_true;
use crate::{bindings, Outcome, Stop};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};
use kernel::alloc::flags::GFP_KERNEL;
use kernel::error::from_err_ptr;
use kernel::ffi::{c_int, c_void};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::task::Task;
use kernel::types::ARef;

/// Seconds that a thread has for its work, and seconds for its end once it is killed.
const PATIENCE: i64 = 40;
const PATIENCE_AFTER_KILL: i64 = 10;

/// A kernel thread that can be killed, and its result. Dropping it kills the thread and waits for
/// it.
///
/// # Invariants
///
/// `task` runs `start::<F, T>` with `packet`, and there is a reference to this module for it.
pub struct Thread<T: Send + 'static> {
    task: ARef<Task>,
    packet: Arc<Packet<T>>,
    is_over: bool,
}

/// The place in which a thread leaves its result.
///
/// # Invariants
///
/// While `is_done` is false only the thread touches `result`; after that only its [`Thread`].
struct Packet<T> {
    result: UnsafeCell<Option<T>>,
    is_done: AtomicBool,
}

// SAFETY: By the type invariant one thread at a time has the result.
unsafe impl<T: Send> Send for Packet<T> {}
// SAFETY: By the type invariant one thread at a time has the result, and the flag is atomic.
unsafe impl<T: Send> Sync for Packet<T> {}

struct Work<F, T> {
    run: F,
    packet: Arc<Packet<T>>,
}

/// Starts a thread. It gets `SIGKILL` and `SIGUSR1`, and ignores other signals.
pub fn spawn<T, F>(run: F) -> Outcome<Thread<T>>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let packet = Packet {
        result: UnsafeCell::new(None),
        is_done: AtomicBool::new(false),
    };
    let packet = Arc::new(packet, GFP_KERNEL)?;
    let work = Work {
        run,
        packet: packet.clone(),
    };
    let work = KBox::into_raw(KBox::new(work, GFP_KERNEL)?);
    // SAFETY: The function is for such a box, and runs once, if at all.
    let created = from_err_ptr(unsafe {
        bindings::kthread_create_on_node(
            Some(start::<F, T>),
            work.cast(),
            bindings::NUMA_NO_NODE,
            kernel::c_str!("kunit_helper").as_char_ptr(),
        )
    });
    let task = match created {
        Ok(task) => task,
        Err(error) => {
            // SAFETY: There is no thread that could have it.
            drop(unsafe { KBox::from_raw(work) });
            return Err(error.into());
        }
    };
    // SAFETY: A thread that has not begun is alive. `Task` is transparent.
    let owned: ARef<Task> = unsafe { &*task.cast_const().cast::<Task>() }.into();
    // SAFETY: This code runs, so the module is there.
    unsafe { bindings::cfk_module_get() };
    // SAFETY: Made just now, and not woken yet.
    unsafe { bindings::wake_up_process(task) };
    // INVARIANT: As above.
    Ok(Thread {
        task: owned,
        packet,
        is_over: false,
    })
}

/// # Safety
///
/// `work` came from a `KBox<Work<F, T>>`, which is this thread's.
unsafe extern "C" fn start<F, T>(work: *mut c_void) -> c_int
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    // SAFETY: By the caller's promise.
    let work = unsafe { KBox::from_raw(work.cast::<Work<F, T>>()) };
    // SAFETY: Concerns this thread alone.
    unsafe { bindings::cfk_allow_signals() };
    let Work { run, packet } = KBox::into_inner(work);
    let result = run();
    // SAFETY: Not done yet, so it is ours.
    unsafe { *packet.result.get() = Some(result) };
    packet.is_done.store(true, Ordering::Release);
    0
}

/// Runs `act` in this task as one that is exiting: without descriptors, root and working directory.
pub fn as_if_exiting<R>(act: impl FnOnce() -> R) -> R {
    let mut all = bindings::cfk_belongings::default();
    // SAFETY: The task has none of them for a while, as one that exits; `all` holds them.
    unsafe { bindings::cfk_swap_belongings(&mut all) };
    let result = act();
    // SAFETY: The task has its own again.
    unsafe { bindings::cfk_swap_belongings(&mut all) };
    result
}

impl<T: Send + 'static> Thread<T> {
    /// Waits for the thread to end, and returns its result. Fails, and kills the thread, after too
    /// long a time. Sleeps.
    #[track_caller]
    pub fn join(mut self) -> Outcome<T> {
        if !self.ends_within(PATIENCE) {
            let found = format_args!("it still runs after {PATIENCE} s");
            return Err(Stop::failed("the thread to end", found));
        }
        // SAFETY: It is done, so the result is ours.
        unsafe { (*self.packet.result.get()).take() }
            .ok_or_else(|| Stop::failed("a result", format_args!("there is none")))
    }

    /// Returns whether the function of the thread has returned.
    pub fn is_done(&self) -> bool {
        self.packet.is_done.load(Ordering::Acquire)
    }

    /// Sends `SIGKILL`.
    pub fn kill(&self) {
        self.send(bindings::SIGKILL);
    }

    /// Sends `SIGUSR1`, which is not fatal.
    pub fn interrupt(&self) {
        self.send(bindings::SIGUSR1);
    }

    fn send(&self, signal: u32) {
        // SAFETY: The task is alive. One that has ended is not there for signals any more, which
        // the function finds out. The number is small.
        unsafe { bindings::send_sig(signal as i32, self.raw(), 1) };
    }

    /// Waits until the thread sleeps in a killable state.
    #[track_caller]
    pub fn wait_until_killably_asleep(&self) -> Outcome {
        crate::wait_until("the thread to sleep and be killable", || {
            self.state() & bindings::TASK_KILLABLE == bindings::TASK_KILLABLE
        })
    }

    /// Waits until the thread sleeps uninterruptibly.
    #[track_caller]
    pub fn wait_until_soundly_asleep(&self) -> Outcome {
        crate::wait_until("the thread to sleep soundly", || {
            self.state() & bindings::TASK_KILLABLE == bindings::TASK_UNINTERRUPTIBLE
        })
    }

    fn state(&self) -> u32 {
        // SAFETY: The task is alive; its state changes at any time, hence the volatile read.
        unsafe { (&raw const (*self.raw()).__state).read_volatile() }
    }

    fn raw(&self) -> *mut bindings::task_struct {
        core::ptr::from_ref::<Task>(&self.task).cast_mut().cast()
    }

    /// Returns whether the thread ends in time; it is then gone for good.
    fn ends_within(&mut self, seconds: i64) -> bool {
        if self.is_over {
            return true;
        }
        if !comes_true(seconds, &mut || self.is_done()) {
            return false;
        }
        // SAFETY: The task is alive, and a kernel thread of ours that was woken. Waits until it is
        // out of our code.
        unsafe { bindings::kthread_stop(self.raw()) };
        // SAFETY: The reference was taken for the thread.
        unsafe { bindings::cfk_module_put() };
        self.is_over = true;
        true
    }
}

impl<T: Send + 'static> Drop for Thread<T> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.kill();
        // One that does not end goes on without us: it has its own part in the packet, and keeps
        // the module.
        if !self.ends_within(PATIENCE_AFTER_KILL) {
            kernel_ext::log::error!("a thread of a test does not end");
        }
    }
}
