// SPDX-License-Identifier: GPL-2.0

//! A request, and the xarray that holds all of them.

use super::table::{Entry, Slots, Table};
use crate::object::Object;
use core::sync::atomic::{AtomicI32, Ordering};
use kernel::prelude::*;
use kernel::sync::Arc;
use kext::sync::Completion;
use kext::xarray::{self, LockedXArray, Mark, Node};

/// The part of a request that needs no lock.
#[pin_data]
pub(crate) struct Request {
    pub(crate) object: Arc<Object>,
    #[pin]
    done: Completion,
    /// 0 or a negative errno; set before `done`.
    outcome: AtomicI32,
}

impl Request {
    pub(crate) fn new(object: Arc<Object>) -> impl PinInit<Self> {
        pin_init!(Self {
            object,
            done <- Completion::new(),
            outcome: AtomicI32::new(0),
        })
    }

    /// Ends the waiting. Called by whoever took the request out of the table, so once.
    pub(crate) fn complete(&self, outcome: Result) {
        let outcome = outcome.err().map_or(0, |error| error.to_errno());
        self.outcome.store(outcome, Ordering::Release);
        self.done.complete_all();
    }

    /// Waits for the answer. `None` when the waiting task was killed.
    pub(crate) fn wait(&self) -> Option<Result> {
        self.done.wait_killable().ok()?;
        Some(kernel::error::to_result(
            self.outcome.load(Ordering::Acquire),
        ))
    }
}

/// A request with its slot's part.
pub(crate) type RequestNode = Node<Request, Entry>;
/// The request table: the xarray's lock protects slots, scheduling and the objects' states.
pub(crate) type RequestTable = LockedXArray<Request, Entry, Table>;
/// The table with its lock held.
pub(crate) type RequestGuard<'a> = xarray::Guard<'a, Request, Entry, Table>;
/// The slots, while the lock is held.
pub(crate) type RequestSlots<'a> = xarray::Slots<'a, Request, Entry>;

/// The mark of a request that may be handed out.
pub(crate) const READY: Mark = Mark::One;

impl Slots for RequestSlots<'_> {
    #[inline]
    fn entry(&mut self, id: u32) -> Option<&mut Entry> {
        self.get_mut(id).map(|(_, entry)| entry)
    }

    #[inline]
    fn set_ready(&mut self, id: u32) {
        self.set_mark(id, READY);
    }

    #[inline]
    fn clear_ready(&mut self, id: u32) {
        self.clear_mark(id, READY);
    }

    #[inline]
    fn next_ready(&self, from: u32) -> Option<u32> {
        self.find_marked(from, READY)
    }
}
