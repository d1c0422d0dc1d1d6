// SPDX-License-Identifier: GPL-2.0

//! What happens to requests because time passes, and nothing else does.
//!
//! One piece of delayed work for a cache, queued only while a request waits for it. It looks at the
//! requests batch by batch, and drops the lock in between.

use super::engine::Engine;
use super::request::RequestNode;
use super::table::Table;
use super::time::{Expiry, Tick, GRAINS_IN_SECOND, PERIOD};
use super::BATCH;
use crate::cache::object::Object;
use kernel::sync::Arc;
use kernel_ext::delayed_work::Delayed;
use kernel_ext::errno::ETIMEDOUT;
use kernel_ext::task;

/// Ticks of the kernel's clock in a grain.
fn ticks_in_grain() -> usize {
    (task::ticks(1) / GRAINS_IN_SECOND as usize).max(1)
}

/// Returns the time in grains, as requests note it.
pub(super) fn grain() -> u32 {
    // Wraps around after 34 years.
    (task::jiffies() / ticks_in_grain()) as u32
}

impl Delayed for Engine {
    fn run(engine: Arc<Engine>) {
        Engine::tick(&engine);
    }
}

impl Engine {
    /// Starts the clock: requests are looked at after a period, unless the cache is dead.
    fn start_clock(engine: &Arc<Self>, table: &mut Table) {
        Self::start_clock_in(engine, table, PERIOD);
    }

    fn start_clock_in(engine: &Arc<Self>, table: &mut Table, grains: u32) {
        if table.set_alarm(grain(), grains) {
            // No error: the clock is a part of it.
            let _ = engine
                .clock
                .start(engine, grains as usize * ticks_in_grain());
        }
    }

    /// Starts the clock for a request that was just made: it is looked at when its time is over.
    pub(super) fn start_timeout_of(object: &Object, table: &mut Table) {
        if let Some(engine) = object.cache().engine() {
            let grains = table.timeout().saturating_add(1);
            Self::start_clock_in(engine, table, grains);
        }
    }

    /// Gives every request so many seconds to be answered, from when it was made, or, for a READ
    /// ahead, from when somebody first waited for it; 0 is for ever.
    /// That goes for those that are on their way, too.
    ///
    /// Starts the clock for these only: with none, as before `bind`, it is not started.
    pub(crate) fn set_timeout(engine: &Arc<Self>, seconds: u32) {
        let mut guard = engine.table.lock();
        let (mut slots, table) = guard.slots();
        // A day of them fits well.
        table.set_timeout(task::ticks(seconds).div_ceil(ticks_in_grain()) as u32);
        if seconds != 0 && slots.at_or_behind(0).is_some() {
            Self::start_clock_in(engine, table, 0);
        }
    }

    /// Starts the clock of an object's cache, as [`Engine::start_clock`].
    pub(super) fn start_clock_of(object: &Object, table: &mut Table) {
        if let Some(engine) = object.cache().engine() {
            Self::start_clock(engine, table);
        }
    }

    /// Stops the clock. The cache is dead, so that it is not started again.
    pub(crate) fn stop_clock(&self) {
        self.clock.cancel_sync();
    }

    fn tick(engine: &Arc<Self>) {
        let timeout = {
            let mut guard = engine.table.lock();
            guard.data().alarm_rings();
            guard.data().timeout()
        };
        let now = grain();
        let (mut from, mut again) = (Some(0), None::<u32>);
        while let Some(id) = from {
            let mut ready = 0;
            let mut due = [const { None }; BATCH];
            let mut places = due.iter_mut();
            from = engine.table.lock().for_each(id, BATCH, |at, states| {
                let (id, request) = (at.id(), at.shared());
                let Some(state) = request.state(states) else {
                    return;
                };
                let (tick, left) = Table::tick(at, state, request.since(), now, timeout);
                if let Some(left) = left {
                    again = Some(again.map_or(left, |again| again.min(left)));
                }
                match tick {
                    Tick::Nothing => {}
                    Tick::Ready => ready += 1,
                    Tick::Reopen | Tick::Overdue => {
                        if let Some(place) = places.next() {
                            *place = Some((tick, id, request.object.clone()));
                        }
                    }
                }
            });
            engine.notifier.requests_ready(ready);
            for (tick, id, object) in due.into_iter().flatten() {
                if tick == Tick::Overdue {
                    engine.expire(id, &object, now);
                } else {
                    super::reopen::queue(object.as_arc_borrow());
                }
            }
            task::cond_resched();
        }
        if let Some(grains) = again {
            Self::start_clock_in(engine, engine.table.lock().data(), grains.max(1));
        }
    }

    /// Ends a request of the object that was not answered in time.
    fn expire(&self, id: u32, object: &Arc<Object>, now: u32) {
        let mut guard = self.table.lock();
        let expired = Self::with_guard(&mut guard, object, |slots, table, state| {
            let mut at = slots.at(id)?;
            // Else the id has gone to another request, which is not this old.
            let is_ours = Arc::ptr_eq(&at.shared().object, object);
            let node: Arc<RequestNode> = at.node().into();
            let since = node.shared().since();
            let expiry = is_ours.then(|| table.expire(at.locked(), state, since, now))??;
            Some((expiry, node))
        });
        let Ok(Some((expiry, node))) = expired else {
            return;
        };
        match expiry {
            Expiry::Fail => {
                let taken = Self::take(&mut guard, object, id);
                drop(guard);
                drop(taken);
                node.shared().complete(Err(ETIMEDOUT));
            }
            Expiry::AskAgain => {
                let expired = Self::with_guard(&mut guard, object, |slots, table, state| {
                    let again = table.expire_open(slots, state, id);
                    (again, slots.remove(id), state.has_close())
                });
                drop(guard);
                node.shared().complete(Err(ETIMEDOUT));
                // No error: the object is of this cache.
                let Ok((again, _removed, closes)) = expired else {
                    return;
                };
                if closes {
                    self.finish_stale_closes(object);
                }
                if again {
                    super::reopen::queue(object.as_arc_borrow());
                }
            }
            Expiry::Release => {
                drop(guard);
                node.shared().complete(Ok(()));
            }
        }
        kernel_ext::log::warn!("The daemon did not answer a request in time");
    }
}
