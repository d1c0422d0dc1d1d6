// SPDX-License-Identifier: GPL-2.0
//! The comparison as a table for people, and as TAP for scripts.

use std::fmt::Write as _;

use crate::compare::{Report, Row, Verdict};

/// Width of the columns: a row's name, and each of the two values.
const NAME: usize = 40;
const VALUE: usize = 30;

impl Report<'_> {
    /// The table. `full`: every value whole, not only those of rows that are not explained.
    pub fn table(&self, full: bool) -> String {
        let mut text = String::new();
        let mut section = "";
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:NAME$} {:VALUE$} {:VALUE$}", "row", "C", "Rust");
        for row in &self.rows {
            if row.section() != section {
                section = row.section();
                let _ = writeln!(text, "\n{section}");
            }
            let name = row.id.split_once('.').map_or("", |(_, name)| name);
            let word = match &row.verdict {
                Verdict::Same => "same",
                Verdict::Intended(_) => "intended difference",
                Verdict::Unexplained(_) => "UNEXPLAINED",
            };
            let _ = writeln!(
                text,
                "  {:name_width$} {:VALUE$} {:VALUE$} {word}",
                name,
                cut(&row.c),
                cut(&row.rust),
                name_width = NAME - 2
            );
            match &row.verdict {
                Verdict::Same if !full => {}
                Verdict::Same => details(&mut text, row, None),
                Verdict::Intended(why) if !full => {
                    let _ = writeln!(text, "      {why}");
                }
                Verdict::Intended(why) | Verdict::Unexplained(why) => {
                    details(&mut text, row, Some(why));
                }
            }
        }
        self.differences(&mut text);
        let (same, intended, unexplained) = self.counts();
        let _ = writeln!(
            text,
            "\n{} rows: {same} same, {intended} intended differences, {unexplained} unexplained; {} more cannot be reached",
            self.rows.len(),
            self.intended.unreachable.len()
        );
        text
    }

    fn differences(&self, text: &mut String) {
        if !self.intended.unreachable.is_empty() {
            let _ = writeln!(
                text,
                "\nWithout a row, because no probe can bring them about:"
            );
            for unreachable in &self.intended.unreachable {
                let _ = writeln!(text, "  {}: {}", unreachable.row, unreachable.why);
            }
        }
        let bad: Vec<&Row> = self
            .rows
            .iter()
            .filter(|row| matches!(row.verdict, Verdict::Unexplained(_)))
            .collect();
        if !bad.is_empty() {
            let _ = writeln!(text, "\nUnexplained:");
        }
        for row in bad {
            let _ = writeln!(text, "  {}", row.id);
        }
    }

    /// The verdicts in TAP.
    pub fn tap(&self) -> String {
        let mut text = format!("TAP version 14\n1..{}\n", self.rows.len());
        for (index, row) in self.rows.iter().enumerate() {
            let ok = match row.verdict {
                Verdict::Same | Verdict::Intended(_) => "ok",
                Verdict::Unexplained(_) => "not ok",
            };
            let _ = writeln!(text, "{ok} {} - {}", index + 1, row.id);
            if let Verdict::Unexplained(why) = &row.verdict {
                let mut lines = String::new();
                details(&mut lines, row, Some(why));
                let _ = writeln!(text, "  ---\n  message: |\n{}  ...", lines.replace('#', ""));
            }
        }
        text
    }
}

fn details(text: &mut String, row: &Row, why: Option<&str>) {
    let expect = row.expect.as_deref().unwrap_or("as the C module");
    for (label, value) in [
        ("documented", expect),
        ("C", &row.c),
        ("Rust", &row.rust),
        ("", why.unwrap_or_default()),
    ] {
        for (number, line) in value.lines().enumerate() {
            let label = if number == 0 { label } else { "" };
            let _ = writeln!(text, "      {label:10} {line}");
        }
    }
}

/// What of a value fits its column.
fn cut(value: &str) -> String {
    let line = value.replace('\n', "; ");
    if line.chars().count() <= VALUE {
        return line;
    }
    let start: String = line.chars().take(VALUE - 3).collect();
    format!("{start}...")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intended::Intended;
    use crate::record::Observation;

    fn report(intended: &Intended) -> Report<'_> {
        let seen = |row: &str, saw: &str| Observation {
            row: row.into(),
            expect: None,
            saw: saw.into(),
        };
        let c = [seen("a.long", &"x".repeat(50)), seen("a.other", "1\n2")];
        let rust = [seen("a.long", &"x".repeat(50)), seen("a.other", "3")];
        Report::new(&c, &rust, intended, false).unwrap()
    }

    #[test]
    fn the_last_line_counts() {
        let intended = Intended::parse("").unwrap();
        let table = report(&intended).table(false);
        assert!(
            table.ends_with(
                "\n2 rows: 1 same, 0 intended differences, 1 unexplained; 0 more cannot be reached\n"
            ),
            "{table}"
        );
        assert!(table.contains(&format!("{}...", "x".repeat(VALUE - 3))));
    }

    #[test]
    fn tap_has_a_line_for_each_row() {
        let intended = Intended::parse("").unwrap();
        let tap = report(&intended).tap();
        let lines: Vec<&str> = tap.lines().filter(|line| !line.starts_with(' ')).collect();
        assert_eq!(
            lines,
            [
                "TAP version 14",
                "1..2",
                "ok 1 - a.long",
                "not ok 2 - a.other"
            ]
        );
    }
}
