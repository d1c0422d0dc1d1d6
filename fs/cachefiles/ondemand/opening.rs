// SPDX-License-Identifier: GPL-2.0

//! What the anonymous fd of an object does to requests, as it comes and goes: the second part of
//! the table's decisions.
//!
//! Free of kernel calls, as `table.rs`.

use super::entry::{self, At, Entry, Kind, Phase, Slots};
use super::state::{AfterRefusal, Link, ObjectState};
use super::table::{Consequence, Table};
use core::num::NonZeroU32;

/// Who closed an anonymous fd for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closer {
    /// A process that ends, or the kernel for it: it will answer nothing.
    Dies,
    /// A process that goes on, at this second modulo 2^16.
    Lives(u16),
}

impl Table {
    /// The OPEN `id` goes out with the anonymous fd `fd`. False where it is no longer wanted.
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

    /// Whether this is an OPEN that the daemon may answer.
    pub(crate) fn may_answer_open(entry: &Entry) -> bool {
        entry.kind == Kind::Open && entry.seen
    }

    /// The daemon accepted the OPEN `id`: it leaves the chain, and parked reads become ready.
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
        let mut ready = 0;
        entry::for_each(slots, object, |at| {
            let entry = at.entry();
            if entry.phase == Phase::Parked && matches!(entry.kind, Kind::Read { .. }) {
                entry::set_phase(at, Phase::Ready);
                ready += 1;
            }
        });
        Some(Consequence {
            ready,
            ..Consequence::default()
        })
    }

    /// The OPEN `id` failed (or could not be made: `None`); it leaves the chain. `tries` are as for
    /// [`ObjectState::refuse`].
    ///
    /// `FailReads` leaves the reads for the caller to take out, see [`Table::next_parked`].
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

    /// The OPEN `id`, delivered with the fd `fd`, did not reach the daemon: it is as if it was never
    /// taken. True if it can be handed out now.
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

    /// An anonymous fd is closed for good.
    ///
    /// Who was served through it can't be any more: reads that the daemon has go back to being
    /// parked and the object is opened again. An unanswered OPEN is handed out again: at once if
    /// its daemon dies, else after a while, if there is no answer until then. A CLOSE is answered
    /// by this; it stays for the caller to take out, see [`Table::next_stale_close`].
    pub(crate) fn close_fd<S: Slots>(
        &mut self,
        slots: &mut S,
        object: &mut ObjectState,
        fd: NonZeroU32,
        closer: Closer,
    ) -> Consequence {
        if !object.detach_fd(fd) || self.dead || object.is_leaving() {
            return Consequence::default();
        }
        let (mut ready, mut clock) = (0, false);
        let mut reads = false;
        entry::for_each(slots, object, |at| {
            let entry = at.entry();
            match entry.kind {
                Kind::Read { .. } => {
                    reads = true;
                    entry::set_phase(at, Phase::Parked);
                }
                Kind::Open if entry.phase == Phase::Delivered => match closer {
                    Closer::Dies => {
                        entry::set_phase(at, Phase::Ready);
                        ready += 1;
                    }
                    Closer::Lives(now) => {
                        entry.left_at = now;
                        clock = true;
                    }
                },
                Kind::Open | Kind::Close(_) => {}
            }
        });
        Consequence {
            ready,
            reopen: reads && object.begin_reopen(),
            clock,
        }
    }

    /// First read of the object that waits for a reopen.
    pub(crate) fn next_parked<S: Slots>(slots: &mut S, object: &ObjectState) -> Option<u32> {
        entry::find(slots, object, |entry| entry.phase == Phase::Parked)
    }

    /// First CLOSE of the object that is for an fd which no longer counts: it is answered.
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
