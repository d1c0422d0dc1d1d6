// SPDX-License-Identifier: GPL-2.0
//! Two records side by side: with each other, with the documented contract, and with the list of
//! intended differences.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::intended::{Intended, Known};
use crate::record::Observation;

/// What stands for a value where a record does not have the row.
pub const NOT_SEEN: &str = "not seen";

/// What a row comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Both modules do the same, and what is documented.
    Same,
    /// The values are listed, for this reason.
    Intended(String),
    /// Nothing explains what was seen, for this reason.
    Unexplained(String),
}

/// A row of the table.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name.
    pub id: String,
    /// What is documented.
    pub expect: Option<String>,
    /// What was seen with the C module.
    pub c: String,
    /// What was seen with the Rust module.
    pub rust: String,
    /// What that comes to.
    pub verdict: Verdict,
}

/// The comparison of two records.
pub struct Report<'a> {
    /// All rows, in the order of the records.
    pub rows: Vec<Row>,
    /// The list that it was made with.
    pub intended: &'a Intended,
}

impl<'a> Report<'a> {
    /// Compares two files. `partial`: what neither of them has is not missed.
    pub fn of_files(c: &Path, rust: &Path, intended: &'a Intended, partial: bool) -> Result<Self> {
        let read = |path: &Path| -> Result<Vec<Observation>> {
            let text =
                fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            let rows: Vec<_> = text.lines().filter_map(Observation::from_line).collect();
            ensure!(!rows.is_empty(), "{} has no observation", path.display());
            Ok(rows)
        };
        Self::new(&read(c)?, &read(rust)?, intended, partial)
    }

    /// Compares two records.
    pub fn new(
        c: &[Observation],
        rust: &[Observation],
        intended: &'a Intended,
        partial: bool,
    ) -> Result<Self> {
        let known = intended.by_row()?;
        let of_rust: BTreeMap<&str, &Observation> =
            rust.iter().map(|seen| (seen.row.as_str(), seen)).collect();
        let of_c: BTreeMap<&str, &Observation> =
            c.iter().map(|seen| (seen.row.as_str(), seen)).collect();
        let mut rows = Vec::new();
        let only_rust = rust
            .iter()
            .filter(|seen| !of_c.contains_key(seen.row.as_str()));
        for seen in c.iter().chain(only_rust) {
            let id = seen.row.as_str();
            let value = |record: &BTreeMap<&str, &Observation>| {
                record.get(id).map_or(NOT_SEEN, |seen| &seen.saw).to_owned()
            };
            let (c, rust) = (value(&of_c), value(&of_rust));
            let verdict = judge(seen.expect.as_deref(), &c, &rust, known.get(id));
            let (id, expect) = (id.to_owned(), seen.expect.clone());
            rows.push(Row {
                id,
                expect,
                c,
                rust,
                verdict,
            });
        }
        if !partial {
            for (id, known) in &known {
                if !of_c.contains_key(id) && !of_rust.contains_key(id) {
                    rows.push(Row {
                        id: (*id).to_owned(),
                        expect: None,
                        c: NOT_SEEN.into(),
                        rust: NOT_SEEN.into(),
                        verdict: judge(None, NOT_SEEN, NOT_SEEN, Some(known)),
                    });
                }
            }
        }
        // Sections stay together, in the order in which they were first met.
        let mut order: Vec<String> = Vec::new();
        for row in &rows {
            if !order.iter().any(|section| section == row.section()) {
                order.push(row.section().to_owned());
            }
        }
        rows.sort_by_key(|row| order.iter().position(|section| section == row.section()));
        Ok(Self { rows, intended })
    }

    /// How many rows are the same, differ as listed, and are not explained.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |wanted: fn(&Verdict) -> bool| {
            self.rows.iter().filter(|row| wanted(&row.verdict)).count()
        };
        (
            count(|verdict| *verdict == Verdict::Same),
            count(|verdict| matches!(verdict, Verdict::Intended(_))),
            count(|verdict| matches!(verdict, Verdict::Unexplained(_))),
        )
    }

    /// Whether everything is explained.
    pub fn is_good(&self) -> bool {
        self.counts().2 == 0
    }
}

impl Row {
    /// The first word of its name.
    pub fn section(&self) -> &str {
        self.id.split('.').next().unwrap_or_default()
    }
}

fn judge(expect: Option<&str>, c: &str, rust: &str, known: Option<&Known<'_>>) -> Verdict {
    let same = c == rust && expect.is_none_or(|expect| expect == c);
    match known {
        Some(known) if known.c == c && known.rust == rust => Verdict::Intended(known.why.into()),
        Some(known) => Verdict::Unexplained(format!(
            "not as listed: C {:?}, Rust {:?}",
            known.c, known.rust
        )),
        None if same => Verdict::Same,
        None if c == rust => Verdict::Unexplained("neither does what is documented".into()),
        None => Verdict::Unexplained("they differ, and no intended difference is listed".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(row: &str, expect: Option<&str>, saw: &str) -> Observation {
        Observation {
            row: row.into(),
            expect: expect.map(Into::into),
            saw: saw.into(),
        }
    }

    const LIST: &str = "
        [[difference]]
        what = 'w'
        c = 'c'
        rust = 'r'
        why = 'y'
        rows = [{ row = 'a.listed', c = '1', rust = '2' }]";

    fn verdicts(c: &[Observation], rust: &[Observation], list: &str) -> Vec<(String, Verdict)> {
        let intended = Intended::parse(list).unwrap();
        let report = Report::new(c, rust, &intended, false).unwrap();
        report
            .rows
            .iter()
            .map(|row| (row.id.clone(), row.verdict.clone()))
            .collect()
    }

    fn one(c: &[Observation], rust: &[Observation], list: &str) -> Verdict {
        let verdicts = verdicts(c, rust, list);
        assert_eq!(verdicts.len(), 1, "{verdicts:?}");
        verdicts[0].1.clone()
    }

    fn unexplained(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Unexplained(_))
    }

    #[test]
    fn equal_and_documented_is_the_same() {
        for expect in [None, Some("x")] {
            let row = [seen("a.b", expect, "x")];
            assert_eq!(one(&row, &row, ""), Verdict::Same);
        }
    }

    #[test]
    fn both_against_the_contract_is_unexplained() {
        let row = [seen("a.b", Some("y"), "x")];
        assert!(unexplained(&one(&row, &row, "")));
        let list = "[[contract]]\nrow = 'a.b'\nsaw = 'x'\nwhy = 'y'";
        assert_eq!(one(&row, &row, list), Verdict::Intended("y".into()));
    }

    #[test]
    fn a_difference_is_unexplained_unless_listed() {
        let (c, rust) = ([seen("a.b", Some("1"), "1")], [seen("a.b", Some("1"), "2")]);
        assert!(unexplained(&one(&c, &rust, "")));
        let (c, rust) = ([seen("a.listed", None, "1")], [seen("a.listed", None, "2")]);
        assert_eq!(one(&c, &rust, LIST), Verdict::Intended("w".into()));
    }

    #[test]
    fn a_listed_difference_that_is_gone_is_unexplained() {
        let row = [seen("a.listed", None, "1")];
        assert!(unexplained(&one(&row, &row, LIST)));
        assert!(unexplained(&one(&[], &[], LIST)));
    }

    #[test]
    fn a_row_that_one_record_lacks_is_unexplained() {
        let row = [seen("a.b", None, "1")];
        assert!(unexplained(&one(&row, &[], "")));
        assert!(unexplained(&one(&[], &row, "")));
    }

    #[test]
    fn sections_stay_together() {
        let c = [seen("a.1", None, "x"), seen("b.1", None, "x")];
        let rust = [
            seen("a.1", None, "x"),
            seen("b.1", None, "x"),
            seen("a.2", None, "x"),
        ];
        let rows: Vec<_> = verdicts(&c, &rust, "")
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        assert_eq!(rows, ["a.1", "a.2", "b.1"]);
    }
}
