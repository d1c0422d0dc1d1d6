// SPDX-License-Identifier: GPL-2.0

//! READs ahead of those who read in sequence: with the command `readahead`, or the parameter.
//!
//! Nobody waits for such a READ as it is made. A reader that comes into its range joins it, and
//! waits for it as for one that another reader has made.

use super::engine::{new_node, Engine};
use super::entry::{Entry, Kind};
use super::request::is_read_of;
use super::streams::{Ahead, ReadAt, Streams};
use super::table::Table;
use super::BATCH;
use crate::cache::object::Object;
use crate::data::extent::{round_down, round_up, Hole};
use core::sync::atomic::{AtomicU32, Ordering};
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::{new_spinlock, ArcBorrow, SpinLock};
use kernel_ext::fs::File;

/// Stands for no number of KiB at all.
const UNTOLD: u32 = u32::MAX;

/// Limits the READs made at a time, of a range that is full of small holes.
const MOST_AT_ONCE: usize = 64;

/// How far ahead of its readers a cache asks, and of what.
#[pin_data]
pub(super) struct Readahead {
    /// KiB, as the daemon has told it; else [`UNTOLD`], and the module's parameter counts.
    kib: AtomicU32,
    #[pin]
    streams: SpinLock<Streams>,
}

impl Readahead {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            kib: AtomicU32::new(UNTOLD),
            streams <- new_spinlock!(Streams::new(), "cachefiles_streams"),
        })
    }

    /// Returns how many bytes ahead the daemon is asked; 0 switches it off.
    fn limit(&self) -> i64 {
        let kib = match self.kib.load(Ordering::Relaxed) {
            UNTOLD => kernel_ext::params::readahead(),
            kib => kib,
        };
        i64::from(kib) << 10
    }
}

impl Engine {
    /// Sets how many KiB ahead of those who read in sequence the daemon is asked; `None` leaves it
    /// to the module's parameter.
    pub(crate) fn set_readahead(&self, kib: Option<u32>) {
        let kib = kib.unwrap_or(UNTOLD);
        self.readahead.kib.store(kib, Ordering::Relaxed);
    }

    /// Notes that the object is read. Returns what is to be asked for ahead, by
    /// [`Engine::send_ahead`], which has to follow.
    pub(crate) fn note_read(
        &self,
        object: &Object,
        start: i64,
        end: i64,
        is_missing: bool,
    ) -> Option<Ahead> {
        let limit = self.readahead.limit();
        if limit == 0 || self.is_dead() {
            object.set_streamed(false);
            return None;
        }
        let read = ReadAt {
            object: object.debug_id(),
            start,
            end,
            size: i64::try_from(object.cookie().object_size()).unwrap_or(i64::MAX),
            is_missing,
        };
        let mut streams = self.readahead.streams.lock();
        let noted = streams.note(&read, limit, PAGE_SIZE as i64);
        // Under the lock: the last one who has found it out says it.
        object.set_streamed(noted.is_streamed);
        noted.ahead
    }

    /// Goes on with what is read in sequence, after a read that has found all in the cache.
    #[cold]
    pub(crate) fn read_on(&self, object: ArcBorrow<'_, Object>, file: &File, start: i64, end: i64) {
        if let Some(ahead) = self.note_read(&object, start, end, false) {
            self.send_ahead(object, file, ahead);
        }
    }

    /// Asks the daemon for what is missing of the range, with nobody who waits for it. What cannot
    /// be asked for now is left to the next read.
    #[inline(never)]
    pub(crate) fn send_ahead(&self, object: ArcBorrow<'_, Object>, file: &File, ahead: Ahead) {
        let asked = if object.cache().has_room_ahead(self.readahead.limit()) {
            self.send_up_to(object, file, ahead)
        } else {
            ahead.start
        };
        if asked < ahead.end {
            let mut streams = self.readahead.streams.lock();
            streams.fall_short(object.debug_id(), ahead.end, asked);
        }
    }

    /// Puts READs for the holes of the range into the table. Returns up to where it could.
    fn send_up_to(&self, object: ArcBorrow<'_, Object>, file: &File, ahead: Ahead) -> i64 {
        let page = PAGE_SIZE as i64;
        let mut pos = ahead.start;
        for _ in 0..MOST_AT_ONCE {
            if pos >= ahead.end {
                break;
            }
            let end = pos.saturating_add(ahead.unit).min(ahead.end);
            match object.data().next_hole(file, pos, end) {
                Ok(None) => pos = end,
                Ok(Some(hole)) => {
                    let hole = Hole {
                        start: round_down(hole.start, page),
                        end: round_up(hole.end, page).map_or(end, |hole_end| hole_end.min(end)),
                    };
                    match self.fetch_ahead(object, hole) {
                        Ok(asked) => pos = asked,
                        Err(_) => break,
                    }
                }
                Err(_) => break,
            }
        }
        pos
    }

    /// Puts a READ into the table for which nobody waits, unless one is there that asks for the
    /// beginning of it. Returns up to where is asked then, which may be behind the end.
    fn fetch_ahead(&self, object: ArcBorrow<'_, Object>, hole: Hole) -> Result<i64> {
        let off = u64::try_from(hole.start).map_err(|_| EINVAL)?;
        let len = u64::try_from(hole.end.saturating_sub(hole.start)).map_err(|_| EINVAL)?;
        let node = new_node(object, Entry::new_ahead(off, len))?;
        let mut guard = self.table.lock();
        let asked = Self::with_guard(&mut guard, &object, |slots, _, state| {
            Table::asked_up_to(slots, state, off)
        })?;
        if let Some(asked) = asked {
            drop(guard);
            drop(node);
            return Ok(i64::try_from(asked).unwrap_or(i64::MAX));
        }
        self.enter(guard, object, node, Kind::Read { off, len })?;
        Ok(hole.end)
    }

    /// Fails the object's READs ahead that the daemon has not seen, as the object goes away.
    ///
    /// Drops the lock after every batch, however many READs there are. No more can come.
    pub(super) fn take_back_ahead(&self, object: &Object) {
        let mut from = None;
        loop {
            let looked = self.with(object, |slots, table, state| {
                let from = from.filter(|&id| is_read_of(slots, object, id));
                let looked = Table::next_unseen_ahead(slots, state, from, BATCH);
                let node = looked.found.and_then(|id| {
                    table.take_out(slots, state, id);
                    slots.remove(id)
                });
                (node, looked.next)
            });
            let Ok((node, next)) = looked else { return };
            if let Some(node) = node {
                node.shared().complete(Err(EIO));
            }
            if next.is_none() {
                return;
            }
            from = next;
            kernel_ext::task::cond_resched();
        }
    }
}
