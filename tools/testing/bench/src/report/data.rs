// SPDX-License-Identifier: GPL-2.0
//! From single figures to medians, ratios and noise.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::noise::{median, noise, part};
use crate::targets::{self, Verdict};

/// A figure.
#[derive(Debug, Deserialize, Serialize)]
pub struct Line {
    /// The module: `c` or another.
    pub module: String,
    /// What lies under the cache.
    pub store: String,
    /// Number of the boot.
    pub boot: u32,
    /// Number of the round in the boot.
    pub round: u32,
    /// What is measured.
    pub row: String,
    /// Which figure of it.
    pub metric: String,
    /// What the row is drawn over, if it is.
    pub n: Option<u64>,
    /// The figure.
    pub value: f64,
    /// Of the figure.
    pub unit: String,
}

/// A figure with its boot and its round.
type Turn = (u32, u32, f64);

/// The figures of one module.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// The middle one.
    pub median: f64,
    /// Largest less smallest, as a part of the median.
    pub spread: f64,
    /// All, in the order of boots and rounds.
    pub values: Vec<f64>,
}

/// A line of the table.
#[derive(Debug, Serialize)]
pub struct Row {
    /// What is measured.
    pub row: String,
    /// Which figure of it.
    pub metric: String,
    /// What lies under the cache.
    pub store: String,
    /// Requests in flight, or whatever the row is drawn over.
    pub n: Option<u64>,
    /// Of the figures.
    pub unit: String,
    /// The C module.
    pub c: Sample,
    /// The one compared.
    pub other: Sample,
    /// C divided by the other, of a rate the reverse: above 1 the other is better.
    pub ratio: f64,
    /// C against C: see `noise`.
    pub noise: f64,
    /// The other against itself.
    pub other_noise: f64,
    /// What is wanted, and whether it is so.
    pub verdict: Verdict,
}

/// The lines of a file that are figures. Others may be the plugin's: marks, and symbols.
pub fn parse(text: &str) -> Result<Vec<Line>> {
    text.lines()
        .filter(|line| line.starts_with('{') && line.contains(r#""value":"#))
        .map(|line| {
            serde_json::from_str(line.trim()).with_context(|| format!("not a figure: {line}"))
        })
        .collect()
}

impl Sample {
    fn new(values: Vec<f64>) -> Self {
        let median = median(&values);
        let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
        let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self {
            median,
            spread: part(largest - smallest, median),
            values,
        }
    }
}

/// The rows that were measured of both modules, in the order in which they came.
pub fn compare(lines: &[Line], module: &str) -> Vec<Row> {
    let mut order = Vec::new();
    let mut samples: BTreeMap<_, BTreeMap<&str, Vec<Turn>>> = BTreeMap::new();
    for line in lines {
        let key = (&*line.row, &*line.metric, &*line.store, line.n);
        if !samples.contains_key(&key) {
            order.push((key, &*line.unit));
        }
        let values = samples
            .entry(key)
            .or_default()
            .entry(&line.module)
            .or_default();
        values.push((line.boot, line.round, line.value));
    }
    let sample = |key, module: &str| {
        let mut values = samples.get(&key)?.get(module)?.clone();
        values.sort_by_key(|(boot, round, _)| (*boot, *round));
        Some(Sample::new(
            values.into_iter().map(|(.., value)| value).collect(),
        ))
    };
    // Row by row, then store by store; within that as they came.
    order.sort_by_key(|((row, _, store, _), _)| {
        let first = |wanted: &dyn Fn(&Line) -> bool| lines.iter().position(wanted);
        (
            first(&|line| line.row == *row),
            first(&|line| line.store == *store),
        )
    });
    let mut rows: Vec<Row> = order
        .into_iter()
        .filter_map(|(key, unit)| {
            let (c, other) = (sample(key, "c")?, sample(key, module)?);
            let (row, metric, store, n) = key;
            Some(Row {
                row: row.into(),
                metric: metric.into(),
                store: store.into(),
                n,
                unit: unit.into(),
                ratio: if c.median == other.median {
                    1.0
                } else if unit.ends_with("/s") {
                    other.median / c.median
                } else {
                    c.median / other.median
                },
                noise: noise(&c.values),
                other_noise: noise(&other.values),
                c,
                other,
                // Some are judged by others: below, when all are there.
                verdict: Verdict::default(),
            })
        })
        .collect();
    let verdicts: Vec<_> = rows.iter().map(|row| targets::judge(row, &rows)).collect();
    for (row, verdict) in rows.iter_mut().zip(verdicts) {
        row.verdict = verdict;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(module: &str, round: u32, value: f64) -> String {
        format!(
            r#"{{"module":"{module}","store":"ram","boot":0,"round":{round},"row":"cold","metric":"round trip","value":{value},"unit":"instructions"}}"#
        )
    }

    #[test]
    fn medians_ratio_and_noise_of_turns() {
        let mut text = String::from("# progress\n");
        for (round, value) in [100.0, 110.0, 100.0, 110.0].into_iter().enumerate() {
            text += &(line("c", round as u32, value) + "\n");
            text += &(line("rust", round as u32, 50.0) + "\n");
        }
        let rows = compare(&parse(&text).unwrap(), "rust");
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].c.median, rows[0].other.median), (105.0, 50.0));
        assert_eq!(rows[0].ratio, 2.1);
        assert!(rows[0].noise > 0.0 && rows[0].other_noise == 0.0);
        assert!((rows[0].c.spread - 10.0 / 105.0).abs() < 1e-9);
    }

    #[test]
    fn what_only_one_module_has_is_no_row() {
        assert!(compare(&parse(&line("c", 0, 1.0)).unwrap(), "rust").is_empty());
    }
}
