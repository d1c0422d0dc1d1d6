// SPDX-License-Identifier: GPL-2.0

//! What the anonymous fd of an object does to requests, as it comes and goes: the second part of
//! the table's decisions.
//!
//! Free of kernel calls, as `table.rs`.

use super::entry::{self, Cursor, Entry, Kind, Phase, Slots};
use super::state::{AfterRefusal, Link, ObjectState, State};
use super::table::{Consequence, Table};
use core::num::NonZeroU32;

/// The process that closed an anonymous fd for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closer {
    /// A process that ends, or the kernel for it: it will answer nothing.
    Dies,
    /// A process that goes on, at this grain of time.
    Lives(u32),
}

/// What became of some of an object's READs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// So many became ready: wake the daemon.
    pub(crate) ready: u32,
    /// The one to go on with.
    pub(crate) next: Option<u32>,
}

impl Table {
    /// Sends the OPEN `id` out with the anonymous fd `fd`. False where it is no longer wanted.
    pub(crate) fn attach_fd<S: Slots>(
        &self,
        slots: &mut S,
        object: &mut ObjectState,
        id: u32,
        fd: NonZeroU32,
    ) -> bool {
        let is_taken = !self.dead
            && slots
                .at(id)
                .is_some_and(|mut at| at.entry().phase == Phase::Taken);
        let wanted = is_taken && object.attach_fd(fd);
        if let (true, Some(mut at)) = (wanted, slots.at(id)) {
            entry::set_phase(&mut at, Phase::Delivered);
        }
        wanted
    }

    /// Returns whether this is an OPEN that the daemon may answer.
    pub(crate) fn may_answer_open(entry: &Entry) -> bool {
        entry.kind == Kind::Open && entry.is_seen()
    }

    /// Ends the OPEN `id`, which the daemon accepted: it leaves the chain, and parked reads are to
    /// be swept.
    ///
    /// `None` where the anonymous fd is already closed: the OPEN is to be refused instead.
    pub(crate) fn accept_open<S: Slots>(
        &mut self,
        slots: &mut S,
        object: &mut ObjectState,
        id: u32,
    ) -> Option<Consequence> {
        if !object.accept() {
            return None;
        }
        entry::unlink(slots, object, id);
        Some(Consequence {
            sweep: entry::has_reads(slots, object),
            ..Consequence::default()
        })
    }

    /// Tells READs of the object that it is open, or that it is not, after either has begun:
    /// `limit` of them, from the READ `from` on, or else from the oldest.
    ///
    /// Where it is open, what is parked, or was delivered with another fd, becomes ready; else all
    /// of them are parked. Those to whom nothing is new stay as they are, so that it does no harm
    /// when the object has changed once more, and others began from the oldest again: all come to
    /// the same.
    pub(crate) fn sweep<S: Slots>(
        slots: &mut S,
        object: &ObjectState,
        from: Option<u32>,
        limit: usize,
    ) -> Swept {
        let mut swept = Swept {
            ready: 0,
            next: from.or_else(|| entry::find(slots, object, Entry::is_read)),
        };
        let fd = object.fd().filter(|_| object.state() == State::Open);
        for _ in 0..limit {
            let Some(mut at) = swept.next.and_then(|id| slots.at(id)) else {
                swept.next = None;
                break;
            };
            let entry = at.entry();
            swept.next = entry.next.id();
            let is_with =
                |fd: NonZeroU32| entry.phase == Phase::Delivered && entry.note == fd.get();
            match fd {
                Some(fd) if entry.phase == Phase::Ready || is_with(fd) => {}
                Some(_) => {
                    entry::set_phase(&mut at, Phase::Ready);
                    swept.ready += 1;
                }
                None => entry::set_phase(&mut at, Phase::Parked),
            }
        }
        swept
    }

    /// Ends the OPEN `id`, which failed (or could not be made: `None`): it leaves the chain.
    /// `tries` are as for [`ObjectState::refuse`].
    ///
    /// `FailReads` leaves the reads for the caller to take out, see [`Table::next_read`].
    pub(crate) fn refuse_open<S: Slots>(
        &mut self,
        slots: &mut S,
        object: &mut ObjectState,
        id: Option<u32>,
        tries: u32,
    ) -> AfterRefusal {
        if let Some(id) = id {
            entry::unlink(slots, object, id);
        }
        match object.refuse(tries) {
            AfterRefusal::TryAgain if object.first == Link::NONE => {
                // Nobody waits any more: the next read asks again.
                object.settle();
                AfterRefusal::Nothing
            }
            after => after,
        }
    }

    /// Puts back the OPEN `id`, delivered with the fd `fd`, which did not reach the daemon: it is
    /// as if it was never taken. True if it can be handed out now.
    pub(crate) fn take_back<S: Slots>(
        &self,
        slots: &mut S,
        object: &mut ObjectState,
        id: u32,
        fd: NonZeroU32,
    ) -> bool {
        let Some(mut at) = slots.at(id) else {
            return false;
        };
        let entry = at.entry();
        // Else it was answered by a guess, or is another's by now.
        let is_ours = entry.kind == Kind::Open && entry.phase == Phase::Delivered;
        if !is_ours || object.is_leaving() || !object.detach_fd(fd) {
            return false;
        }
        entry::set_phase(&mut at, Phase::Ready);
        true
    }

    /// Takes an anonymous fd away that is closed for good.
    ///
    /// Reads that were served through it can't be any more: they are to be swept, and the object is
    /// opened again, unless nobody waits for any of them: then they are to be forgotten. An
    /// unanswered OPEN is handed out again: at once if its daemon dies, else after a while, if
    /// there is no answer until then. A CLOSE is answered by this; it stays for the caller to take
    /// out, see [`Table::next_stale_close`].
    pub(crate) fn close_fd<S: Slots>(
        &mut self,
        slots: &mut S,
        object: &mut ObjectState,
        fd: NonZeroU32,
        closer: Closer,
    ) -> Consequence {
        let mut consequence = Consequence::default();
        if !object.detach_fd(fd) || self.dead || object.is_leaving() {
            return consequence;
        }
        let is_delivered =
            |entry: &Entry| entry.kind == Kind::Open && entry.phase == Phase::Delivered;
        let open = entry::find(slots, object, is_delivered);
        if let Some(mut at) = open.and_then(|id| slots.at(id)) {
            match closer {
                Closer::Dies => {
                    entry::set_phase(&mut at, Phase::Ready);
                    consequence.ready = 1;
                }
                Closer::Lives(now) => {
                    at.entry().note = now;
                    consequence.clock = true;
                }
            }
        }
        consequence.forget = Self::has_unawaited_only(slots, object);
        consequence.sweep = !consequence.forget && entry::has_reads(slots, object);
        consequence.reopen = consequence.sweep && object.begin_reopen();
        consequence
    }

    /// Finds the oldest READ of the object.
    pub(crate) fn next_read<S: Slots>(slots: &mut S, object: &ObjectState) -> Option<u32> {
        entry::find(slots, object, Entry::is_read)
    }

    /// Finds the CLOSE of the object, if it is for an fd which no longer counts: it is answered.
    pub(crate) fn next_stale_close<S: Slots>(slots: &mut S, object: &ObjectState) -> Option<u32> {
        if !object.has_close() {
            return None;
        }
        entry::find(slots, object, |entry| match entry.kind {
            Kind::Close(fd) => object.fd() != Some(fd),
            Kind::Open | Kind::Read { .. } => false,
        })
    }
}
