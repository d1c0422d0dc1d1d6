// SPDX-License-Identifier: GPL-2.0

//! What time brings to requests: the third part of the table's decisions.
//!
//! Free of kernel calls, as `table.rs`: it is told what time it is.

use super::entry::{self, Cursor, Entry, Kind, Phase, Slots};
use super::state::{ObjectState, State};
use super::table::Table;

/// What time has brought to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    Nothing,
    /// It is ready now: wake the daemon.
    Ready,
    /// Queue its object's reopen work, which was put off.
    Reopen,
    /// It was not answered in time: see [`Table::expire`].
    Overdue,
}

/// A quarter of a second, roughly: what time is counted in here, modulo 2^32, which are 34 years.
///
/// So coarse that the requests are looked at a few times a second at most, however many of them
/// run out of time one after the other.
pub(crate) const GRAINS_IN_SECOND: u32 = 4;

/// Grains from one look to the next at what waits for more than its timeout.
pub(crate) const PERIOD: u32 = GRAINS_IN_SECOND;

/// How a request ends that was not answered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// Take it out, and fail it.
    Fail,
    /// An OPEN that reads wait for: see [`Table::expire_open`].
    AskAgain,
    /// A CLOSE: it stays for the daemon to read, but nobody waits for that any more.
    Release,
}

/// For so many grains at least an OPEN waits for its answer after its fd was closed.
///
/// A daemon that refuses may close the fd first, and says so then: until it does, the OPEN must
/// not reach another of its threads.
const GRACE: i32 = 2 * GRAINS_IN_SECOND as i32;

impl Table {
    /// Sets the clock to ring in so many grains. True if it is to be set to that: it was not set,
    /// or to ring later.
    pub(crate) fn set_alarm(&mut self, now: u32, grains: u32) -> bool {
        let at = now.wrapping_add(grains);
        let is_soon_enough = |alarm: u32| (at.wrapping_sub(alarm) as i32) >= 0;
        if self.dead || self.alarm.is_some_and(is_soon_enough) {
            return false;
        }
        self.alarm = Some(at);
        true
    }

    /// Clears the alarm, as the clock rings.
    pub(crate) fn alarm_rings(&mut self) {
        self.alarm = None;
    }

    /// Sets the time that every request has to be answered, in grains; 0 is for ever.
    pub(crate) fn set_timeout(&mut self, grains: u32) {
        self.timeout = grains;
    }

    pub(crate) fn timeout(&self) -> u32 {
        self.timeout
    }

    /// Returns in how many grains the time of a request is over that began at `since`: 0 if it is
    /// over. `None` where there is no limit to it, or nobody waits for it.
    fn time_left(timeout: u32, entry: &Entry, since: u32, now: u32) -> Option<u32> {
        let is_limited = timeout != 0 && entry.waiters != 0;
        // It may have been made since the clock was read. No request is older than 17 years.
        let age = (now.wrapping_sub(since) as i32).max(0);
        // The grain in which it was made had begun.
        let limit = timeout.saturating_add(1);
        is_limited.then(|| limit.saturating_sub(age.unsigned_abs()))
    }

    /// Looks at what time has brought to a request whose time began at `since`; and in how many
    /// grains it is to be looked at again, if that may bring anything. `timeout` is that of the
    /// table.
    pub(crate) fn tick(
        at: &mut impl Cursor,
        object: &ObjectState,
        since: u32,
        now: u32,
        timeout: u32,
    ) -> (Tick, Option<u32>) {
        let entry = at.entry();
        let left = Self::time_left(timeout, entry, since, now);
        if left == Some(0) {
            return (Tick::Overdue, None);
        }
        match (entry.kind, entry.phase) {
            (Kind::Open, Phase::Delivered) if object.fd().is_none() && !object.is_leaving() => {
                // It may have been closed since the clock was read.
                if now.wrapping_sub(entry.note) as i32 <= GRACE {
                    let again = left.map_or(PERIOD, |left| left.min(PERIOD));
                    return (Tick::Nothing, Some(again));
                }
                entry::set_phase(at, Phase::Ready);
                (Tick::Ready, left)
            }
            (Kind::Read { .. }, _) if object.wants_reopen() => (Tick::Reopen, left),
            _ => (Tick::Nothing, left),
        }
    }

    /// Ends a request that was not answered in time. `None` where it has got time meanwhile.
    ///
    /// The task that drops an object need not wait for its CLOSE any more; but the daemon, if it is
    /// ever there again, is to hear of it, or it would keep the fd.
    pub(crate) fn expire(
        &self,
        entry: &mut Entry,
        object: &ObjectState,
        since: u32,
        now: u32,
    ) -> Option<Expiry> {
        if Self::time_left(self.timeout, entry, since, now) != Some(0) {
            return None;
        }
        Some(match entry.kind {
            Kind::Open if object.state() == State::Reopening => Expiry::AskAgain,
            Kind::Open | Kind::Read { .. } => Expiry::Fail,
            Kind::Close(_) => {
                entry.waiters = 0;
                Expiry::Release
            }
        })
    }

    /// Ends the OPEN `id`, which reads wait for, and which was not answered in time: it leaves the
    /// chain, and its fd no longer counts. True where another is to be made, as reads are left.
    ///
    /// That is no refusal. It does not count as one, and no read ends by it.
    pub(crate) fn expire_open<S: Slots>(
        &self,
        slots: &mut S,
        object: &mut ObjectState,
        id: u32,
    ) -> bool {
        entry::unlink(slots, object, id);
        object.lose_open();
        if !entry::has_reads(slots, object) {
            object.settle();
        }
        object.wants_reopen()
    }

    /// Finds the first request of an object that goes away whose waiter is to be told.
    pub(crate) fn next_left<S: Slots>(slots: &mut S, object: &ObjectState) -> Option<u32> {
        let is_released =
            |entry: &Entry| matches!(entry.kind, Kind::Close(_)) && entry.waiters == 0;
        entry::find(slots, object, |entry| !is_released(entry))
    }
}
