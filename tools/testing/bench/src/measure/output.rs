// SPDX-License-Identifier: GPL-2.0
//! What is measured goes out as lines of JSON, each by itself.

use std::io::Write;

use anyhow::Result;
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

/// What was executed between two marks, to be looked up in the counts of the emulator's plugin.
#[derive(Serialize)]
struct Section<'a> {
    #[serde(flatten)]
    labels: &'a Labels,
    /// Number of the mark at its end.
    section: u32,
    row: &'a str,
    metric: &'a str,
    /// Requests in it.
    per: usize,
}

/// Where the functions of modules are, from now on.
#[derive(Serialize)]
struct Loaded {
    /// Address in hexadecimal, name, and module.
    symbols: Vec<[String; 3]>,
}

/// Takes measurements.
pub struct Output {
    /// Who is being measured.
    pub labels: Labels,
    /// Marks so far, if a plugin of the emulator counts.
    pub marks: Option<u32>,
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
        emit(&line);
    }

    /// A mark for the plugin, if there is one.
    pub fn mark(&mut self) {
        if let Some(marks) = &mut self.marks {
            crate::raw::mark();
            *marks += 1;
        }
    }

    /// That between the last two marks `per` requests of a row were executed.
    pub fn section(&self, row: &str, metric: &str, per: usize) {
        if let Some(marks) = self.marks {
            emit(&Section {
                labels: &self.labels,
                section: marks - 1,
                row,
                metric,
                per,
            });
        }
    }

    /// Where the functions of all modules are, for the plugin's counts.
    pub fn symbols(&self) -> Result<()> {
        if self.marks.is_none() {
            return Ok(());
        }
        let all = std::fs::read_to_string("/proc/kallsyms")?;
        let symbols = all
            .lines()
            .filter_map(|line| {
                let fields: Vec<_> = line.split_whitespace().collect();
                let [address, "t" | "T", name, module] = fields[..] else {
                    return None;
                };
                let module = module.trim_matches(['[', ']']);
                Some([address, name, module].map(str::to_owned))
            })
            .collect();
        emit(&Loaded { symbols });
        Ok(())
    }

    /// Instructions.
    pub fn instructions(&self, row: &str, metric: &str, n: Option<usize>, value: f64) {
        self.put(row, metric, n, value, "instructions");
    }
}

fn emit(line: &impl Serialize) {
    let text = serde_json::to_string(line).expect("plain numbers and text");
    // A closed output ends the run at the next line that matters: its last.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
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
