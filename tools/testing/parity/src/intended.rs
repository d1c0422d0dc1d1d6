// SPDX-License-Identifier: GPL-2.0
//! The list of intended differences: `intended.toml`, which says for each what the two modules do,
//! why that can harm nobody, and which rows show it with which values.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// All that is known beforehand.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intended {
    /// What differs on purpose.
    #[serde(default)]
    pub difference: Vec<Difference>,
    /// Where both modules do the same, and the documented contract says something else.
    #[serde(default)]
    pub contract: Vec<Contract>,
    /// What no probe can bring about.
    #[serde(default)]
    pub unreachable: Vec<Unreachable>,
}

/// One intended difference.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// The situation.
    pub what: String,
    /// What the C module does, in words.
    pub c: String,
    /// What the Rust module does, in words.
    pub rust: String,
    /// Why it can harm nobody.
    pub why: String,
    /// Where no row shows it: why not.
    pub unseen: Option<String>,
    /// The rows that show it.
    #[serde(default)]
    pub rows: Vec<Values>,
}

/// A row with the values that it is known to have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Values {
    /// The row.
    pub row: String,
    /// What is seen with the C module.
    pub c: String,
    /// What is seen with the Rust module.
    pub rust: String,
}

/// A row in which both modules differ from what is documented.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// The row.
    pub row: String,
    /// What is seen with both.
    pub saw: String,
    /// Why that is left so.
    pub why: String,
}

/// A part of the interface without a row.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unreachable {
    /// What would be the row.
    pub row: String,
    /// Why no probe can see it.
    pub why: String,
}

/// What is known of one row.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The value with the C module.
    pub c: &'a str,
    /// The value with the Rust module.
    pub rust: &'a str,
    /// The reason.
    pub why: &'a str,
}

impl Intended {
    /// The list that this program was built with.
    pub fn known() -> Result<Self> {
        Self::parse(include_str!("../intended.toml"))
    }

    /// A list from its text.
    pub fn parse(text: &str) -> Result<Self> {
        let list: Self = toml::from_str(text).context("the list of intended differences")?;
        for difference in &list.difference {
            ensure!(
                difference.rows.is_empty() == difference.unseen.is_some(),
                "{}: either rows show it, or it says why none does",
                difference.what
            );
        }
        list.by_row()?;
        Ok(list)
    }

    /// What is known, by row.
    pub fn by_row(&self) -> Result<BTreeMap<&str, Known<'_>>> {
        let mut rows = BTreeMap::new();
        for difference in &self.difference {
            for Values { row, c, rust } in &difference.rows {
                ensure!(c != rust, "{row}: the listed values do not differ");
                let why = &difference.what;
                let twice = rows.insert(row.as_str(), Known { c, rust, why });
                ensure!(twice.is_none(), "{row} is listed twice");
            }
        }
        for Contract { row, saw, why } in &self.contract {
            let known = Known {
                c: saw,
                rust: saw,
                why,
            };
            ensure!(
                rows.insert(row, known).is_none(),
                "{row} is listed more than once"
            );
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sound() {
        Intended::known().unwrap();
    }

    #[test]
    fn a_difference_has_rows_or_a_reason_for_none() {
        let text = "[[difference]]\nwhat='w'\nc='c'\nrust='r'\nwhy='y'\n";
        assert!(Intended::parse(text).is_err());
        assert!(Intended::parse(&format!("{text}unseen='u'\n")).is_ok());
        let rows = "rows=[{row='a.b',c='1',rust='2'}]\n";
        assert!(Intended::parse(&format!("{text}{rows}")).is_ok());
        assert!(Intended::parse(&format!("{text}{rows}unseen='u'\n")).is_err());
    }

    #[test]
    fn a_row_is_listed_once() {
        let text = "[[contract]]\nrow='a.b'\nsaw='1'\nwhy='y'\n";
        assert!(Intended::parse(text).is_ok());
        assert!(Intended::parse(&format!("{text}{text}")).is_err());
    }
}
