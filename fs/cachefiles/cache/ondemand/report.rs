// SPDX-License-Identifier: GPL-2.0

//! How requests and objects stand, for those who look on from outside.

use super::clock;
use super::engine::Engine;
use super::entry::{Kind, Phase};
use super::state::State;
use super::time::GRAINS_IN_SECOND;
use crate::cache::object::Object;
use core::num::NonZeroU32;
use core::sync::atomic::Ordering;

/// How a request stands.
pub(crate) struct RequestReport {
    pub(crate) id: u32,
    /// `OPEN`, `CLOSE`, `READ`; or `AHEAD`, a READ that was sent ahead of those who read.
    pub(crate) kind: &'static str,
    pub(crate) phase: &'static str,
    /// Since it was made, or since a reader first waited for a READ ahead, in steps of a quarter of
    /// a second.
    pub(crate) age_ms: u64,
    /// Tasks and reads that wait for the answer.
    pub(crate) waiters: u16,
    /// What a READ asks for, in bytes; 0 otherwise.
    pub(crate) off: u64,
    pub(crate) len: u64,
}

impl Engine {
    /// Reports the request with the lowest id that is not below `id`, with the table locked, and
    /// returns its id. `look` does not sleep.
    pub(crate) fn report_request(
        &self,
        id: u32,
        look: impl FnOnce(&RequestReport, &Object),
    ) -> Option<u32> {
        let mut guard = self.table.lock();
        let (mut slots, _) = guard.slots();
        let mut at = slots.at_or_behind(id)?;
        let (id, request) = (at.id(), at.shared());
        let entry = at.locked();
        let is_ahead = entry.is_ahead();
        let (kind, off, len) = match entry.kind {
            Kind::Open => ("OPEN", 0, 0),
            Kind::Close(_) => ("CLOSE", 0, 0),
            Kind::Read { off, len } if is_ahead => ("AHEAD", off, len),
            Kind::Read { off, len } => ("READ", off, len),
        };
        let phase = match entry.phase {
            Phase::New => "new",
            Phase::Ready => "ready",
            Phase::Parked => "parked",
            Phase::Taken => "taken",
            Phase::Delivered => "delivered",
        };
        let age = clock::grain().wrapping_sub(request.since());
        let report = RequestReport {
            id,
            kind,
            phase,
            age_ms: u64::from(age) * 1000 / u64::from(GRAINS_IN_SECOND),
            // That of a READ ahead which goes on without any is not counted.
            waiters: entry.waiters - u16::from(is_ahead && entry.waiters != 0),
            off,
            len,
        };
        look(&report, &request.object);
        Some(id)
    }

    /// Reports the daemon's state of an object, and the object id that the daemon knows it by;
    /// `looking-up` as long as its look-up has not ended, of which the answer to the OPEN is part.
    /// `None` for an object of another cache.
    pub(crate) fn report_object(
        &self,
        object: &Object,
    ) -> Option<(&'static str, Option<NonZeroU32>)> {
        self.with(object, |_, _, state| {
            let name = match state.state() {
                _ if object.is_being_looked_up() => "looking-up",
                State::Close => "close",
                State::Open => "open",
                State::Reopening => "reopening",
                State::Dropping => "dropping",
            };
            (name, state.fd())
        })
        .ok()
    }

    /// Returns the number of reads that wait for data without a task that does.
    pub(crate) fn n_deferred(&self) -> u32 {
        self.deferrals.load(Ordering::Relaxed)
    }
}
