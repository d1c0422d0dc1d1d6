// SPDX-License-Identifier: GPL-2.0
//! Counts instructions. Under QEMU's `-icount shift=0` the time stamp counter steps by one with
//! each instruction, and runs on while the processor is idle. An idle thread therefore keeps it
//! busy, at the lowest priority, and what that thread has executed is taken off: what is left was
//! executed by everybody else, kernel threads and interrupts included.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::raw;

/// Turns of the idle thread's loop between two looks at the counter.
const CALIBRATION: u64 = 200_000;

/// The counter, and the idle thread, which ends with it.
pub struct Meter {
    turns: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    /// Instructions in a thousand turns of the idle thread's loop.
    per_thousand: u64,
}

/// A moment.
#[derive(Clone, Copy)]
pub struct Mark {
    ticks: u64,
    turns: u64,
}

/// One piece of the idle thread's loop. Its counter stays true wherever it is interrupted.
#[inline(never)]
fn spin(turns: &AtomicU64) {
    for _ in 0..CALIBRATION {
        let turns = std::hint::black_box(turns);
        turns.store(turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

impl Meter {
    /// Starts the idle thread. There is to be one at a time.
    pub fn start() -> Result<Self> {
        let own = AtomicU64::new(0);
        // The smallest of several: an interrupt only ever adds.
        let per_thousand = (0..16)
            .map(|_| {
                let start = raw::ticks();
                spin(&own);
                (raw::ticks() - start) * 1000 / CALIBRATION
            })
            .min()
            .unwrap_or_default();
        ensure!(
            (1000..100_000).contains(&per_thousand),
            "the counter does not count instructions: {per_thousand} in a thousand turns; is this -icount shift=0?"
        );
        let turns = Arc::new(AtomicU64::new(0));
        let ended = Arc::new(AtomicBool::new(false));
        let meter = Self {
            turns: Arc::clone(&turns),
            ended: Arc::clone(&ended),
            per_thousand,
        };
        std::thread::Builder::new()
            .name("idle".into())
            .spawn(move || {
                raw::only_when_idle().expect("SCHED_IDLE needs no rights");
                while !ended.load(Ordering::Relaxed) {
                    spin(&turns);
                }
            })?;
        Ok(meter)
    }

    /// Now.
    pub fn mark(&self) -> Mark {
        Mark {
            turns: self.turns.load(Ordering::Relaxed),
            ticks: raw::ticks(),
        }
    }

    /// Instructions executed since, but for the idle thread's.
    pub fn since(&self, start: Mark) -> u64 {
        let now = self.mark();
        let idle = (now.turns - start.turns) * self.per_thousand / 1000;
        (now.ticks - start.ticks).saturating_sub(idle)
    }

    /// What a call costs.
    pub fn cost<T>(&self, call: impl FnOnce() -> T) -> (u64, T) {
        let start = self.mark();
        let value = call();
        (self.since(start), value)
    }

    /// Waits until nothing but the idle thread runs: everybody else waits for something.
    pub fn quiesce(&self) {
        let mut still = 0;
        while still < 3 {
            let start = self.mark();
            std::thread::sleep(Duration::from_millis(4));
            let all = self.mark().ticks - start.ticks;
            // A few timer interrupts, and this loop.
            still = if self.since(start) < all / 8 {
                still + 1
            } else {
                0
            };
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}
