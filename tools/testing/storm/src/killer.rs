// SPDX-License-Identifier: GPL-2.0
//! When to kill: spread over the reading, at a moment with READs in flight.

use std::time::{Duration, Instant};

use anyhow::Result;
use cachefiles_daemon::stats::Snapshot;
use rand::Rng;
use rand::rngs::StdRng;
use rustix::process::Pid;

use crate::daemon::Daemon;

/// A kill that is due waits this long for a READ in flight, then does without.
const WAIT_FOR_FLIGHT: Duration = Duration::from_millis(200);

/// The killer.
#[derive(Debug)]
pub struct Killer {
    left: u64,
    done: u64,
    /// How many READs a round is expected to take.
    expected_reads: u64,
    /// Number of rounds begun.
    rounds: u64,
    random: StdRng,
    plan: Option<Plan>,
}

/// The next kill.
#[derive(Debug)]
struct Plan {
    /// Counters when the last worker died. They stand still until the next one serves.
    base: Snapshot,
    /// The worker that died last.
    dead: Option<Pid>,
    /// READs that the next worker shall have completed by then.
    after_reads: u64,
    /// Since when the kill is due.
    due: Option<Instant>,
    /// A moment longer, so that the kills hit different steps of the work.
    extra: Duration,
}

impl Killer {
    /// A killer with `kills` to spend on a round of about `expected_reads` READs.
    pub fn new(kills: u64, expected_reads: u64, random: StdRng) -> Self {
        Self {
            left: kills,
            done: 0,
            expected_reads,
            rounds: 0,
            random,
            plan: None,
        }
    }

    /// Kills so far.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Whether all kills were made.
    pub fn finished(&self) -> bool {
        self.left == 0
    }

    /// A new round with a new daemon begins, whose counters start from zero.
    pub fn new_round(&mut self) {
        self.rounds += 1;
        self.plan = None;
    }

    /// Kills the worker if it is time to. Called often.
    pub fn step(&mut self, daemon: &mut Daemon) -> Result<()> {
        if self.finished() {
            return Ok(());
        }
        let stats = daemon.stats()?;
        let plan = match &mut self.plan {
            Some(plan) => plan,
            None => {
                let plan = self.plan_next(Snapshot::default(), None);
                self.plan.insert(plan)
            }
        };
        let completed = stats
            .reads_completed
            .saturating_sub(plan.base.reads_completed);
        if completed < plan.after_reads {
            return Ok(());
        }
        let due = plan.due.get_or_insert_with(Instant::now).elapsed();
        let in_flight = stats.reads.saturating_sub(plan.base.reads) > completed;
        if due < plan.extra || (!in_flight && due < plan.extra + WAIT_FOR_FLIGHT) {
            return Ok(());
        }
        let dead = plan.dead;
        let Some(worker) = daemon.worker().filter(|worker| Some(*worker) != dead) else {
            return Ok(());
        };
        if daemon.kill_worker(worker)? {
            self.left -= 1;
            self.done += 1;
            self.plan = Some(self.plan_next(daemon.stats()?, Some(worker)));
        }
        Ok(())
    }

    fn plan_next(&mut self, base: Snapshot, dead: Option<Pid>) -> Plan {
        // Over the whole of the first round; what is left then, over ever smaller parts of the
        // others, so that an estimate that is too high does not lead to a long row of rounds.
        let span = self.expected_reads / (self.rounds * self.rounds).max(1);
        // At least one READ per worker, so that the readers get on whatever the number of kills.
        let share = (span.saturating_sub(base.reads_completed) / (self.left + 1)).max(1);
        let after_reads = self
            .random
            .random_range(share.div_ceil(2)..=share + share / 2);
        let extra = Duration::from_micros(self.random.random_range(0..5000));
        Plan {
            base,
            dead,
            after_reads,
            due: None,
            extra,
        }
    }
}
