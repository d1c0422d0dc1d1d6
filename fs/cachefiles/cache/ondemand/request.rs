// SPDX-License-Identifier: GPL-2.0

//! A request, and the xarray that holds all of them.

use super::deferred::{Deferred, DeferredNode};
use super::entry::{self, Entry, Slots};
use super::state::ObjectState;
use super::table::Table;
use crate::cache::object::Object;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel_ext::sync::{Completion, Stack};
use kernel_ext::xarray::{self, Cursor, GuardedAccess, LockedXArray, Mark, Node};

/// No errno: there is no answer yet.
const UNANSWERED: i32 = 1;
/// As [`UNANSWERED`], of an OPEN.
const UNANSWERED_OPEN: i32 = 2;

/// The part of a request that needs no lock.
#[pin_data]
pub(crate) struct Request {
    pub(crate) object: Arc<Object>,
    #[pin]
    done: Completion,
    /// 0 or a negative errno, or [`UNANSWERED`] or [`UNANSWERED_OPEN`]; set once, before `done`.
    outcome: AtomicI32,
    /// Reads that wait for it, with no task that does. They come while it is in the table, under
    /// the table's lock, or before it gets there.
    deferred: Stack<Deferred>,
    /// When its time began, in grains (`time.rs`). Changes under the table's lock.
    since: AtomicU32,
}

impl Request {
    pub(crate) fn new(object: Arc<Object>, is_open: bool) -> impl PinInit<Self> {
        let unanswered = if is_open { UNANSWERED_OPEN } else { UNANSWERED };
        pin_init!(Self {
            object,
            done <- Completion::new(),
            outcome: AtomicI32::new(unanswered),
            deferred: Stack::new(),
            since: AtomicU32::new(super::clock::grain()),
        })
    }

    /// Returns the state of its object. `None` for one of another cache, of which there is none.
    #[inline]
    pub(crate) fn state<'a>(
        &'a self,
        states: &'a mut GuardedAccess<'_>,
    ) -> Option<&'a ObjectState> {
        let state = states.get(self.object.ondemand().ok()?).ok()?;
        Some(state)
    }

    /// Returns when its time began, in grains: as it was made, or somebody first waited for it.
    #[inline]
    pub(super) fn since(&self) -> u32 {
        self.since.load(Ordering::Relaxed)
    }

    /// Begins its time anew, as somebody waits for it now.
    #[cold]
    pub(super) fn begin_time(&self) {
        self.since.store(super::clock::grain(), Ordering::Relaxed);
    }

    /// Adds a read that waits for it without a task. Dropped with the request, it fails.
    #[inline]
    pub(super) fn add_deferred(&self, node: DeferredNode) {
        self.deferred.push(node);
    }

    /// Ends the waiting. Called once the request is out of the table. For a CLOSE that
    /// nobody reads in time it was ended before that: then nothing happens.
    ///
    /// Process context, with no lock held: reads go on from here.
    pub(crate) fn complete(&self, outcome: Result) {
        let errno = outcome.err().map_or(0, |error| error.to_errno());
        let before = self.outcome.load(Ordering::Relaxed);
        let is_first = before > 0
            && self
                .outcome
                .compare_exchange(before, errno, Ordering::Release, Ordering::Relaxed)
                .is_ok();
        if is_first {
            self.done.complete_all();
            if before == UNANSWERED_OPEN {
                Object::opened(&self.object, outcome);
            }
            for node in self.deferred.take() {
                Deferred::answered(node, outcome);
            }
        }
    }

    /// Waits for the answer. `None` when the waiting task was killed.
    #[inline]
    pub(crate) fn wait(&self) -> Option<Result> {
        self.done.wait_killable().ok()?;
        Some(match self.outcome.load(Ordering::Acquire) {
            0 => Ok(()),
            errno => Err(kernel_ext::errno::error(errno)),
        })
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

/// Returns whether `id` is that of a READ of this object: where a walk through its READs goes on,
/// after the lock was dropped.
pub(super) fn is_read_of(slots: &mut RequestSlots<'_>, object: &Object, id: u32) -> bool {
    slots
        .at(id)
        .is_some_and(|mut at| core::ptr::eq(&*at.shared().object, object) && at.locked().is_read())
}

/// The mark of a request that may be handed out.
pub(crate) const READY: Mark = Mark::One;

impl Slots for RequestSlots<'_> {
    type Cursor<'a>
        = Cursor<'a, Request, Entry>
    where
        Self: 'a;

    #[inline]
    fn at(&mut self, id: u32) -> Option<Self::Cursor<'_>> {
        RequestSlots::at(self, id)
    }

    #[inline]
    fn at_ready(&mut self, from: u32) -> Option<Self::Cursor<'_>> {
        self.at_marked_cyclic(from, READY)
    }

    #[inline]
    fn set_ready(&mut self, id: u32) {
        self.set_mark(id, READY);
    }
}

impl entry::Cursor for Cursor<'_, Request, Entry> {
    #[inline]
    fn id(&self) -> u32 {
        Cursor::id(self)
    }

    #[inline]
    fn entry(&mut self) -> &mut Entry {
        self.locked()
    }

    #[inline]
    fn set_ready(&mut self) {
        self.set_mark(READY);
    }

    #[inline]
    fn clear_ready(&mut self) {
        self.clear_mark(READY);
    }
}
