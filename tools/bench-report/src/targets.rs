// SPDX-License-Identifier: GPL-2.0
//! What the module must reach, and whether it does.

use serde::Serialize;

use crate::data::Row;

/// A target, and whether it is reached.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// Reached.
    pub reached: bool,
    /// The target, in words.
    pub target: String,
}

/// How many times the smallest figure over n the largest may be, where a row must be flat.
const FLAT: f64 = 1.3;

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
    /// Says how something comes about: not judged.
    Shown,
}

fn target(row: &Row) -> Option<Vec<Target>> {
    use Target::*;
    Some(match (&*row.row, &*row.metric) {
        ("cold", "round trip") => vec![PartOfC(if row.store == "overlay" { 0.95 } else { 0.85 })],
        ("cold" | "warm", metric) if metric.starts_with("floor") => vec![Shown],
        ("warm", "random, complete" | "random, fragmented") => vec![PartOfC(0.9)],
        ("mounts", "one blob, fresh") => vec![PartOfC(0.1)],
        ("failover", "per request") => vec![Flat],
        ("parked", _) => vec![Flat, AtMost(1500.0)],
        ("closing", "close 256 fds") => vec![PartOfCAt(4096, 0.1)],
        ("dropping", _) => vec![Flat],
        ("wakeups", "wake-ups per request, EPOLLEXCLUSIVE") => vec![AtMost(1.0)],
        ("wakeups", "round trip, EPOLLEXCLUSIVE") => vec![TimesSmallest(64, 1.2)],
        ("concurrent", "rate, 4 threads") => vec![AtLeastPartOfC(1.2)],
        ("concurrent", metric) if metric.starts_with("rate") => {
            vec![AtLeastPartOfC(1.0 - margin(row)?)]
        }
        ("duplicates", "messages per range") => vec![AtMost(1.0)],
        ("bystander", "mounting, times idle") => vec![AtMost(1.5)],
        ("bystander", _) => vec![Shown],
        _ => Vec::new(),
    })
}

/// What two measurements of the same may differ by. A single turn does not tell.
fn margin(row: &Row) -> Option<f64> {
    (!row.noise.is_nan()).then(|| row.noise.max(0.001))
}

/// Whether a row reaches what it must. Without a target of its own: no worse than C by more than the
/// noise of C against C (and a thousandth, where that noise is nothing).
pub fn judge(row: &Row, all: &[Row]) -> Option<Verdict> {
    let targets = target(row)?;
    if targets.is_empty() {
        let margin = margin(row)?;
        return Some(Verdict {
            reached: row.other.median <= row.c.median * (1.0 + margin),
            target: "not above C".into(),
        });
    }
    let same = |other: &&Row| {
        (&other.row, &other.metric, &other.store) == (&row.row, &row.metric, &row.store)
    };
    let smallest = all.iter().filter(same).min_by_key(|other| other.n);
    let largest = all.iter().filter(same).max_by_key(|other| other.n);
    let mut words = Vec::new();
    let mut reached = true;
    for target in targets {
        let (limit, text) = match target {
            Target::AtMost(limit) => (limit, format!("at most {limit}")),
            Target::PartOfC(part) => (part * row.c.median, format!("at most {part} of C")),
            Target::PartOfCAt(n, part) if row.n == Some(n) => {
                (part * row.c.median, format!("at most {part} of C"))
            }
            // Of a curve, the judgement stands at its end.
            Target::Flat if largest.is_some_and(|last| last.n == row.n) && row.n > Some(1) => (
                FLAT * smallest?.other.median,
                format!("at most {FLAT} of n = {}", smallest?.n?),
            ),
            Target::TimesSmallest(n, times) if row.n == Some(n) => (
                times * smallest?.other.median,
                format!("at most {times} of n = {}", smallest?.n?),
            ),
            Target::AtLeastPartOfC(part) => {
                reached &= row.other.median >= part * row.c.median;
                words.push(format!("at least {part:.2} of C"));
                continue;
            }
            _ => continue,
        };
        reached &= row.other.median <= limit;
        words.push(text);
    }
    (!words.is_empty()).then(|| Verdict {
        reached,
        target: words.join(", "),
    })
}
