// SPDX-License-Identifier: GPL-2.0

//! What happens to requests because time passes, and nothing else does.
//!
//! One piece of delayed work for a cache, queued only while a request waits for it. It looks at the
//! requests batch by batch, and the lock is let go of in between.

use super::engine::Engine;
use super::table::{Table, Tick};
use crate::object::Object;
use kernel::sync::Arc;
use kext::delayed_work::Delayed;
use kext::task;

/// Requests that are looked at before others get the lock.
const BATCH: usize = 64;

/// Seconds from one look to the next.
const PERIOD: u32 = 1;

/// The time in seconds, as requests note it.
pub(super) fn second() -> u16 {
    // Wraps around, and is only ever compared with what was noted seconds ago.
    (task::jiffies() / task::ticks(1).max(1)) as u16
}

impl Delayed for Engine {
    fn run(engine: Arc<Engine>) {
        Engine::tick(&engine);
    }
}

impl Engine {
    /// Sees that there is a look at the requests after a period, unless the cache is dead.
    pub(super) fn start_clock(engine: &Arc<Self>, table: &mut Table) {
        let (now, ticks) = (task::jiffies(), task::ticks(PERIOD));
        if table.set_alarm(now as u32, ticks as u32) {
            // No error: the clock is a part of it.
            let _ = engine.clock.start(engine, ticks);
        }
    }

    /// The same, of the cache of an object.
    pub(super) fn start_clock_of(object: &Object, table: &mut Table) {
        if let Some(engine) = object.cache().engine() {
            Self::start_clock(engine, table);
        }
    }

    /// Nothing happens by itself any more. The cache is dead, so that nobody starts the clock again.
    pub(crate) fn stop_clock(&self) {
        self.clock.cancel_sync();
    }

    fn tick(engine: &Arc<Self>) {
        engine.table.lock().data().alarm_rings();
        let now = second();
        let (mut from, mut waiting) = (Some(0), false);
        while let Some(id) = from {
            let mut ready = 0;
            let mut due = [const { None }; BATCH];
            let mut places = due.iter_mut();
            from = engine.table.lock().for_each(id, BATCH, |at, states| {
                let Some(state) = at.shared().state(states) else {
                    return;
                };
                match Table::tick(at, state, now) {
                    Tick::Nothing => {}
                    Tick::Wait => waiting = true,
                    Tick::Ready => ready += 1,
                    Tick::Reopen => {
                        if let Some(place) = places.next() {
                            *place = Some(at.shared().object.clone());
                        }
                    }
                }
            });
            engine.notifier.requests_ready(ready);
            for object in due.into_iter().flatten() {
                super::reopen::queue(object.as_arc_borrow());
            }
            task::cond_resched();
        }
        if waiting {
            Self::start_clock(engine, engine.table.lock().data());
        }
    }
}
