// SPDX-License-Identifier: GPL-2.0
//! Fetching ahead what a trace says: as READs are, unit by unit, and only what is not there yet.
//!
//! It begins anew whenever a blob is opened, by this daemon or by the next one, and passes over
//! what the cache has. A READ that comes for a unit meanwhile waits for it, and is served by it.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::Duration;

use cachefiles_protocol::{align_range, page_size};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, sleep};

use super::engine::Engine;
use super::failure::{cause, is_final, is_full};
use super::object::{Object, fill_alone};
use super::units::Claim;

/// How much is fetched at a time of what has no units, in bytes.
const STEP: u64 = 1 << 20;

/// For how long a source that says when to come back is waited for at most.
const PATIENCE: Duration = Duration::from_secs(120);

impl Engine {
    /// Notes a READ for the trace.
    pub(super) fn note(&self, object_id: u32, off: u64, len: u64) {
        if !self.traces.records() {
            return;
        }
        let end = off.checked_add(len);
        if let (Some(object), Some(end)) = (self.object(object_id), end) {
            self.traces.note(&object.name, off..end);
        }
    }

    /// Begins to fetch what is wanted of an object that has just been opened.
    pub(super) fn begin_prefetch(self: &Arc<Self>, object: &Arc<Object>) {
        if !self.traces.wanted(&object.name).is_empty() {
            let (engine, object) = (Arc::clone(self), Arc::downgrade(object));
            // Nobody waits for it: it ends with the object, or with the process.
            drop(tokio::spawn(async move { engine.prefetch(&object).await }));
        }
    }

    async fn prefetch(&self, object: &Weak<Object>) -> Result<(), JoinError> {
        let Some((name, key)) = object.upgrade().map(|it| (it.name.clone(), it.key.clone())) else {
            return Ok(());
        };
        let mut bytes = 0;
        for range in self.traces.wanted(&name) {
            let Some(steps) = object.upgrade().and_then(|it| self.steps(&it, range)) else {
                continue;
            };
            for step in steps {
                match self.ahead(object, step).await? {
                    Ok(Some(fetched)) => bytes += fetched,
                    Ok(None) => return Ok(()),
                    Err(error) => {
                        tracing::warn!("{key}: not fetched ahead any further: {}", cause(&error));
                        return Ok(());
                    }
                }
            }
        }
        tracing::info!("{key}: {bytes} bytes were fetched ahead");
        Ok(())
    }

    /// The ranges that are fetched at a time for a range of an object. Made one by one: there may
    /// be any number of them, as a source says how large a blob is.
    fn steps(
        &self,
        object: &Object,
        range: &Range<u64>,
    ) -> Option<impl Iterator<Item = Range<u64>> + Send + use<>> {
        let end = object.blob.size().checked_next_multiple_of(page_size())?;
        let end = range.end.min(end);
        let range = align_range(range.start, end.checked_sub(range.start)?)?;
        let size = self.unit_of(object).unwrap_or(STEP);
        let numbers = range.start / size..range.end.div_ceil(size);
        let step = move |number: u64| {
            let begin = (number * size).max(range.start);
            begin..(number * size).saturating_add(size).min(range.end)
        };
        Some(numbers.map(step))
    }

    /// The size of the units that READs of an object are widened to, if they are.
    fn unit_of(&self, object: &Object) -> Option<u64> {
        let unit = object.blob.unit().max(self.policy.unit);
        (unit > page_size()).then_some(unit)
    }

    /// Fetches one step, and gives how much that was; none if the object is closed.
    async fn ahead(
        &self,
        object: &Weak<Object>,
        step: Range<u64>,
    ) -> Result<io::Result<Option<u64>>, JoinError> {
        let deadline = Instant::now() + PATIENCE;
        let mut failures = 0;
        loop {
            // Never closed: then it is not fetched ahead, and that is all.
            let Ok(turn) = self.traces.ahead.acquire().await else {
                return Ok(Ok(None));
            };
            let Some(strong) = object.upgrade() else {
                return Ok(Ok(None));
            };
            let (unit, units) = (self.unit_of(&strong), Arc::clone(&strong.units));
            let (blob, stats) = (Arc::clone(&strong.blob), Arc::clone(&self.stats));
            // The object is not to be held while others, or its source, are waited for.
            drop(strong);
            let mut claim = match unit {
                Some(unit) => units.claim(&step, unit).await,
                None => Claim::alone(step.clone()),
            };
            let (weak, wanted) = (Weak::clone(object), step.clone());
            let fetched =
                spawn_blocking(move || fill_alone(&weak, &*blob, &wanted, &mut claim, &stats));
            let error = match fetched.await? {
                Ok(fetched) => return Ok(Ok(fetched)),
                Err(error) => error,
            };
            failures += 1;
            let wait = self.policy.wait_before(failures, &error, deadline);
            if is_final(&error) || is_full(&error) || failures >= self.policy.tries {
                return Ok(Err(error));
            }
            // Others may be at other sources meanwhile.
            drop(turn);
            sleep(wait).await;
        }
    }
}
