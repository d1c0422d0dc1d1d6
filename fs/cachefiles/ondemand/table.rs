// SPDX-License-Identifier: GPL-2.0

//! The scheduling decisions of the request table.
//!
//! A request is *ready* (the daemon may have it), *parked* (its object is being reopened) or
//! *delivered* (the daemon has it, unanswered); answered ones have left the table. Being ready is
//! a mark on the slot, so that the next request is one marked search from a moving cursor, and
//! nothing ever looks at a request that cannot be handed out. The requests of one object are
//! chained by their ids, so that what happens to an object touches its own requests only.
//!
//! Free of kernel calls, as `state.rs`: in the module the slots are an xarray, in the host-side
//! tests a map. Whoever holds `&mut` of the slots holds the table's lock.

use super::state::{AfterRefusal, Link, ObjectState, State};
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
    Delivered,
}

/// The part of a request that the table's lock protects.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    phase: Phase,
    /// The daemon has seen it at least once.
    seen: bool,
    /// Tasks that wait for the answer.
    waiters: u32,
    prev: Link,
    next: Link,
}

impl Entry {
    pub(crate) fn new(kind: Kind, waiters: u32) -> Self {
        Self {
            kind,
            phase: Phase::New,
            seen: false,
            waiters,
            prev: None,
            next: None,
        }
    }

    /// For the checks of the model.
    #[cfg(test)]
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }
}

/// The slots that hold the requests, by id.
pub(crate) trait Slots {
    fn entry(&mut self, id: u32) -> Option<&mut Entry>;
    fn set_ready(&mut self, id: u32);
    fn clear_ready(&mut self, id: u32);
    /// First ready id at or after `from`.
    fn next_ready(&self, from: u32) -> Option<u32>;
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The cache is dead, or the object is going away.
    Gone,
    /// An OPEN that is not wanted: one is under way, or the object is open.
    NotNeeded,
    /// A CLOSE of an object that the daemon holds no fd of.
    NotOpen,
}

/// What the caller has to see to after an event, once the lock is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Consequence {
    /// Something became ready: wake the daemon.
    pub(crate) wake: bool,
    /// Queue the object's reopen work.
    pub(crate) reopen: bool,
}

/// How many of an object's newest requests are looked at for one that covers a new read.
///
/// A bound, so that the cost of a read does not grow with the reads already waiting.
const COALESCE_WINDOW: usize = 32;

/// Protected by the table's lock, beside the slots.
#[derive(Debug)]
pub(crate) struct Table {
    /// Where the search for the next request begins.
    cursor: u32,
    dead: bool,
}

impl Table {
    pub(crate) const fn new() -> Self {
        Self {
            cursor: 0,
            dead: false,
        }
    }

    /// Nothing is admitted from here on. What is in the slots is for the caller to fail.
    pub(crate) fn kill(&mut self) {
        self.dead = true;
    }

    /// Takes a new request in, which already has its slot.
    ///
    /// On refusal the slot is as it was, for the caller to empty.
    pub(crate) fn admit<S: Slots>(
        &mut self,
        slots: &mut S,
        object: &mut ObjectState,
        id: u32,
    ) -> Result<Consequence, Refused> {
        let Some(entry) = slots.entry(id) else {
            return Err(Refused::Gone);
        };
        if self.dead || object.state() == State::Dropping {
            return Err(Refused::Gone);
        }
        let (phase, reopen) = match entry.kind {
            Kind::Open if object.begin_open() => (Phase::Ready, false),
            Kind::Open => return Err(Refused::NotNeeded),
            Kind::Close(fd) if object.fd() == Some(fd) => (Phase::Ready, false),
            Kind::Close(_) => return Err(Refused::NotOpen),
            Kind::Read { .. } if object.state() == State::Open => (Phase::Ready, false),
            Kind::Read { .. } => (Phase::Parked, object.begin_reopen()),
        };
        entry.phase = phase;
        // To the end of the object's chain.
        let last = object.last.replace(id);
        entry.prev = last;
        match last.and_then(|last| slots.entry(last)) {
            Some(entry) => entry.next = Some(id),
            None => object.first = Some(id),
        }
        if phase == Phase::Ready {
            slots.set_ready(id);
        }
        Ok(Consequence {
            wake: phase == Phase::Ready,
            reopen,
        })
    }

    /// The id of a read in flight on the object that covers the given range, joined as a waiter.
    pub(crate) fn join_covering_read<S: Slots>(
        &self,
        slots: &mut S,
        object: &ObjectState,
        off: u64,
        len: u64,
    ) -> Option<u32> {
        let end = off.checked_add(len)?;
        let mut at = object.last;
        for _ in 0..COALESCE_WINDOW {
            let id = at?;
            let entry = slots.entry(id)?;
            if let Kind::Read { off: o, len: l } = entry.kind {
                if o <= off && o.checked_add(l).is_some_and(|e| end <= e) {
                    entry.waiters = entry.waiters.saturating_add(1);
                    return Some(id);
                }
            }
            at = entry.prev;
        }
        None
    }

    /// A waiter was killed. True when nobody needs the request any more: the caller takes it out.
    ///
    /// An OPEN that reads wait for, too, is one that they need.
    pub(crate) fn leave<S: Slots>(slots: &mut S, object: &ObjectState, id: u32) -> bool {
        slots.entry(id).is_some_and(|entry| {
            entry.waiters = entry.waiters.saturating_sub(1);
            let is_reopen = entry.kind == Kind::Open && object.state() == State::Reopening;
            entry.waiters == 0 && !is_reopen
        })
    }

    /// The request that the daemon gets next, if there is one.
    pub(crate) fn pick<S: Slots>(&self, slots: &S) -> Option<u32> {
        slots
            .next_ready(self.cursor)
            .or_else(|| slots.next_ready(0))
    }

    /// The daemon takes the request.
    pub(crate) fn deliver<S: Slots>(&mut self, slots: &mut S, id: u32) {
        self.cursor = id.wrapping_add(1);
        let Some(entry) = slots.entry(id) else { return };
        entry.seen = true;
        if core::mem::replace(&mut entry.phase, Phase::Delivered) == Phase::Ready {
            slots.clear_ready(id);
        }
    }

    /// The daemon's read failed before it had the request: it is as if it was never taken.
    pub(crate) fn undeliver<S: Slots>(
        &mut self,
        slots: &mut S,
        object: &ObjectState,
        id: u32,
    ) -> bool {
        let Some(entry) = slots.entry(id) else {
            return false;
        };
        if entry.phase != Phase::Delivered {
            return false;
        }
        let phase = hand_out_phase(entry.kind, object);
        set_phase(slots, id, phase);
        phase == Phase::Ready
    }

    /// The OPEN `id` goes out with the anonymous fd `fd`. False where it is no longer wanted.
    pub(crate) fn attach_fd<S: Slots>(
        &self,
        slots: &mut S,
        object: &mut ObjectState,
        id: u32,
        fd: NonZeroU32,
    ) -> bool {
        let wanted = !self.dead
            && object.state() != State::Dropping
            && slots
                .entry(id)
                .is_some_and(|e| e.kind == Kind::Open && e.phase == Phase::Delivered);
        if wanted {
            object.attach_fd(fd);
        }
        wanted
    }

    /// Whether `id` is an OPEN that the daemon may answer.
    pub(crate) fn may_answer_open<S: Slots>(slots: &mut S, id: u32) -> bool {
        slots
            .entry(id)
            .is_some_and(|entry| entry.kind == Kind::Open && entry.seen)
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
        unlink(slots, object, id);
        let mut wake = false;
        for_each(slots, object, |slots, id, entry_phase, kind| {
            if entry_phase == Phase::Parked && matches!(kind, Kind::Read { .. }) {
                set_phase(slots, id, Phase::Ready);
                wake = true;
            }
        });
        Some(Consequence {
            wake,
            reopen: false,
        })
    }

    /// The OPEN `id` failed (or could not be made: `None`); it leaves the chain.
    ///
    /// `FailReads` leaves the reads for the caller to take out, see [`Table::next_parked`].
    pub(crate) fn refuse_open<S: Slots>(
        &mut self,
        slots: &mut S,
        object: &mut ObjectState,
        id: Option<u32>,
    ) -> AfterRefusal {
        if let Some(id) = id {
            unlink(slots, object, id);
        }
        match object.refuse() {
            AfterRefusal::TryAgain if object.first.is_none() => {
                // Nobody waits any more: the next read asks again.
                object.settle();
                AfterRefusal::Nothing
            }
            after => after,
        }
    }

    /// An anonymous fd is closed for good.
    ///
    /// Who was served through it can't be any more: reads that the daemon has go back to being
    /// parked and the object is opened again, an unanswered OPEN is handed out again. A CLOSE is
    /// answered by this; it stays for the caller to take out, see [`Table::next_stale_close`].
    pub(crate) fn close_fd<S: Slots>(
        &mut self,
        slots: &mut S,
        object: &mut ObjectState,
        fd: NonZeroU32,
    ) -> Consequence {
        if !object.detach_fd(fd) || self.dead || object.state() == State::Dropping {
            return Consequence::default();
        }
        let mut wake = false;
        let mut reads = false;
        for_each(slots, object, |slots, id, phase, kind| match kind {
            Kind::Read { .. } => {
                reads = true;
                set_phase(slots, id, Phase::Parked);
            }
            Kind::Open if phase == Phase::Delivered => {
                set_phase(slots, id, Phase::Ready);
                wake = true;
            }
            Kind::Open | Kind::Close(_) => {}
        });
        Consequence {
            wake,
            reopen: reads && object.begin_reopen(),
        }
    }

    /// `restore`: what was delivered and not answered is handed out again, where it can be.
    ///
    /// An OPEN whose fd is still held by somebody is left with them: a second fd for the same
    /// object would be of no use, and when theirs closes the OPEN comes back by itself.
    pub(crate) fn restore<S: Slots>(
        &mut self,
        slots: &mut S,
        object: &ObjectState,
        id: u32,
    ) -> bool {
        match slots.entry(id) {
            Some(Entry {
                kind: Kind::Open, ..
            }) if object.fd().is_some() => false,
            Some(_) => self.undeliver(slots, object, id),
            None => false,
        }
    }

    /// The object goes away. What is left of its requests is for the caller to fail.
    pub(crate) fn drop_object(&mut self, object: &mut ObjectState) -> bool {
        object.drop_object()
    }

    /// Takes a request out of its object's chain, as its answer, its waiter's death or the death
    /// of the cache demand. The caller then empties the slot.
    pub(crate) fn take_out<S: Slots>(&mut self, slots: &mut S, object: &mut ObjectState, id: u32) {
        if unlink(slots, object, id) == Some(Kind::Open) {
            object.abandon_open();
        }
    }

    /// First read of the object that waits for a reopen.
    pub(crate) fn next_parked<S: Slots>(slots: &mut S, object: &ObjectState) -> Option<u32> {
        find(slots, object, |entry| entry.phase == Phase::Parked)
    }

    /// First CLOSE of the object that is for an fd which no longer counts: it is answered.
    pub(crate) fn next_stale_close<S: Slots>(slots: &mut S, object: &ObjectState) -> Option<u32> {
        find(slots, object, |entry| match entry.kind {
            Kind::Close(fd) => object.fd() != Some(fd),
            Kind::Open | Kind::Read { .. } => false,
        })
    }
}

/// Where a request that is to be handed out belongs.
fn hand_out_phase(kind: Kind, object: &ObjectState) -> Phase {
    match kind {
        Kind::Read { .. } if object.state() != State::Open => Phase::Parked,
        Kind::Read { .. } | Kind::Open | Kind::Close(_) => Phase::Ready,
    }
}

/// Changes a phase, and the mark with it: they always agree.
fn set_phase<S: Slots>(slots: &mut S, id: u32, phase: Phase) {
    let Some(entry) = slots.entry(id) else { return };
    let was = core::mem::replace(&mut entry.phase, phase);
    match (was == Phase::Ready, phase == Phase::Ready) {
        (false, true) => slots.set_ready(id),
        (true, false) => slots.clear_ready(id),
        _ => {}
    }
}

/// Takes a request out of its object's chain, and out of what can be handed out. Returns what it
/// is, or `None` if it was not in.
fn unlink<S: Slots>(slots: &mut S, object: &mut ObjectState, id: u32) -> Option<Kind> {
    let entry = slots.entry(id)?;
    if entry.phase == Phase::New {
        return None;
    }
    let kind = entry.kind;
    let (prev, next) = (entry.prev.take(), entry.next.take());
    if core::mem::replace(&mut entry.phase, Phase::New) == Phase::Ready {
        slots.clear_ready(id);
    }
    match prev.and_then(|prev| slots.entry(prev)) {
        Some(entry) => entry.next = next,
        None => object.first = next,
    }
    match next.and_then(|next| slots.entry(next)) {
        Some(entry) => entry.prev = prev,
        None => object.last = prev,
    }
    Some(kind)
}

/// Calls `f` for every request of the object, oldest first. `f` may change phases, not the chain.
pub(super) fn for_each<S: Slots>(
    slots: &mut S,
    object: &ObjectState,
    mut f: impl FnMut(&mut S, u32, Phase, Kind),
) {
    let mut at = object.first;
    while let Some(id) = at {
        let Some(entry) = slots.entry(id) else { return };
        let (phase, kind) = (entry.phase, entry.kind);
        at = entry.next;
        f(slots, id, phase, kind);
    }
}

fn find<S: Slots>(
    slots: &mut S,
    object: &ObjectState,
    wanted: impl Fn(&Entry) -> bool,
) -> Option<u32> {
    let mut at = object.first;
    while let Some(id) = at {
        let entry = slots.entry(id)?;
        if wanted(entry) {
            return Some(id);
        }
        at = entry.next;
    }
    None
}
