// SPDX-License-Identifier: GPL-2.0
//! What is printed: progress while it runs, the summary at the end.

use std::fmt;
use std::time::Duration;

use cachefiles_daemon::stats::Snapshot;

use crate::reader::Totals;

/// What happened, over all rounds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    /// Of all readers.
    pub totals: Totals,
    /// Of all daemons.
    pub stats: Snapshot,
    /// Files that all readers together should have read.
    pub files_wanted: u64,
    /// Readers that did not get through.
    pub readers_failed: usize,
    /// Daemons killed.
    pub kills: u64,
    /// Kills asked for.
    pub kills_wanted: u64,
    /// Number of rounds.
    pub rounds: u32,
    /// Time of it all.
    pub elapsed: Duration,
}

impl Outcome {
    /// Everything that is off.
    pub fn faults(&self) -> Vec<&'static str> {
        let checks = [
            (self.totals.errors > 0, "readers saw I/O errors"),
            (self.totals.bad > 0, "checksums differ"),
            (self.readers_failed > 0, "a reader did not get through"),
            (
                self.totals.files + self.totals.errors != self.files_wanted,
                "not every file was read",
            ),
            (
                self.kills < self.kills_wanted,
                "fewer daemons were killed than asked for",
            ),
            (
                self.stats.reads == 0,
                "no READ was served: the cache was not cold",
            ),
            (self.stats.opens == 0, "no OPEN was served"),
        ];
        checks
            .into_iter()
            .filter_map(|(off, text)| off.then_some(text))
            .collect()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { totals, stats, .. } = self;
        let equal = if totals.bad == 0 && totals.files == self.files_wanted {
            "yes"
        } else {
            "NO"
        };
        writeln!(
            f,
            "files read                 {} of {}",
            totals.files, self.files_wanted
        )?;
        writeln!(
            f,
            "bytes read                 {} ({})",
            totals.bytes,
            mebibytes(totals.bytes)
        )?;
        writeln!(f, "checksums equal            {equal}")?;
        writeln!(f, "READs served               {}", stats.reads_completed)?;
        writeln!(f, "READs delivered            {}", stats.reads)?;
        writeln!(f, "READs delivered again      {}", stats.reads_again)?;
        writeln!(
            f,
            "bytes written to the cache {} ({})",
            stats.bytes,
            mebibytes(stats.bytes)
        )?;
        writeln!(f, "OPENs served               {}", stats.opens)?;
        writeln!(
            f,
            "daemons killed             {} of {}",
            self.kills, self.kills_wanted
        )?;
        writeln!(f, "daemons started            {}", stats.workers)?;
        writeln!(f, "I/O errors seen by readers {}", totals.errors)?;
        write!(
            f,
            "rounds, time               {}, {:.1} s",
            self.rounds,
            self.elapsed.as_secs_f64()
        )
    }
}

/// Adds the counters of a round to those before.
pub fn add_stats(sum: Snapshot, one: Snapshot) -> Snapshot {
    Snapshot {
        opens: sum.opens + one.opens,
        opens_refused: sum.opens_refused + one.opens_refused,
        reads: sum.reads + one.reads,
        reads_again: sum.reads_again + one.reads_again,
        reads_completed: sum.reads_completed + one.reads_completed,
        reads_failed: sum.reads_failed + one.reads_failed,
        bytes: sum.bytes + one.bytes,
        closes: sum.closes + one.closes,
        retries: sum.retries + one.retries,
        culled: sum.culled + one.culled,
        workers: sum.workers + one.workers,
        opens_verified: sum.opens_verified + one.opens_verified,
        reads_corrupt: sum.reads_corrupt + one.reads_corrupt,
        bytes_asked: sum.bytes_asked + one.bytes_asked,
    }
}

/// Adds the totals of a round to those before.
pub fn add_totals(sum: Totals, one: Totals) -> Totals {
    Totals {
        files: sum.files + one.files,
        bytes: sum.bytes + one.bytes,
        bad: sum.bad + one.bad,
        errors: sum.errors + one.errors,
    }
}

/// One line on how things stand.
pub fn progress(outcome: &Outcome) -> String {
    let Outcome { totals, stats, .. } = outcome;
    format!(
        "{:5.0} s  round {}  files {}/{}  {}  READs {} (again {})  killed {}/{}  errors {}",
        outcome.elapsed.as_secs_f64(),
        outcome.rounds,
        totals.files,
        outcome.files_wanted,
        mebibytes(totals.bytes),
        stats.reads,
        stats.reads_again,
        outcome.kills,
        outcome.kills_wanted,
        totals.errors + totals.bad,
    )
}

fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Outcome {
        Outcome {
            totals: Totals {
                files: 8,
                bytes: 3 << 19,
                bad: 0,
                errors: 0,
            },
            stats: Snapshot {
                reads: 5,
                opens: 2,
                ..Snapshot::default()
            },
            files_wanted: 8,
            kills: 3,
            kills_wanted: 3,
            rounds: 1,
            ..Outcome::default()
        }
    }

    #[test]
    fn each_thing_that_is_off_is_named() {
        assert_eq!(good().faults(), Vec::<&str>::new());
        type Case = (&'static str, fn(&mut Outcome));
        let cases: [Case; 7] = [
            ("I/O errors", |o| (o.totals.errors, o.totals.files) = (1, 7)),
            ("checksums", |o| o.totals.bad = 1),
            ("did not get through", |o| o.readers_failed = 1),
            ("not every file", |o| o.totals.files = 7),
            ("fewer daemons", |o| o.kills = 2),
            ("no READ", |o| o.stats.reads = 0),
            ("no OPEN", |o| o.stats.opens = 0),
        ];
        for (text, spoil) in cases {
            let mut outcome = good();
            spoil(&mut outcome);
            let faults = outcome.faults();
            assert!(
                faults.len() == 1 && faults.iter().all(|fault| fault.contains(text)),
                "{text}: {faults:?}"
            );
        }
    }

    #[test]
    fn the_summary_says_no_when_a_file_is_missing() {
        let mut outcome = good();
        assert!(
            outcome
                .to_string()
                .contains("checksums equal            yes")
        );
        assert!(outcome.to_string().contains("1572864 (1.5 MiB)"));
        outcome.totals.files = 7;
        assert!(
            outcome
                .to_string()
                .contains("checksums equal            NO")
        );
    }
}
