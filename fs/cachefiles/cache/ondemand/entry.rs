// SPDX-License-Identifier: GPL-2.0

//! A request as the table sees it, its slot, and the chain of its object's requests.
//!
//! Free of kernel calls, as `state.rs`: in the module the slots are an xarray, in the host-side
//! tests a map. With `&mut` of the slots goes the table's lock.

use super::state::{Link, ObjectState};
use core::num::NonZeroU32;

/// What a request asks of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Open,
    /// Carries the object id that the daemon knows.
    Close(NonZeroU32),
    Read {
        off: u64,
        len: u64,
    },
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// In a slot, but not admitted yet.
    New,
    Ready,
    Parked,
    /// An OPEN that a thread of the daemon has picked, and that has no fd yet: it is nobody else's,
    /// `restore` or not, or there would be two fds for one object.
    Taken,
    Delivered,
}

/// The daemon has seen the request at least once.
const SEEN: u8 = 1;
/// It is a READ ahead of those who read: nobody needs it yet.
const AHEAD: u8 = 2;

/// The part of a request that the table's lock protects.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// Tasks that wait for the answer. For a READ ahead, which goes on without any, one more.
    pub(super) waiters: u16,
    pub(super) phase: Phase,
    /// [`SEEN`] and [`AHEAD`].
    flags: u8,
    pub(super) prev: Link,
    pub(super) next: Link,
    /// Of a delivered READ: the number of the anonymous fd that it went out with. Of a delivered
    /// OPEN whose fd was closed: when that was, in grains (`time.rs`).
    pub(super) note: u32,
}

impl Entry {
    pub(crate) fn new(kind: Kind, waiters: u16) -> Self {
        Self {
            kind,
            waiters,
            phase: Phase::New,
            flags: 0,
            prev: Link::NONE,
            next: Link::NONE,
            note: 0,
        }
    }

    /// Makes that of a READ ahead of those who read.
    pub(crate) fn new_ahead(off: u64, len: u64) -> Self {
        Self {
            flags: AHEAD,
            ..Self::new(Kind::Read { off, len }, 1)
        }
    }

    /// Returns the phase, for the checks of the model.
    #[cfg(test)]
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn is_read(&self) -> bool {
        matches!(self.kind, Kind::Read { .. })
    }

    /// Returns whether this is a READ ahead of those who read.
    pub(super) fn is_ahead(&self) -> bool {
        self.flags & AHEAD != 0
    }

    /// Returns whether this is a READ ahead for which nobody waits.
    pub(super) fn is_unawaited(&self) -> bool {
        self.is_ahead() && self.waiters <= 1
    }

    /// Returns whether this is a READ ahead for which one waits: the first, who has just joined it.
    pub(super) fn is_awaited_by_one(&self) -> bool {
        self.is_ahead() && self.waiters == 2
    }

    /// Returns whether the daemon has seen it at least once.
    pub(super) fn is_seen(&self) -> bool {
        self.flags & SEEN != 0
    }

    /// Notes that the daemon sees it.
    pub(super) fn set_seen(&mut self) {
        self.flags |= SEEN;
    }

    /// Returns whether this is a READ of all bytes from `off` to `end`.
    pub(super) fn covers(&self, off: u64, end: u64) -> bool {
        match self.kind {
            Kind::Read { off: o, len } => o <= off && o.checked_add(len).is_some_and(|e| end <= e),
            Kind::Open | Kind::Close(_) => false,
        }
    }

    /// Returns where this READ ends if it asks for what lies at `off`.
    pub(super) fn end_behind(&self, off: u64) -> Option<u64> {
        match self.kind {
            Kind::Read { off: o, len } if o <= off => o.checked_add(len).filter(|&end| off < end),
            _ => None,
        }
    }

    /// Adds a task that waits for it. False where there are too many.
    pub(super) fn join(&mut self) -> bool {
        match self.waiters.checked_add(1) {
            Some(waiters) => {
                self.waiters = waiters;
                true
            }
            None => false,
        }
    }

    /// Joins its object's chain: a READ at its end, an OPEN or a CLOSE in front of all READs. The
    /// neighbour is for the caller to tell.
    pub(super) fn link(&mut self, object: &mut ObjectState, id: u32) -> Link {
        let (near_end, far_end, beside) = if self.is_read() {
            (&mut object.last, &mut object.first, &mut self.prev)
        } else {
            (&mut object.first, &mut object.last, &mut self.next)
        };
        *beside = core::mem::replace(near_end, Link::to(id));
        if *beside == Link::NONE {
            *far_end = Link::to(id);
        }
        *beside
    }

    /// Leaves its object's chain. `None` if it was in none. What its neighbours have to know, and
    /// that it is out of its slot, is for the caller to see to.
    pub(super) fn unlink(&mut self, object: &mut ObjectState) -> Option<Gap> {
        if self.phase == Phase::New {
            return None;
        }
        self.phase = Phase::New;
        let gap = Gap {
            prev: core::mem::replace(&mut self.prev, Link::NONE),
            next: core::mem::replace(&mut self.next, Link::NONE),
        };
        if gap.prev == Link::NONE {
            object.first = gap.next;
        }
        if gap.next == Link::NONE {
            object.last = gap.prev;
        }
        if let Kind::Close(_) = self.kind {
            object.close_leaves();
        }
        if object.first == Link::NONE {
            object.none_ahead();
        }
        Some(gap)
    }
}

/// The place in its object's chain that a request had.
#[must_use = "its neighbours still name the request"]
pub(super) struct Gap {
    prev: Link,
    next: Link,
}

impl Gap {
    /// Links the neighbours to each other.
    pub(super) fn close<S: Slots>(self, slots: &mut S) {
        if let Some(mut prev) = self.prev.id().and_then(|id| slots.at(id)) {
            prev.entry().next = self.next;
        }
        if let Some(mut next) = self.next.id().and_then(|id| slots.at(id)) {
            next.entry().prev = self.prev;
        }
    }
}

/// The slots that hold the requests, by id. Emptying a slot takes its mark away, too.
pub(crate) trait Slots {
    /// Stands at one slot.
    type Cursor<'a>: Cursor
    where
        Self: 'a;

    /// Finds the request `id`.
    fn at(&mut self, id: u32) -> Option<Self::Cursor<'_>>;
    /// Finds the first ready request at or after `from`; if there is none, the first of all.
    fn at_ready(&mut self, from: u32) -> Option<Self::Cursor<'_>>;
    fn set_ready(&mut self, id: u32);
}

/// A slot that was found, and the request in it. Finding it costs, what is done to it then does
/// not.
pub(crate) trait Cursor {
    fn id(&self) -> u32;
    fn entry(&mut self) -> &mut Entry;
    fn set_ready(&mut self);
    fn clear_ready(&mut self);
}

/// Changes a phase, and the mark with it: they always agree.
pub(super) fn set_phase(at: &mut impl Cursor, phase: Phase) {
    let was = core::mem::replace(&mut at.entry().phase, phase);
    match (was == Phase::Ready, phase == Phase::Ready) {
        (false, true) => at.set_ready(),
        (true, false) => at.clear_ready(),
        _ => {}
    }
}

/// Takes a request out of its object's chain. Its slot is for the caller to empty.
pub(super) fn unlink<S: Slots>(slots: &mut S, object: &mut ObjectState, id: u32) {
    let gap = slots.at(id).and_then(|mut at| at.entry().unlink(object));
    if let Some(gap) = gap {
        gap.close(slots);
    }
}

/// Finds the first of the object's requests that is wanted, of those that are found at once: its
/// OPEN, its CLOSE, and the oldest of its READs.
pub(super) fn find<S: Slots>(
    slots: &mut S,
    object: &ObjectState,
    wanted: impl Fn(&Entry) -> bool,
) -> Option<u32> {
    let mut link = object.first;
    loop {
        let id = link.id()?;
        let mut at = slots.at(id)?;
        let entry = at.entry();
        if wanted(entry) {
            return Some(id);
        }
        if entry.is_read() {
            return None;
        }
        link = entry.next;
    }
}

/// Returns whether a READ of the object is in the table.
pub(super) fn has_reads<S: Slots>(slots: &mut S, object: &ObjectState) -> bool {
    let last = object.last.id().and_then(|id| slots.at(id));
    last.is_some_and(|mut at| at.entry().is_read())
}
