// SPDX-License-Identifier: GPL-2.0
//! One observation: which row of the contract, what the contract says, what was seen.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::Write;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

/// A line of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The row, as `section.what.detail`.
    pub row: String,
    /// What the documented interface promises; none where its word is "as the C module does".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// What was seen, in a normal form that does not depend on the run.
    pub saw: String,
}

impl Observation {
    /// The line that a record has of it.
    pub fn to_line(&self) -> Result<String> {
        serde_json::to_string(self).context("encoding an observation")
    }

    /// The observation in a line, or `None` for a line that is something else.
    pub fn from_line(line: &str) -> Option<Self> {
        serde_json::from_str(line.trim()).ok()
    }
}

/// Where a probe writes what it sees. Each line is out at once: the probe may hang after it.
pub struct Record<W: Write> {
    out: W,
    section: &'static str,
    seen: BTreeSet<String>,
}

impl<W: Write> Record<W> {
    /// A record whose rows all belong to `section`.
    pub fn new(section: &'static str, out: W) -> Self {
        Self {
            out,
            section,
            seen: BTreeSet::new(),
        }
    }

    /// Records a row for which the documentation names the value.
    pub fn row(&mut self, id: impl Display, expect: &str, saw: impl Display) -> Result<()> {
        self.write(id, Some(expect.to_owned()), saw)
    }

    /// Records a row for which the documentation says no more than that it is as with the C module.
    pub fn as_c(&mut self, id: impl Display, saw: impl Display) -> Result<()> {
        self.write(id, None, saw)
    }

    fn write(&mut self, id: impl Display, expect: Option<String>, saw: impl Display) -> Result<()> {
        let row = format!("{}.{id}", self.section);
        ensure!(self.seen.insert(row.clone()), "{row} is recorded twice");
        let saw = saw.to_string();
        let line = Observation { row, expect, saw }.to_line()?;
        writeln!(self.out, "{line}").context("writing the record")?;
        self.out.flush().context("writing the record")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = Vec::new();
        let mut record = Record::new("open", &mut out);
        record.row("EPERM", "EPERM", "ok").unwrap();
        record.as_c("lines", "a\nb").unwrap();
        assert!(record.row("EPERM", "EPERM", "ok").is_err());
        let text = String::from_utf8(out).unwrap();
        let read: Vec<_> = text.lines().filter_map(Observation::from_line).collect();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].row, "open.EPERM");
        assert_eq!(read[0].expect.as_deref(), Some("EPERM"));
        assert_eq!(
            (read[1].expect.as_deref(), read[1].saw.as_str()),
            (None, "a\nb")
        );
    }

    #[test]
    fn other_lines_are_no_observations() {
        for line in ["", "vm: job ended with status 0", "{}", "{\"row\":\"x\"}"] {
            assert_eq!(Observation::from_line(line), None);
        }
    }
}
