// SPDX-License-Identifier: GPL-2.0

//! READs ahead of those who read, in the table: who joins them, and when they go as nobody does.
//! The fourth part of the table's decisions.
//!
//! Free of kernel calls, as `table.rs`.

use super::entry::{self, Cursor, Entry, Slots};
use super::state::{ObjectState, State};
use super::table::{Table, COALESCE_WINDOW};

/// How many of an object's oldest READs are looked at as well, where some are ahead of those who
/// read.
pub(super) const AHEAD_WINDOW: usize = 64;

/// What was found among some of an object's READs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Looked {
    pub(crate) found: Option<u32>,
    /// The one to go on with.
    pub(crate) next: Option<u32>,
}

impl Table {
    /// Joins one of the object's oldest READs that covers the given range, as a waiter; or, if it
    /// is one ahead of those who read, the beginning of it. Returns its id.
    ///
    /// Called where the object may have some of these: what is needed first is the oldest then.
    pub(crate) fn join_ahead<S: Slots>(
        slots: &mut S,
        object: &ObjectState,
        off: u64,
        len: u64,
    ) -> Option<u32> {
        let end = off.checked_add(len)?;
        let mut id = entry::find(slots, object, Entry::is_read)?;
        for _ in 0..AHEAD_WINDOW {
            let mut at = slots.at(id)?;
            let entry = at.entry();
            let covers = if entry.is_ahead() {
                entry.end_behind(off).is_some()
            } else {
                entry.covers(off, end)
            };
            if covers && entry.join() {
                return Some(id);
            }
            id = entry.next.id()?;
        }
        None
    }

    /// Returns up to where a READ in flight asks for what lies at `off`: one of those that a reader
    /// would join.
    pub(crate) fn asked_up_to<S: Slots>(
        slots: &mut S,
        object: &ObjectState,
        off: u64,
    ) -> Option<u64> {
        let mut link = object.last;
        for _ in 0..COALESCE_WINDOW {
            let Some(mut at) = link.id().and_then(|id| slots.at(id)) else {
                break;
            };
            let entry = at.entry();
            if let Some(end) = entry.end_behind(off) {
                return Some(end);
            }
            link = entry.prev;
        }
        if !object.has_ahead() {
            return None;
        }
        let mut id = entry::find(slots, object, Entry::is_read)?;
        for _ in 0..AHEAD_WINDOW {
            let mut at = slots.at(id)?;
            let entry = at.entry();
            if let Some(end) = entry.end_behind(off) {
                return Some(end);
            }
            id = entry.next.id()?;
        }
        None
    }

    /// Returns whether the object has lost its fd, and all of its READs are ahead of those who
    /// read, with nobody who waits for one: then nothing is opened for them, and they go.
    ///
    /// False where there are more than are looked at, [`AHEAD_WINDOW`].
    pub(super) fn has_unawaited_only<S: Slots>(slots: &mut S, object: &ObjectState) -> bool {
        if !object.has_ahead() || object.state() != State::Close {
            return false;
        }
        let mut next = entry::find(slots, object, Entry::is_read);
        for _ in 0..AHEAD_WINDOW {
            let Some(id) = next else {
                return true;
            };
            let Some(mut at) = slots.at(id) else {
                return false;
            };
            let entry = at.entry();
            if !entry.is_unawaited() {
                return false;
            }
            next = entry.next.id();
        }
        next.is_none()
    }

    /// Finds a READ ahead of those who read that the daemon has not seen, as the object goes away:
    /// among `limit` READs, from the READ `from` on, or else from the oldest.
    ///
    /// It need not fetch what nobody will read. What it is at may be answered as ever.
    pub(crate) fn next_unseen_ahead<S: Slots>(
        slots: &mut S,
        object: &ObjectState,
        from: Option<u32>,
        limit: usize,
    ) -> Looked {
        let mut looked = Looked {
            found: None,
            next: None,
        };
        if !object.has_ahead() {
            return looked;
        }
        looked.next = from.or_else(|| entry::find(slots, object, Entry::is_read));
        for _ in 0..limit {
            let Some((id, mut at)) = looked.next.and_then(|id| Some((id, slots.at(id)?))) else {
                looked.next = None;
                break;
            };
            let entry = at.entry();
            looked.next = entry.next.id();
            if entry.is_ahead() && !entry.is_seen() {
                looked.found = Some(id);
                break;
            }
        }
        looked
    }
}
