// SPDX-License-Identifier: GPL-2.0

//! Windows: the memory of a read that waits, for others to fill from the front to the back.
//!
//! A read that waits for data to come into a file may open a window onto its memory. Who brings the
//! data finds the [`Window`] in a place of the driver's, and copies into the memory what goes into
//! the file. Once the owner has closed the window nobody touches the memory any more.
//!
//! Whether what was filled in is what the file has is for the driver to say.

use super::{IovIterDest, IovIterSource};
use cachefiles_bindings as bindings;
use core::mem::ManuallyDrop;
use kernel::{
    alloc::flags::GFP_KERNEL,
    error::Result,
    init::InPlaceInit,
    new_mutex,
    prelude::*,
    sync::{lock::mutex::MutexBackend, lock::Guard, Arc, Mutex},
};

/// Bytes that are copied at a time, with page faults disabled.
const MOST_AT_ONCE: usize = 64 << 10;

/// The memory of a read that waits, as long as it may be filled by others.
#[pin_data]
pub struct Window {
    /// `None` once the window is closed, or shut.
    #[pin]
    memory: Mutex<Option<Memory>>,
}

/// What is left of the memory.
///
/// # Invariants
///
/// A valid iterator over memory of the kernel that is written to through it only.
struct Memory(bindings::iov_iter);

// SAFETY: The memory belongs to no task, being the kernel's.
unsafe impl Send for Memory {}

impl Memory {
    #[inline]
    fn left(&self) -> usize {
        // SAFETY: A valid iterator (type invariant), which is only looked at.
        unsafe { bindings::cfh_iov_iter_count(&self.0) }
    }
}

impl Window {
    /// Looks at the memory. `None` if the window is closed or shut. May sleep, while another task
    /// looks at it: nobody fills it or closes it as long as the view lasts.
    #[inline]
    pub fn look(&self) -> Option<View<'_>> {
        let memory = self.memory.lock();
        memory.is_some().then_some(View(memory))
    }

    /// Returns whether all of the memory is filled, and the window neither closed nor shut. May
    /// sleep.
    pub fn is_full(&self) -> bool {
        let memory = self.memory.lock();
        memory.as_ref().is_some_and(|memory| memory.left() == 0)
    }
}

/// The memory behind an open window, which is its holder's alone.
pub struct View<'a>(Guard<'a, Option<Memory>, MutexBackend>);

impl View<'_> {
    /// Returns how many bytes are not filled yet, at the end of the memory.
    #[inline]
    pub fn left(&self) -> usize {
        self.0.as_ref().map_or(0, Memory::left)
    }

    /// Fills the next bytes from `source`, at most those left, and advances it. Returns how many
    /// bytes were filled: fewer where memory of user space is not there at this moment, as none is
    /// fetched.
    ///
    /// May sleep.
    pub fn fill(&mut self, source: &mut IovIterSource<'_>, bytes: usize) -> usize {
        let Some(memory) = self.0.as_mut() else {
            return 0;
        };
        let mut filled = 0;
        while filled < bytes {
            let part = (bytes - filled).min(MOST_AT_ONCE);
            // SAFETY: A valid iterator over memory of the kernel that is written to through this
            // one (type invariant), whose lock we hold, so that its owner has not closed the
            // window; and a valid iterator over memory to read.
            let copied =
                unsafe { bindings::cfh_copy_iter_nofault(&mut memory.0, source.as_ptr(), part) };
            filled += copied;
            if copied < part {
                break;
            }
            if filled < bytes {
                crate::task::cond_resched();
            }
        }
        filled
    }

    /// Shuts the window: it will not be filled, and its owner finds it so.
    #[inline]
    pub fn shut(mut self) {
        *self.0 = None;
    }
}

/// The owner's side of a window. Dropping it closes the window.
///
/// # Invariants
///
/// The memory stays, and nobody else uses it, until this is closed or dropped.
pub struct OpenWindow(Arc<Window>);

impl OpenWindow {
    /// Opens a window onto the memory that is left of `iter`. May sleep. Errors: ENOMEM; EINVAL
    /// for memory of user space.
    ///
    /// # Safety
    ///
    /// The memory stays until the window is closed or dropped, for ever if it never is. Nobody else
    /// uses it meanwhile.
    pub unsafe fn new(iter: &IovIterDest<'_>) -> Result<Self> {
        let raw = iter.to_raw();
        // SAFETY: A valid iterator, which is only looked at.
        if unsafe { bindings::cfh_user_backed_iter(&raw) } {
            return Err(EINVAL);
        }
        // INVARIANT: Of the kernel, as was just seen, and by the caller's promise used by nobody
        // else.
        let memory = Memory(raw);
        let window = Arc::pin_init(
            pin_init!(Window {
                memory <- new_mutex!(Some(memory), "cachefiles_window"),
            }),
            GFP_KERNEL,
        )?;
        // INVARIANT: By the caller's promise.
        Ok(Self(window))
    }

    /// Returns the side of those who fill it.
    #[inline]
    pub fn window(&self) -> &Arc<Window> {
        &self.0
    }

    /// Closes the window, and returns whether all of the memory was filled. May sleep, while
    /// another task is filling it.
    #[inline]
    pub fn close(self) -> bool {
        let this = ManuallyDrop::new(self);
        let is_full = this.take();
        // SAFETY: The place is not used any more, nor dropped.
        drop(unsafe { core::ptr::read(&this.0) });
        is_full
    }

    #[inline]
    fn take(&self) -> bool {
        let memory = self.0.memory.lock().take();
        memory.is_some_and(|memory| memory.left() == 0)
    }
}

impl Drop for OpenWindow {
    #[inline]
    fn drop(&mut self) {
        self.take();
    }
}
