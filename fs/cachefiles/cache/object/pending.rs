// SPDX-License-Identifier: GPL-2.0

//! A look-up that waits for the daemon's answer to its OPEN, and the tasks that wait for its end.
//!
//! No worker waits: what was found so far is put here, and the look-up goes on by a work that the
//! answer queues. Tasks that read the object meanwhile wait here, killably.

use core::sync::atomic::{AtomicBool, Ordering};
use kernel::prelude::*;
use kernel::sync::{new_spinlock, Arc, SpinLock};
use kernel_ext::sync::Completion;

/// How far a look-up is.
enum Step<T> {
    /// The daemon has not answered.
    Asked(T),
    /// It has, or will not any more.
    Answered(T, Result),
    /// Somebody has taken out what was found.
    Taken,
}

#[pin_data]
struct Asked<T> {
    #[pin]
    step: SpinLock<Step<T>>,
    /// Completed when the look-up has succeeded or failed.
    #[pin]
    ended: Completion,
}

/// The look-up of one object, with what it has found so far.
#[pin_data]
pub(crate) struct PendingLookup<T> {
    /// Says whether `asked` has something, without the lock.
    pending: AtomicBool,
    /// From the OPEN to the end of the look-up.
    #[pin]
    asked: SpinLock<Option<Arc<Asked<T>>>>,
}

impl<T> PendingLookup<T> {
    /// Makes one that no daemon was asked for.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            pending: AtomicBool::new(false),
            asked <- new_spinlock!(None, "cachefiles_lookup"),
        })
    }

    /// Puts away what was found. The caller then asks the daemon. Once for an object.
    ///
    /// Error: ENOMEM.
    pub(crate) fn begin(&self, found: T) -> Result {
        let asked = Arc::pin_init(
            pin_init!(Asked {
                step <- new_spinlock!(Step::Asked(found), "cachefiles_lookup_step"),
                ended <- Completion::new(),
            }),
            GFP_KERNEL,
        )?;
        *self.asked.lock() = Some(asked);
        self.pending.store(true, Ordering::Release);
        Ok(())
    }

    fn asked(&self) -> Option<Arc<Asked<T>>> {
        self.asked.lock().clone()
    }

    /// Notes the answer to the OPEN. True if the look-up can go on, by [`PendingLookup::take`]; an
    /// object that is opened again has no look-up.
    pub(crate) fn answered(&self, outcome: Result) -> bool {
        let Some(asked) = self.asked() else {
            return false;
        };
        let mut step = asked.step.lock();
        match core::mem::replace(&mut *step, Step::Taken) {
            Step::Asked(found) => {
                *step = Step::Answered(found, outcome);
                true
            }
            other => {
                *step = other;
                false
            }
        }
    }

    /// Takes out what was found, and the answer, if there is one. The caller goes on, and calls
    /// [`PendingLookup::end`].
    pub(crate) fn take(&self) -> Option<(T, Result)> {
        let asked = self.asked()?;
        let mut step = asked.step.lock();
        match core::mem::replace(&mut *step, Step::Taken) {
            Step::Answered(found, outcome) => Some((found, outcome)),
            other => {
                *step = other;
                None
            }
        }
    }

    /// Gives the look-up up, answered or not, as the object goes away. Returns what was found.
    pub(crate) fn abandon(&self) -> Option<T> {
        let asked = self.asked()?;
        let step = core::mem::replace(&mut *asked.step.lock(), Step::Taken);
        match step {
            Step::Asked(found) | Step::Answered(found, _) => Some(found),
            Step::Taken => None,
        }
    }

    /// Ends the look-up, successful or not, and wakes the tasks that wait for that.
    pub(crate) fn end(&self) {
        let asked = self.asked.lock().take();
        self.pending.store(false, Ordering::Release);
        if let Some(asked) = asked {
            asked.ended.complete_all();
        }
    }

    /// Returns whether the daemon is asked for it, and the look-up has not ended.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// Waits for the end of the look-up, if the daemon is asked for it. Error: EINTR killed.
    #[inline]
    pub(crate) fn wait(&self) -> Result {
        if self.is_pending() {
            self.wait_for_end()?;
        }
        Ok(())
    }

    #[cold]
    fn wait_for_end(&self) -> Result {
        match self.asked() {
            Some(asked) => asked.ended.wait_killable(),
            None => Ok(()),
        }
    }
}
