// SPDX-License-Identifier: GPL-2.0
//! The run as a whole: rounds of reading from an empty cache, until the kills are used up.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::daemon::Daemon;
use crate::killer::Killer;
use crate::manifest;
use crate::readers::Readers;
use crate::report::{self, Outcome};
use crate::restorer::Restorer;
use crate::{Restore, StormArgs, world};

/// How often the state is looked at. Short, as a READ is in flight for about as long.
const TICK: Duration = Duration::from_millis(2);

/// How many READs a cold round takes, about: one for most files, and in large ones one for each
/// read-ahead window. Too many is harmless: what kills are left then, go into another round.
fn expected_reads(files: u64, bytes: u64) -> u64 {
    files * 3 / 4 + bytes / (128 << 10)
}

/// Runs everything; true if nothing was off.
pub fn run(args: &StormArgs) -> Result<bool> {
    let files = u64::try_from(manifest::load(&args.manifest)?.len())?;
    let expected_reads = expected_reads(files, blob_bytes(args)?);
    let random = StdRng::seed_from_u64(args.seed);
    let mut storm = Storm {
        args,
        files,
        begun: Instant::now(),
        killer: Killer::new(args.kills, expected_reads, random),
        past: Outcome {
            kills_wanted: args.kills,
            ..Outcome::default()
        },
    };
    world::insert_module(&args.module, &args.parameters)?;
    let read = world::mount_cache(args).and_then(|()| storm.rounds());
    if read.is_err() {
        // As far as it goes, so that the machine can be used further; what counts is the first
        // error.
        world::detach(&args.mount_point);
        world::detach(&args.cache_dir);
        let _ = world::remove_module();
    }
    read?;
    let mut outcome = storm.past;
    outcome.elapsed = storm.begun.elapsed();
    if !args.keep {
        world::unmount_at(&args.cache_dir)?;
        world::remove_module()?;
    }
    println!("{outcome}");
    let faults = outcome.faults();
    println!(
        "result: {}",
        if faults.is_empty() {
            "PASS".to_owned()
        } else {
            format!("FAIL ({})", faults.join("; "))
        }
    );
    Ok(faults.is_empty())
}

/// Size of all blobs of the image.
fn blob_bytes(args: &StormArgs) -> Result<u64> {
    let names = std::iter::once(&args.fsid).chain(&args.devices);
    let sizes = names.map(|name| {
        let path = args.blobs.join(name);
        let metadata =
            std::fs::metadata(&path).with_context(|| format!("no blob {}", path.display()))?;
        Ok(metadata.len())
    });
    sizes.sum()
}

struct Storm<'a> {
    args: &'a StormArgs,
    files: u64,
    begun: Instant,
    killer: Killer,
    /// What the rounds before this one added up to.
    past: Outcome,
}

impl Storm<'_> {
    fn rounds(&mut self) -> Result<()> {
        loop {
            self.past.rounds += 1;
            let last = self.round()?;
            if last {
                return Ok(());
            }
        }
    }

    /// One round from an empty cache; true if it was the last.
    fn round(&mut self) -> Result<bool> {
        world::wipe_cache(self.args)?;
        let mut daemon = Daemon::start(self.args)?;
        self.killer.new_round();
        let restorer = if self.args.restore == Restore::Racing {
            Some(Restorer::start(daemon.device()?))
        } else {
            None
        };
        let mut result = self.read_all(&mut daemon);
        if let Some(restorer) = restorer {
            let stopped = restorer.stop();
            result = result.and_then(|outcome| stopped.map(|()| outcome));
        }
        let last = self.killer.finished()
            || self.past.rounds >= self.args.max_rounds
            || !matches!(&result, Ok(outcome) if outcome.totals.errors + outcome.totals.bad == 0);
        let mut outcome = match result {
            Ok(outcome) => outcome,
            Err(error) => {
                println!("the daemon's log ends with:\n{}", daemon.log_tail());
                // Before the daemon goes, so that nothing is left that needs it.
                world::detach(&self.args.mount_point);
                return Err(error);
            }
        };
        if last && self.args.keep {
            daemon.leave_running();
            self.past = outcome;
            return Ok(true);
        }
        // With its last unmount the daemon gets CLOSEs, so it must still be there.
        world::unmount_at(&self.args.mount_point)?;
        outcome.stats = report::add_stats(self.past.stats, daemon.stats()?);
        daemon.stop()?;
        self.past = outcome;
        Ok(last)
    }

    /// Mounts the image and has it read, killing meanwhile; how things stand then, over all rounds.
    fn read_all(&mut self, daemon: &mut Daemon) -> Result<Outcome> {
        world::mount_image(self.args)?;
        let seed = self.args.seed.wrapping_add(u64::from(self.past.rounds));
        let mut readers = Readers::start(
            self.args.readers,
            self.args.overlap(),
            &self.args.mount_point,
            &self.args.manifest,
            seed,
        )?;
        let mut printed = Instant::now();
        let mut moved = (Instant::now(), 0, 0);
        loop {
            let finished = readers.finished()?;
            daemon.check()?;
            let now = self.now(daemon, &readers)?;
            if finished {
                println!("{}", report::progress(&now));
                return Ok(now);
            }
            if printed.elapsed() >= Duration::from_secs(1) {
                println!("{}", report::progress(&now));
                printed = Instant::now();
            }
            if (now.totals.bytes, now.stats.reads_completed) != (moved.1, moved.2) {
                moved = (Instant::now(), now.totals.bytes, now.stats.reads_completed);
            } else if moved.0.elapsed() > Duration::from_secs(self.args.stall) {
                bail!(
                    "no progress for {} s\n{}{}",
                    self.args.stall,
                    report::progress(&now),
                    readers.whereabouts()
                );
            }
            self.killer.step(daemon)?;
            std::thread::sleep(TICK);
        }
    }

    /// The rounds before and this one so far.
    fn now(&self, daemon: &Daemon, readers: &Readers) -> Result<Outcome> {
        Ok(Outcome {
            totals: report::add_totals(self.past.totals, readers.totals()),
            stats: report::add_stats(self.past.stats, daemon.stats()?),
            files_wanted: self.past.files_wanted + self.files * u64::from(self.args.overlap()),
            readers_failed: self.past.readers_failed + readers.failures(),
            kills: self.killer.done(),
            elapsed: self.begun.elapsed(),
            ..self.past
        })
    }
}
