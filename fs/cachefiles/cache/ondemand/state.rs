// SPDX-License-Identifier: GPL-2.0

//! What the on-demand engine knows of one object, and the transitions it may make.
//!
//! Free of kernel calls: the same file is compiled into the module and into the host-side tests.
//! All of it is protected by the lock of the cache's request table; the methods therefore take
//! `&mut self`, which in the module only exists while that lock is held.
//!
//! The full table of events and states is in `Documentation/ondemand.rst`.

use core::num::NonZeroU32;

/// Whether the daemon has an anonymous fd through which it can serve the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No usable fd: never opened, refused, or closed by the daemon.
    Close,
    /// The daemon accepted the object and holds an fd: reads may be handed out.
    Open,
    /// The fd is gone, reads wait, and the object is on its way to being opened again.
    Reopening,
    /// The object is being taken away: nothing is accepted any more. Final.
    Dropping,
}

/// The id of a request in the table, or none; in four bytes, as there are two in each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link(u32);

impl Link {
    /// No request. The table gives out every number but this one.
    pub(crate) const NONE: Self = Self(u32::MAX);

    pub(crate) const fn to(id: u32) -> Self {
        Self(id)
    }

    pub(crate) fn id(self) -> Option<u32> {
        (self != Self::NONE).then_some(self.0)
    }
}

/// The object is about to be dropped: the daemon gets no other fd of it any more.
const LEAVING: u8 = 1;
/// A CLOSE of it is in the table: one at most, as it is dropped once.
const HAS_CLOSE: u8 = 2;
/// READs ahead of those who read it may be in the table.
const HAS_AHEAD: u8 = 4;

/// Protected by the table's lock: the daemon's side of one object.
#[derive(Debug)]
pub(crate) struct ObjectState {
    state: State,
    /// Id of the anonymous fd that counts: the newest one that was handed out and not closed.
    fd: Option<NonZeroU32>,
    /// An OPEN of this object is in the table.
    opening: bool,
    /// Reopens that failed since the last one that worked.
    failed_reopens: u8,
    /// [`LEAVING`], [`HAS_CLOSE`], [`HAS_AHEAD`], in one byte: so an object fits into 192.
    flags: u8,
    /// Ends of the chain of this object's requests, oldest first.
    pub(super) first: Link,
    pub(super) last: Link,
}

impl ObjectState {
    /// Makes that of an object that no daemon has been told of.
    pub(crate) const fn new() -> Self {
        Self {
            state: State::Close,
            fd: None,
            opening: false,
            failed_reopens: 0,
            flags: 0,
            first: Link::NONE,
            last: Link::NONE,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Returns the object id that the daemon knows, while it holds the fd.
    pub(crate) fn fd(&self) -> Option<NonZeroU32> {
        self.fd
    }

    /// Returns whether a CLOSE is in the table.
    pub(crate) fn has_close(&self) -> bool {
        self.flags & HAS_CLOSE != 0
    }

    /// Notes that the CLOSE entered the table.
    pub(super) fn close_enters(&mut self) {
        self.flags |= HAS_CLOSE;
    }

    /// Notes that the CLOSE left the table.
    pub(super) fn close_leaves(&mut self) {
        self.flags &= !HAS_CLOSE;
    }

    /// Returns whether READs ahead of those who read it may be in the table.
    pub(crate) fn has_ahead(&self) -> bool {
        self.flags & HAS_AHEAD != 0
    }

    /// Notes that one entered the table.
    pub(super) fn ahead_enters(&mut self) {
        self.flags |= HAS_AHEAD;
    }

    /// Notes that none is left.
    pub(super) fn none_ahead(&mut self) {
        self.flags &= !HAS_AHEAD;
    }

    /// Returns whether an OPEN is in the table, for the checks of the model.
    #[cfg(test)]
    pub(crate) fn is_opening(&self) -> bool {
        self.opening
    }

    /// Returns whether reads wait, and nothing is under way that would move them on.
    pub(crate) fn wants_reopen(&self) -> bool {
        self.state == State::Reopening && !self.opening
    }

    /// Notes that an OPEN enters the table. False where it would be the second, or has no purpose.
    pub(super) fn begin_open(&mut self) -> bool {
        let wanted = matches!(self.state, State::Close | State::Reopening);
        if self.opening || !wanted {
            return false;
        }
        self.opening = true;
        true
    }

    /// Notes that the OPEN left the table without an answer (its waiter was killed, the cache
    /// died).
    pub(super) fn abandon_open(&mut self) {
        self.opening = false;
    }

    /// Begins to open the object again, for a read that nobody can serve.
    ///
    /// True when this call made it so, and the caller has to queue the reopen.
    pub(super) fn begin_reopen(&mut self) -> bool {
        match self.state {
            State::Close => {
                self.state = State::Reopening;
                !self.opening
            }
            // The requests of a reopen that was under way were failed when the cache died, and
            // nothing is left that would go on with it.
            State::Reopening if self.first == Link::NONE && !self.opening => {
                self.failed_reopens = 0;
                true
            }
            State::Open | State::Reopening | State::Dropping => false,
        }
    }

    /// Notes the new fd with which the OPEN was delivered. False where the object goes away, and
    /// the daemon would not be told of that any more.
    pub(super) fn attach_fd(&mut self, id: NonZeroU32) -> bool {
        if self.is_leaving() {
            return false;
        }
        self.fd = Some(id);
        true
    }

    /// Returns whether no fd is to be handed out any more.
    pub(super) fn is_leaving(&self) -> bool {
        self.flags & LEAVING != 0
    }

    /// Ends the handing out of fds. Returns the one that the daemon is to be told of.
    pub(crate) fn leave(&mut self) -> Option<NonZeroU32> {
        self.flags |= LEAVING;
        self.fd
    }

    /// Opens the object, as the daemon accepted the OPEN. False where the fd is already closed.
    pub(super) fn accept(&mut self) -> bool {
        if self.fd.is_none() || !matches!(self.state, State::Close | State::Reopening) {
            return false;
        }
        self.state = State::Open;
        self.opening = false;
        self.failed_reopens = 0;
        true
    }

    /// Ends an OPEN that failed. Returns what has to be done about the reads that wait for it.
    ///
    /// A daemon that refuses every reopen is asked `tries` times in a row (255 at most), or without
    /// end if that is 0, at its own pace: the next try is only made when the last was answered.
    /// Then the waiting reads fail.
    ///
    /// The fd, if there is one, no longer counts: the daemon that refused knows that it did.
    pub(super) fn refuse(&mut self, tries: u32) -> AfterRefusal {
        self.fd = None;
        self.opening = false;
        if self.state != State::Reopening {
            return AfterRefusal::Nothing;
        }
        self.failed_reopens = self.failed_reopens.saturating_add(1);
        if tries == 0 || u32::from(self.failed_reopens) < tries.min(u8::MAX.into()) {
            return AfterRefusal::TryAgain;
        }
        self.failed_reopens = 0;
        self.state = State::Close;
        AfterRefusal::FailReads
    }

    /// Ends an OPEN that was not answered in time. The fd, if there is one, no longer counts.
    pub(super) fn lose_open(&mut self) {
        self.fd = None;
        self.opening = false;
    }

    /// Calls the next try off, as nobody waits for it.
    pub(super) fn settle(&mut self) {
        if self.state == State::Reopening && !self.opening {
            self.state = State::Close;
            self.failed_reopens = 0;
        }
    }

    /// Takes an anonymous fd away that was closed for good. False where it is not the one that
    /// counts.
    pub(super) fn detach_fd(&mut self, id: NonZeroU32) -> bool {
        if self.fd != Some(id) {
            return false;
        }
        self.fd = None;
        if self.state == State::Open {
            self.state = State::Close;
        }
        true
    }

    /// Begins to take the object away. False where it already was on its way.
    pub(super) fn drop_object(&mut self) -> bool {
        if self.state == State::Dropping {
            return false;
        }
        self.state = State::Dropping;
        self.leave();
        self.opening = false;
        true
    }
}

/// What a failed OPEN means for the reads that wait for the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterRefusal {
    /// Nobody reads yet: the sender of the OPEN is told.
    Nothing,
    /// Ask the daemon once more.
    TryAgain,
    /// Enough: the waiting reads fail.
    FailReads,
}
