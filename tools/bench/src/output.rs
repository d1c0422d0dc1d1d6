// SPDX-License-Identifier: GPL-2.0
//! What is measured goes out as lines of JSON, each by itself.

use std::io::Write;

use serde::Serialize;

/// What every measurement of a run has in common.
#[derive(Clone, Serialize)]
pub struct Labels {
    /// The module: `c`, `rust`, or another build.
    pub module: String,
    /// What lies under the cache.
    pub store: String,
    /// Number of the boot.
    pub boot: u32,
    /// Number of the round in this boot.
    pub round: u32,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    labels: &'a Labels,
    row: &'a str,
    metric: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    value: f64,
    unit: &'a str,
}

/// Takes measurements.
pub struct Output {
    /// Who is being measured.
    pub labels: Labels,
}

impl Output {
    /// One figure. `n` is the size that the row is drawn over, if it is.
    pub fn put(&self, row: &str, metric: &str, n: Option<usize>, value: f64, unit: &str) {
        let line = Line {
            labels: &self.labels,
            row,
            metric,
            n: n.map(|n| n as u64),
            value,
            unit,
        };
        let text = serde_json::to_string(&line).expect("plain numbers and text");
        // A closed output ends the run at the next line that matters: its last.
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    /// Instructions.
    pub fn instructions(&self, row: &str, metric: &str, n: Option<usize>, value: f64) {
        self.put(row, metric, n, value, "instructions");
    }
}

/// The middle of some figures.
pub fn median(mut values: Vec<u64>) -> f64 {
    values.sort_unstable();
    let n = values.len();
    match n {
        0 => f64::NAN,
        _ if n % 2 == 1 => values[n / 2] as f64,
        _ => (values[n / 2 - 1] + values[n / 2]) as f64 / 2.0,
    }
}
