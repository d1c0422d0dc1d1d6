// SPDX-License-Identifier: GPL-2.0

//! The scheduling decisions of the request table.
//!
//! A request is *ready* (the daemon may have it), *parked* (its object is being reopened) or
//! *delivered* (the daemon has it, unanswered); answered ones have left the table. Being ready is
//! a mark on the slot, so that the next request is one marked search from a moving cursor, and
//! nothing ever looks at a request that cannot be handed out. The requests of one object are
//! chained by their ids, OPEN and CLOSE first, so that what happens to an object touches its own
//! requests only; and of its READs, which may be many, a few each time that the lock is taken.
//!
//! Free of kernel calls, as `state.rs` and `entry.rs`.

use super::entry::{self, Cursor, Entry, Gap, Kind, Phase, Slots};
use super::state::{Link, ObjectState, State};

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The cache is dead, or the object is going away.
    Gone,
    /// An OPEN that is not wanted: one is under way, or the object is open.
    NotNeeded,
    /// A CLOSE of an object that the daemon holds no fd of, or a READ ahead of one.
    NotOpen,
}

/// What the caller has to do after an event, once the lock is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Consequence {
    /// So many requests became ready: wake the daemon.
    pub(crate) ready: u32,
    /// Queue the object's reopen work.
    pub(crate) reopen: bool,
    /// Tell the object's READs: see [`Table::sweep`].
    pub(crate) sweep: bool,
    /// Start the clock: see `time.rs`.
    pub(crate) clock: bool,
    /// Take the object's READs out, of which there are `AHEAD_WINDOW` at most: nobody waits for
    /// any.
    pub(crate) forget: bool,
}

/// How many of an object's newest requests are looked at for one that covers a new read.
///
/// A bound, so that the cost of a read does not grow with the reads already waiting: each costs it
/// some 65 instructions. Readers of the same range at the same time meet at the newest.
pub(super) const COALESCE_WINDOW: usize = 4;

/// Limits the READs ahead in a table: readers that are killed leave theirs, and nobody's waiting
/// bounds them.
const MOST_AHEAD: u32 = 256;

/// Protected by the table's lock, beside the slots.
#[derive(Debug)]
pub(crate) struct Table {
    /// Where the search for the next request begins.
    cursor: u32,
    pub(super) dead: bool,
    /// The grain (`time.rs`) at which time is to be looked at, if at all.
    pub(super) alarm: Option<u32>,
    /// How long a request may be on its way, in grains; 0 is for ever.
    pub(super) timeout: u32,
    /// READs ahead in the table, [`MOST_AHEAD`] at most: nobody's waiting bounds them.
    ahead: u32,
}

impl Table {
    pub(crate) const fn new() -> Self {
        Self {
            cursor: 0,
            dead: false,
            alarm: None,
            timeout: 0,
            ahead: 0,
        }
    }

    /// Ends the table: nothing is admitted from here on. What is in the slots is for the caller to
    /// fail.
    pub(crate) fn kill(&mut self) {
        self.dead = true;
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead
    }

    /// Requests are admitted again. There is none in the slots: none was admitted, and the caller
    /// has failed those of before.
    pub(crate) fn revive(&mut self) {
        self.dead = false;
    }

    /// Takes in a new request, which has the slot `id` already.
    ///
    /// Where it is refused, the slot is for the caller to empty; else [`Admitted::enter`] follows.
    pub(crate) fn admit(
        &mut self,
        entry: &mut Entry,
        object: &mut ObjectState,
        id: u32,
    ) -> Result<Admitted, Refused> {
        if self.dead || object.state() == State::Dropping {
            return Err(Refused::Gone);
        }
        if entry.is_ahead() {
            // Nothing is opened, or held up, for what nobody needs yet.
            if object.state() != State::Open || object.is_leaving() {
                return Err(Refused::NotOpen);
            }
            if self.ahead >= MOST_AHEAD {
                return Err(Refused::NotNeeded);
            }
            self.ahead += 1;
            object.ahead_enters();
        }
        let (phase, reopen) = match entry.kind {
            Kind::Read { .. } if object.state() == State::Open => (Phase::Ready, false),
            Kind::Read { .. } => (Phase::Parked, object.begin_reopen()),
            Kind::Open if object.begin_open() => (Phase::Ready, false),
            Kind::Open => return Err(Refused::NotNeeded),
            Kind::Close(fd) if object.fd() == Some(fd) => {
                object.close_enters();
                (Phase::Ready, false)
            }
            Kind::Close(_) => return Err(Refused::NotOpen),
        };
        entry.phase = phase;
        Ok(Admitted {
            id,
            is_read: entry.is_read(),
            beside: entry.link(object, id),
            is_ready: phase == Phase::Ready,
            reopen,
        })
    }

    /// Joins a READ in flight on the object that covers the given range, as a waiter. Returns its
    /// id.
    pub(crate) fn join_covering_read<S: Slots>(
        slots: &mut S,
        object: &ObjectState,
        off: u64,
        len: u64,
    ) -> Option<u32> {
        let end = off.checked_add(len)?;
        let mut link = object.last;
        for _ in 0..COALESCE_WINDOW {
            let id = link.id()?;
            let mut at = slots.at(id)?;
            let entry = at.entry();
            if entry.covers(off, end) && entry.join() {
                return Some(id);
            }
            link = entry.prev;
        }
        None
    }

    /// Removes a waiter that was killed. True when nobody needs the request any more: the caller
    /// takes it out.
    ///
    /// An OPEN that reads wait for, too, is one that they need.
    pub(crate) fn leave(entry: &mut Entry, object: &ObjectState) -> bool {
        entry.waiters = entry.waiters.saturating_sub(1);
        let is_reopen = entry.kind == Kind::Open && object.state() == State::Reopening;
        entry.waiters == 0 && !is_reopen
    }

    /// Finds the request that the daemon gets next, if there is one.
    pub(crate) fn pick<'s, S: Slots>(&self, slots: &'s mut S) -> Option<S::Cursor<'s>> {
        slots.at_ready(self.cursor)
    }

    /// Passes over a request that did not fit into the daemon's buffer: it stays, and those behind
    /// it come next.
    pub(crate) fn pass_over(&mut self, id: u32) {
        self.cursor = id.wrapping_add(1);
    }

    /// Parks a READ that was picked before it was told that its object is not open any more. False
    /// where it is none.
    pub(crate) fn park(at: &mut impl Cursor, object: &ObjectState) -> bool {
        let parks = at.entry().is_read() && object.state() != State::Open;
        if parks {
            entry::set_phase(at, Phase::Parked);
        }
        parks
    }

    /// Hands the request to the daemon, which [`Table::park`] did not park. For an OPEN
    /// [`Table::attach_fd`] follows.
    pub(crate) fn deliver(&mut self, at: &mut impl Cursor, object: &ObjectState) {
        self.cursor = at.id().wrapping_add(1);
        let entry = at.entry();
        entry.set_seen();
        let phase = match entry.kind {
            Kind::Open => Phase::Taken,
            Kind::Read { .. } => {
                entry.note = object.fd().map_or(0, |fd| fd.get());
                Phase::Delivered
            }
            Kind::Close(_) => Phase::Delivered,
        };
        entry::set_phase(at, phase);
    }

    /// Puts a request back, as the daemon's read failed before it had it: it is as if it was never
    /// taken.
    ///
    /// True if it can be handed out now.
    pub(crate) fn undeliver(at: &mut impl Cursor, object: &ObjectState) -> bool {
        let entry = at.entry();
        if !matches!(entry.phase, Phase::Taken | Phase::Delivered) {
            return false;
        }
        let phase = match entry.kind {
            Kind::Read { .. } if object.state() != State::Open => Phase::Parked,
            Kind::Read { .. } | Kind::Open | Kind::Close(_) => Phase::Ready,
        };
        entry::set_phase(at, phase);
        phase == Phase::Ready
    }

    /// Returns whether this is a READ that the daemon may fail: it has read it once at least.
    pub(crate) fn may_fail_read(entry: &Entry) -> bool {
        matches!(entry.kind, Kind::Read { .. }) && entry.is_seen()
    }

    /// Restores what was delivered and not answered: it is handed out again, where it can be. True
    /// if so.
    ///
    /// An OPEN that is on its way to somebody, or whose fd is still held by them, is left with
    /// them: a second fd for the same object would be of no use, and when theirs closes the OPEN
    /// comes back by itself.
    pub(crate) fn restore(at: &mut impl Cursor, object: &ObjectState) -> bool {
        let entry = at.entry();
        let is_held =
            entry.phase == Phase::Taken || (entry.kind == Kind::Open && object.fd().is_some());
        !is_held && Self::undeliver(at, object)
    }

    /// Begins to take the object away. What is left of its requests is for the caller to fail.
    pub(crate) fn drop_object(&mut self, object: &mut ObjectState) -> bool {
        object.drop_object()
    }

    /// Takes a request out of its object's chain, as its answer, its waiter's death or the death
    /// of the cache demand. The caller then empties the slot.
    pub(crate) fn take_out<S: Slots>(&mut self, slots: &mut S, object: &mut ObjectState, id: u32) {
        let gap = slots
            .at(id)
            .and_then(|mut at| self.take_out_at(&mut at, object));
        if let Some(gap) = gap {
            gap.close(slots);
        }
    }

    /// Takes a request out, as [`Table::take_out`], whose slot is found already. The neighbours are
    /// then for the caller to close up, and the slot to empty.
    pub(crate) fn take_out_at(
        &mut self,
        at: &mut impl Cursor,
        object: &mut ObjectState,
    ) -> Option<Gap> {
        let entry = at.entry();
        let gap = entry.unlink(object);
        if gap.is_some() && entry.is_ahead() {
            self.ahead = self.ahead.saturating_sub(1);
        }
        if gap.is_some() && entry.kind == Kind::Open {
            object.abandon_open();
        }
        gap
    }
}

/// A request that was taken in, and is not yet known to those beside it.
#[must_use = "the chain is broken until `enter` is called"]
pub(crate) struct Admitted {
    id: u32,
    is_read: bool,
    beside: Link,
    is_ready: bool,
    reopen: bool,
}

impl Admitted {
    /// Tells the one beside it in the chain, and marks it if it can be handed out.
    pub(crate) fn enter<S: Slots>(self, slots: &mut S) -> Consequence {
        if let Some(mut beside) = self.beside.id().and_then(|id| slots.at(id)) {
            let entry = beside.entry();
            let link = if self.is_read {
                &mut entry.next
            } else {
                &mut entry.prev
            };
            *link = Link::to(self.id);
        }
        if self.is_ready {
            slots.set_ready(self.id);
        }
        Consequence {
            ready: self.is_ready.into(),
            reopen: self.reopen,
            ..Consequence::default()
        }
    }
}
