// SPDX-License-Identifier: GPL-2.0
//! What the cuts of a recording come to: a line for each, and the figures of all.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::marks::Past;
use crate::medium::{Cut, Loss};
use crate::survivor::{Ranges, Survivor, Wrong, covered};

/// How much is there of what was complete.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Bytes whose READ had been complete for longer than the window.
    pub old: u64,
    /// How many of them are there.
    pub old_kept: u64,
    /// Bytes whose READ was complete for less.
    pub young: u64,
    /// How many of them are there.
    pub young_kept: u64,
    /// For how long the READ of any byte that is not there had been complete, at most.
    pub oldest_lost: Duration,
}

impl Kept {
    /// Compares what was complete with what is there.
    pub fn of(past: &Past<'_>, data: &BTreeMap<String, Ranges>, window: Duration) -> Self {
        let mut kept = Self::default();
        let now = past.now();
        for (key, reads) in past.reads() {
            let ranges = data.get(key).map(Vec::as_slice).unwrap_or_default();
            for (range, time) in reads {
                let (age, length) = (now.saturating_sub(time), range.end - range.start);
                let there = covered(&range, ranges);
                if there < length {
                    kept.oldest_lost = kept.oldest_lost.max(age);
                }
                if age > window {
                    kept.old += length;
                    kept.old_kept += there;
                } else {
                    kept.young += length;
                    kept.young_kept += there;
                }
            }
        }
        kept
    }

    fn add(&mut self, other: &Self) {
        self.old += other.old;
        self.old_kept += other.old_kept;
        self.young += other.young;
        self.young_kept += other.young_kept;
        self.oldest_lost = self.oldest_lost.max(other.oldest_lost);
    }
}

/// What was found after one cut.
#[derive(Debug, Default)]
pub struct Findings {
    /// Why the file system cannot be used or mended.
    pub unusable: Option<String>,
    /// Whether it could be mounted only after a repair.
    pub was_mended: bool,
    /// What counts as data, by blob.
    pub data: BTreeMap<String, Ranges>,
    /// What of it differs from the source.
    pub wrong: Wrong,
    /// Where it first does.
    pub first_wrong: Option<String>,
    /// Files that nobody has made.
    pub strange: Vec<String>,
    /// Whether all images were read through the module.
    pub was_read: bool,
    /// Why they could not be, or what was wrong with them.
    pub unread: Option<String>,
    /// Bytes that were fetched though they were there.
    pub fetched_again: u64,
    /// What is left of what was complete.
    pub kept: Kept,
}

impl Findings {
    /// Takes over what was found in the files.
    pub fn add(&mut self, found: Survivor) {
        self.data = found.data;
        self.wrong = found.wrong;
        self.first_wrong = found.first_wrong;
        self.strange = found.strange;
    }

    /// What is not as it is to be, in words.
    fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        if let Some(reason) = &self.unusable {
            failures.push(format!("unrepairable: {reason}"));
        }
        if let Some(place) = &self.first_wrong {
            let Wrong { bytes, zeros } = self.wrong;
            failures.push(format!("{bytes} wrong bytes, {zeros} zeros, from {place}"));
        }
        if let Some(path) = self.strange.first() {
            failures.push(format!("{} files of no blob: {path}", self.strange.len()));
        }
        if let Some(reason) = &self.unread {
            failures.push(format!("read through the module: {reason}"));
        }
        if self.fetched_again > 0 {
            failures.push(format!("{} bytes fetched again", self.fetched_again));
        }
        failures
    }
}

/// The figures of all cuts.
#[derive(Debug, Default)]
pub struct Report {
    cuts: u64,
    failed: u64,
    unusable: u64,
    mended: u64,
    wrong_cuts: u64,
    wrong: Wrong,
    read: u64,
    read_wrong: u64,
    data: u64,
    open: u64,
    lost: u64,
    kept: Kept,
}

impl Report {
    /// Adds a cut, and prints a line.
    pub fn add(&mut self, cut: &Cut, loss: &Loss, findings: Findings) {
        let ranges = findings.data.values().flatten();
        let data: u64 = ranges.map(|range| range.end - range.start).sum();
        let failures = findings.failures();
        self.cuts += 1;
        self.failed += u64::from(!failures.is_empty());
        self.unusable += u64::from(findings.unusable.is_some());
        self.mended += u64::from(findings.was_mended);
        self.wrong_cuts += u64::from(findings.wrong.bytes > 0);
        self.wrong.bytes += findings.wrong.bytes;
        self.wrong.zeros += findings.wrong.zeros;
        self.read += u64::from(findings.was_read || findings.unread.is_some());
        self.read_wrong += u64::from(findings.unread.is_some());
        self.data += data;
        self.open += loss.open;
        self.lost += loss.lost;
        self.kept.add(&findings.kept);
        let verdict = match (failures.is_empty(), findings.was_mended) {
            (true, false) => "good".to_owned(),
            (true, true) => "good, after a repair".to_owned(),
            (false, _) => format!("BAD ({})", failures.join("; ")),
        };
        println!(
            "cut {}: entries {} seed {}, {} of {} sectors lost, {} KiB of data, {} of {} KiB kept: {verdict}",
            self.cuts,
            cut.entries,
            cut.seed,
            loss.lost,
            loss.open,
            data >> 10,
            findings.kept.old_kept >> 10,
            findings.kept.old >> 10,
        );
    }

    /// Whether data was there that differs from the source.
    pub fn has_wrong_bytes(&self) -> bool {
        self.wrong.bytes > 0
    }

    /// Whether anything was not as it is to be.
    pub fn has_failures(&self) -> bool {
        self.failed > 0
    }

    /// How much is there of what had been complete for longer than the window, in percent.
    pub fn share_kept(&self) -> f64 {
        share(self.kept.old_kept, self.kept.old)
    }

    /// Prints the figures.
    pub fn print(&self) {
        let Kept {
            old,
            old_kept,
            young,
            young_kept,
            oldest_lost,
        } = self.kept;
        println!("cuts: {}, with something wrong: {}", self.cuts, self.failed);
        println!(
            "unrepairable file systems: {}, repaired before they could be mounted: {}",
            self.unusable, self.mended
        );
        println!(
            "wrong bytes: {} of {} ({} of them zeros), in {} cuts",
            self.wrong.bytes, self.data, self.wrong.zeros, self.wrong_cuts
        );
        println!(
            "read through the module: {} cuts, wrong: {}",
            self.read, self.read_wrong
        );
        println!(
            "sectors lost of those since the last flush: {} of {}",
            self.lost, self.open
        );
        println!(
            "kept of what was complete for longer than the window: {:.2} % ({old_kept} of {old} bytes)",
            self.share_kept()
        );
        println!(
            "kept of what was complete for less: {:.2} % ({young_kept} of {young} bytes)",
            share(young_kept, young)
        );
        println!(
            "the oldest of what was lost: {} ms",
            oldest_lost.as_millis()
        );
    }
}

/// A part of a whole, in percent.
fn share(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}
