// SPDX-License-Identifier: GPL-2.0
//! What the module must reach, and whether it does.

use serde::Serialize;

use crate::counts::OWN;
use crate::data::Row;

/// A target, and whether it is reached.
#[derive(Debug, Default, Serialize)]
pub struct Verdict {
    /// Reached; nothing where the noise does not let that be told.
    pub reached: Option<bool>,
    /// The target, in words.
    pub target: String,
    /// It has a target of its own.
    pub own: bool,
    /// There is nothing that it must reach: it is told because it explains others.
    pub information: bool,
}

/// How many times the smallest figure over n the largest may be, where a row must be flat.
const FLAT: f64 = 1.3;

#[derive(Clone, Copy)]
enum Target {
    /// At most this.
    AtMost(f64),
    /// At most this part of C's.
    PartOfC(f64),
    /// At the largest n at most `FLAT` times the figure at the smallest.
    Flat,
    /// At the n given, at most this part of C's.
    PartOfCAt(u64, f64),
    /// At the n given, at most this times the figure at the smallest n.
    TimesSmallest(u64, f64),
    /// At least this part of C's: where more is better.
    AtLeastPartOfC(f64),
    /// At most the figure of another metric of the same row and store.
    NotAbove(&'static str),
    /// Nothing to reach: it explains others.
    Information,
    /// The module has no part in it: the same with both, but for the noise. Else the measurement is
    /// wrong.
    Alike,
}

fn target(row: &Row) -> Vec<Target> {
    use Target::*;
    match (&*row.row, &*row.metric) {
        ("cold" | "warm", metric) if metric.starts_with("floor") => vec![Alike],
        ("cold", "round trip") => vec![PartOfC(if row.store == "overlay" { 0.95 } else { 0.85 })],
        // What a user waits for is the round trip as a whole; whose instructions they are is not.
        ("cold" | "warm", metric) if metric.starts_with(OWN) => vec![Information],
        ("cold", "messages") => vec![AtMost(1.0)],
        ("warm", "random, complete" | "random, fragmented") => vec![PartOfC(0.9)],
        // overlayfs asks the file below once more, for each question.
        ("warm", metric) if metric.starts_with("seeks") && metric.ends_with("fragmented") => {
            vec![AtMost(if row.store == "overlay" { 2.0 } else { 1.0 })]
        }
        ("warm", metric) if metric.starts_with("seeks") => vec![AtMost(0.0)],
        ("mounts", "one blob, fresh") => vec![PartOfC(0.1)],
        ("mounts", "512 devices, cached, 4 threads") => vec![NotAbove("512 devices, cached")],
        ("failover", "per request") => vec![Flat],
        ("parked", _) => vec![Flat, AtMost(1500.0)],
        // They bound what others could gain.
        ("calls", _) => vec![Information],
        ("closing", _) => vec![PartOfCAt(4096, 0.1)],
        ("dropping", _) => vec![Flat],
        // On a disk the daemon's writes sleep too: there they are to be no more than C's.
        ("wakeups", "wake-ups per request, EPOLLEXCLUSIVE") if row.store == "overlay" => {
            vec![AtMost(1.0)]
        }
        ("wakeups", "round trip, EPOLLEXCLUSIVE") => vec![TimesSmallest(64, 1.2)],
        // More is better.
        ("concurrent", "rate, 4 threads") => vec![AtLeastPartOfC(1.2)],
        ("concurrent", metric) if metric.starts_with("rate") => vec![AtLeastPartOfC(1.0)],
        // A rate of 1.2, on one processor.
        ("crowd", "request, 4 threads") => vec![PartOfC(1.0 / 1.2)],
        ("duplicates", "messages per range") => vec![AtMost(1.0)],
        ("bystander", "mounting, times idle") => vec![AtMost(1.5)],
        // How many READs the daemon had at a time, and in all, explains the time.
        ("latency" | "rivals", _) if row.unit == "READs" => vec![Information],
        ("latency", metric) if metric.ends_with("readahead 1024") => {
            match metric.split(", ").next().unwrap_or_default() {
                "sequential" => vec![PartOfCAt(20, 0.15)],
                "fadvise" | "populate" => vec![PartOfCAt(20, 0.2)],
                "exec" => vec![PartOfCAt(20, 0.5)],
                "random" => vec![PartOfCAt(20, 1.01)],
                _ => Vec::new(),
            }
        }
        ("latency", metric) if metric.ends_with("async_reads") => {
            match metric.split(", ").next().unwrap_or_default() {
                "sequential" => vec![PartOfCAt(20, 0.55)],
                "fadvise" | "populate" => vec![PartOfCAt(20, 0.2)],
                "exec" => vec![PartOfCAt(20, 0.5)],
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}

/// Noise below which it does not matter where two figures are compared.
const SILENT: f64 = 0.02;
/// Noise above which "no worse than C" says nothing of what is worse than C.
const LOUD: f64 = 0.1;

/// Whether `value` is at most `limit`, where the same measured twice differs by `noise`.
fn at_most(value: f64, limit: f64, noise: f64) -> Option<bool> {
    if noise > SILENT && value * (1.0 + noise) > limit && value <= limit * (1.0 + noise) {
        return None;
    }
    Some(value <= limit)
}

/// Whether `value` is no worse than C's by more than the noise (a thousandth, where that is
/// nothing).
fn no_worse(value: f64, c: f64, noise: f64) -> Option<bool> {
    if value > c * (1.0 + noise.max(0.001)) {
        return Some(false);
    }
    (noise <= LOUD || value <= c).then_some(true)
}

/// Whether two figures of the same thing differ by no more than the noise (a hundredth, where that
/// is less: the two modules leave memory behind in other places).
fn alike(value: f64, c: f64, noise: f64) -> Option<bool> {
    Some((value - c).abs() <= c * noise.max(0.01))
}

/// Reached if all are, not if one is not.
fn both(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

/// Whether a row reaches what it must. Without a target of its own: no worse than C by more than
/// the noise of C against C (and a thousandth, where that noise is nothing).
pub fn judge(row: &Row, all: &[Row]) -> Verdict {
    let targets = target(row);
    // A single turn has no noise to be judged by.
    let noise = if row.noise.is_nan() {
        0.0
    } else {
        row.noise.max(row.other_noise)
    };
    match targets[..] {
        [Target::Alike] => {
            return Verdict {
                reached: alike(row.other.median, row.c.median, noise),
                target: "as with C".into(),
                ..Verdict::default()
            };
        }
        [Target::Information] => {
            return Verdict {
                information: true,
                ..Verdict::default()
            };
        }
        _ => {}
    }
    let same = |other: &&Row| {
        (&other.row, &other.metric, &other.store) == (&row.row, &row.metric, &row.store)
    };
    let curve = || all.iter().filter(same).chain([row]);
    let smallest = curve().min_by_key(|other| other.n).unwrap_or(row);
    let is_largest = curve().all(|other| other.n <= row.n);
    let at_smallest = smallest.n.unwrap_or_default();
    let mut words = Vec::new();
    let mut reached = Some(true);
    for target in targets {
        let (limit, text) = match target {
            Target::AtMost(limit) => (limit, format!("at most {limit}")),
            Target::PartOfC(part) => (part * row.c.median, format!("at most {part:.2} of C")),
            Target::PartOfCAt(n, part) if row.n == Some(n) => {
                (part * row.c.median, format!("at most {part} of C"))
            }
            // Of a curve, the judgement stands at its end.
            Target::Flat if is_largest && row.n > smallest.n => (
                FLAT * smallest.other.median,
                format!("at most {FLAT} of n = {at_smallest}"),
            ),
            Target::TimesSmallest(n, times) if row.n == Some(n) => (
                times * smallest.other.median,
                format!("at most {times} of n = {at_smallest}"),
            ),
            Target::NotAbove(metric) => {
                let other = all.iter().find(|other| {
                    (&*other.row, &*other.metric, &other.store) == (&row.row, metric, &row.store)
                });
                let Some(other) = other else { continue };
                // As little more as two turns of the same differ.
                let limit = other.other.median * (1.0 + noise.clamp(0.001, SILENT));
                (limit, format!("not above {metric}"))
            }
            Target::AtLeastPartOfC(part) => {
                reached = both(
                    reached,
                    at_most(part * row.c.median, row.other.median, noise),
                );
                words.push(format!("at least {part:.2} of C"));
                continue;
            }
            _ => continue,
        };
        // What C does matters only where it is compared with.
        let noise = match target {
            Target::PartOfC(_) | Target::PartOfCAt(..) => noise,
            _ if row.other_noise.is_nan() => 0.0,
            _ => row.other_noise,
        };
        reached = both(reached, at_most(row.other.median, limit, noise));
        words.push(text);
    }
    if words.is_empty() {
        return Verdict {
            reached: no_worse(row.other.median, row.c.median, noise),
            target: "not above C".into(),
            ..Verdict::default()
        };
    }
    Verdict {
        reached,
        target: words.join(", "),
        own: true,
        information: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_leaves_a_comparison_open_only_within_it() {
        assert_eq!(at_most(99.0, 100.0, 0.0), Some(true));
        assert_eq!(at_most(101.0, 100.0, 0.01), Some(false));
        assert_eq!(at_most(101.0, 100.0, 0.05), None);
        assert_eq!(at_most(80.0, 100.0, 0.5), None);
        assert_eq!(at_most(120.0, 100.0, 0.5), None);
        assert_eq!(at_most(60.0, 100.0, 0.5), Some(true));
        assert_eq!(at_most(160.0, 100.0, 0.5), Some(false));
    }

    #[test]
    fn within_the_noise_is_no_worse_unless_it_is_loud() {
        assert_eq!(no_worse(99.0, 100.0, 0.0), Some(true));
        assert_eq!(no_worse(101.0, 100.0, 0.0), Some(false));
        assert_eq!(no_worse(104.0, 100.0, 0.05), Some(true));
        assert_eq!(no_worse(106.0, 100.0, 0.05), Some(false));
        assert_eq!(no_worse(106.0, 100.0, 0.5), None);
        assert_eq!(no_worse(94.0, 100.0, 0.5), Some(true));
        assert_eq!(no_worse(0.0, 0.0, 0.0), Some(true));
    }

    #[test]
    fn a_floor_is_wrong_if_it_depends_on_the_module() {
        assert_eq!(alike(100.5, 100.0, 0.0), Some(true));
        assert_eq!(alike(102.0, 100.0, 0.0), Some(false));
        assert_eq!(alike(98.0, 100.0, 0.0), Some(false));
        assert_eq!(alike(98.0, 100.0, 0.05), Some(true));
    }

    #[test]
    fn one_missed_target_is_enough() {
        assert_eq!(both(Some(true), Some(false)), Some(false));
        assert_eq!(both(None, Some(false)), Some(false));
        assert_eq!(both(None, Some(true)), None);
    }
}
