// SPDX-License-Identifier: GPL-2.0

//! Reads whose memory may be filled by others while they wait.

use crate::{Backend, Begun, PendingRead, ReadOperation, Resources};
use kernel::sync::Arc;
use kernel_ext::io::{OpenWindow, Window};

/// A read that waits, and that others may fill the memory of: a [`ReadOperation`] or a
/// [`PendingRead`]. Dropping it closes the window and drops the read.
pub struct Windowed<R> {
    /// Goes first: with the read its memory goes. `None` if there is none.
    window: Option<OpenWindow>,
    /// Its iterator is not to be had as long as it is in here.
    read: R,
}

impl<R> Windowed<R> {
    /// Creates one without a window.
    #[inline]
    pub fn without_window(read: R) -> Self {
        Self { window: None, read }
    }

    /// Returns the window; none if there was no memory for one, or none was asked for.
    #[inline]
    pub fn window(&self) -> Option<&Arc<Window>> {
        self.window.as_ref().map(OpenWindow::window)
    }

    /// Returns whether all of the memory is filled. May sleep.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.window().is_some_and(|window| window.is_full())
    }

    /// Closes the window. Returns the read, and whether all of its memory was filled. May sleep,
    /// while another task is filling it.
    #[inline]
    pub fn close(self) -> (R, bool) {
        let is_full = self.window.is_some_and(OpenWindow::close);
        (self.read, is_full)
    }
}

impl<'op, B: Backend> Windowed<ReadOperation<'op, B>> {
    /// Opens a window onto the memory of a read, if there is memory for it. May sleep.
    pub fn open(mut read: ReadOperation<'op, B>) -> Self {
        let (_, iter) = read.parts();
        // SAFETY: The memory stays, and is not used by the caller, until the end of the read is
        // told (promise of `Operation::new`). That is done by who has the read, or its memory: the
        // read is in here until the window is closed, and so is what it becomes by `defer`. Neither
        // gives out its iterator. Where this is forgotten, the end is never told.
        let window = unsafe { OpenWindow::new(iter) }.ok();
        Self { window, read }
    }

    /// Defers the read, as [`ReadOperation::defer`]; the window stays open.
    #[inline]
    pub fn defer(self) -> Result<(Windowed<PendingRead<B>>, Begun<'op>), Self> {
        let Self { window, read } = self;
        match read.defer() {
            Ok((read, begun)) => Ok((Windowed { window, read }, begun)),
            Err(read) => Err(Self { window, read }),
        }
    }
}

impl<B: Backend> Windowed<PendingRead<B>> {
    /// Returns the resources of the operation.
    #[inline]
    pub fn resources(&mut self) -> Resources<'_, B> {
        self.read.resources()
    }
}
