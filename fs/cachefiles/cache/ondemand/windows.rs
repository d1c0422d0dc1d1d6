// SPDX-License-Identifier: GPL-2.0

//! The windows of reads that wait for the daemon: with the module's parameter `straight_reads`.
//!
//! What the daemon writes is copied into the memory of the reads that wait for it, so that these
//! need not read it from the file. See `Documentation/ondemand.rst`.

use super::engine::Engine;
use super::filling::{Filling, Written};
use crate::cache::object::Object;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use kernel::prelude::*;
use kernel::sync::{new_spinlock, Arc, SpinLock};
use kernel_ext::io::{IovIterSource, Window};

/// How many windows are listed at most in one cache, as each write of the daemon looks at all. Who
/// finds no place reads from the file.
const MOST: usize = 64;

/// The list of all windows of a cache.
#[pin_data]
pub(super) struct Windows {
    #[pin]
    listed: SpinLock<KVec<Option<Listed>>>,
    /// How many there are.
    count: AtomicU32,
    /// The number of the next one.
    next: AtomicU64,
}

struct Listed {
    /// Of the object, for comparison: it is there as long as its read.
    object: usize,
    start: i64,
    end: i64,
    number: u64,
    window: Arc<Window>,
}

/// A window in the list. Dropped when the read does not wait any more.
pub(crate) struct ListedWindow {
    object: Arc<Object>,
    index: usize,
}

/// A moment in front of a write: windows that were listed then are older.
#[derive(Clone, Copy)]
pub(crate) struct Before(u64);

impl Windows {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            listed <- new_spinlock!(KVec::new(), "cachefiles_windows"),
            count: AtomicU32::new(0),
            next: AtomicU64::new(0),
        })
    }

    /// Returns whether there is any. A window that a write is to know of is listed before the READ
    /// is sent, and so seen by it.
    #[inline]
    fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Finds the first window of the object that overlaps the write, at or behind `index`.
    fn find(&self, object: usize, write: Written, index: usize) -> Option<Found> {
        let listed = self.listed.lock();
        let mut behind = listed.iter().enumerate().skip(index);
        behind.find_map(|(index, listed)| {
            let listed = listed.as_ref().filter(|listed| {
                listed.object == object && listed.start < write.end && write.start < listed.end
            })?;
            Some(Found {
                index,
                start: listed.start,
                end: listed.end,
                number: listed.number,
                window: listed.window.clone(),
            })
        })
    }
}

struct Found {
    index: usize,
    start: i64,
    end: i64,
    number: u64,
    window: Arc<Window>,
}

impl Engine {
    /// Lists the window of a read from `start` to `end`, so that writes of the daemon find it.
    /// `None` where there is no room.
    pub(crate) fn list_window(
        &self,
        object: &Arc<Object>,
        start: i64,
        end: i64,
        window: &Arc<Window>,
    ) -> Option<ListedWindow> {
        let windows = &self.windows;
        let mut listed = windows.listed.lock();
        let index = match listed.iter().position(Option::is_none) {
            Some(index) => index,
            None if listed.len() < MOST => {
                listed.push(None, GFP_ATOMIC).ok()?;
                listed.len() - 1
            }
            None => return None,
        };
        let number = windows.next.load(Ordering::Relaxed);
        let entry = Listed {
            object: address(object),
            start,
            end,
            number,
            window: window.clone(),
        };
        *listed.get_mut(index)? = Some(entry);
        windows.next.store(number + 1, Ordering::SeqCst);
        windows.count.fetch_add(1, Ordering::SeqCst);
        Some(ListedWindow {
            object: object.clone(),
            index,
        })
    }

    /// Returns the moment, for [`Engine::fill_windows`] after the write that now begins. `None`
    /// where there is no window.
    #[inline]
    pub(crate) fn before_write(&self) -> Option<Before> {
        let windows = &self.windows;
        (!windows.is_empty()).then(|| Before(windows.next.load(Ordering::SeqCst)))
    }

    /// Copies what was written into the windows that are open onto it, and shuts those of which it
    /// is not known any more that they have what the file has.
    ///
    /// `source` is over what was to be written, and `before` of the moment before that. Process
    /// context; may sleep.
    #[inline]
    pub(crate) fn fill_windows(
        &self,
        object: &Object,
        write: Written,
        before: Option<Before>,
        source: &IovIterSource<'_>,
    ) {
        if !self.windows.is_empty() {
            self.fill_each(object, write, before, Some(source));
        }
    }

    /// Shuts all windows of an object: its reads read from the file what they wait for.
    pub(super) fn shut_windows(&self, object: &Object) {
        if !self.windows.is_empty() {
            let all = Written {
                start: 0,
                end: i64::MAX,
                is_whole: false,
            };
            self.fill_each(object, all, None, None);
        }
    }

    #[inline(never)]
    fn fill_each(
        &self,
        object: &Object,
        write: Written,
        before: Option<Before>,
        source: Option<&IovIterSource<'_>>,
    ) {
        let mut index = 0;
        while let Some(found) = self.windows.find(address(object), write, index) {
            index = found.index + 1;
            let Some(mut view) = found.window.look() else {
                continue;
            };
            let is_before = before.is_some_and(|before| found.number < before.0);
            match Filling::of(found.start, found.end, view.left(), write, is_before) {
                Filling::Nothing => {}
                Filling::Fill { skip, len } => {
                    let filled = source.map_or(0, |source| {
                        let mut source = source.duplicate();
                        source.advance(skip);
                        view.fill(&mut source, len)
                    });
                    if filled < len {
                        view.shut();
                    }
                }
                Filling::Shut => view.shut(),
            }
        }
    }
}

impl Drop for ListedWindow {
    fn drop(&mut self) {
        let Some(engine) = self.object.engine() else {
            return;
        };
        let taken = {
            let mut listed = engine.windows.listed.lock();
            listed.get_mut(self.index).and_then(Option::take)
        };
        engine.windows.count.fetch_sub(1, Ordering::SeqCst);
        drop(taken);
    }
}

/// Returns a number that tells objects apart that are there at the same time.
#[inline]
fn address(object: &Object) -> usize {
    core::ptr::from_ref(object) as usize
}
