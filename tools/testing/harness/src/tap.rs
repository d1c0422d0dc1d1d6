// SPDX-License-Identifier: GPL-2.0
//! The Test Anything Protocol, version 14: one line a test on standard output, and for a failure a
//! YAML block with what was seen.

use std::io::{self, Write};

/// How a test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// Not as it should: what was expected and what was seen.
    Failed(String),
    /// Not run, or given up for a reason that is nobody's fault.
    Skipped(String),
}

/// Writes the report, flushing each line: the machine may die at any moment.
pub struct Report<W: Write> {
    out: W,
    number: usize,
}

impl<W: Write> Report<W> {
    /// Starts a report of `count` tests.
    pub fn start(mut out: W, count: usize) -> io::Result<Self> {
        write!(out, "TAP version 14\n1..{count}\n")?;
        out.flush()?;
        Ok(Self { out, number: 0 })
    }

    /// Reports one test. `todo` is the reason for which a failure is expected.
    pub fn result(&mut self, name: &str, outcome: &Outcome, todo: Option<&str>) -> io::Result<()> {
        self.number += 1;
        let ok = if matches!(outcome, Outcome::Failed(_)) {
            "not ok"
        } else {
            "ok"
        };
        write!(self.out, "{ok} {} - {name}", self.number)?;
        match (outcome, todo) {
            (Outcome::Skipped(reason), _) => writeln!(self.out, " # SKIP {}", one_line(reason))?,
            (_, Some(reason)) => writeln!(self.out, " # TODO {}", one_line(reason))?,
            _ => writeln!(self.out)?,
        }
        if let Outcome::Failed(seen) = outcome {
            writeln!(self.out, "  ---\n  message: |")?;
            for line in seen.lines() {
                writeln!(self.out, "    {line}")?;
            }
            writeln!(self.out, "  ...")?;
        }
        self.out.flush()
    }

    /// A remark that is no result.
    pub fn comment(&mut self, text: &str) -> io::Result<()> {
        for line in text.lines() {
            writeln!(self.out, "# {line}")?;
        }
        self.out.flush()
    }

    /// Gives up: the machine is in a state in which no further result means anything.
    pub fn bail_out(&mut self, reason: &str) -> io::Result<()> {
        writeln!(self.out, "Bail out! {}", one_line(reason))?;
        self.out.flush()
    }
}

/// The text on one line, and without the character that starts a directive.
fn one_line(text: &str) -> String {
    text.replace('\n', "; ").replace('#', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(outcome: &Outcome, todo: Option<&str>) -> String {
        let mut out = Vec::new();
        let mut report = Report::start(&mut out, 1).unwrap();
        report.result("name", outcome, todo).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_pass_is_one_line() {
        assert_eq!(
            written(&Outcome::Passed, None),
            "TAP version 14\n1..1\nok 1 - name\n"
        );
    }

    #[test]
    fn a_failure_carries_its_message() {
        let text = written(&Outcome::Failed("a\nb".into()), Some("C: #1"));
        assert_eq!(
            text,
            "TAP version 14\n1..1\nnot ok 1 - name # TODO C: 1\n  ---\n  message: |\n    a\n    b\n  ...\n"
        );
    }

    #[test]
    fn a_skip_is_ok_with_a_reason() {
        assert!(
            written(&Outcome::Skipped("why".into()), None).ends_with("ok 1 - name # SKIP why\n")
        );
    }
}
