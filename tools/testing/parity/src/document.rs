// SPDX-License-Identifier: GPL-2.0
//! The list of intended differences as a table in reStructuredText, for `Documentation/parity.rst`.

use std::fmt::Write as _;

use crate::intended::{Intended, Values};

/// Between these two lines of the document stands what is generated.
pub const BEGIN: &str = ".. begin of what cachefiles-parity document prints";
/// The second of them.
pub const END: &str = ".. end of what cachefiles-parity document prints";

/// The names of some of the rows.
fn some(rows: &[Values]) -> String {
    const MOST: usize = 4;
    let names = rows.iter().take(MOST);
    let names: Vec<String> = names.map(|values| format!("``{}``", values.row)).collect();
    match rows.len().checked_sub(MOST) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{}, and {more} more", names.join(", ")),
    }
}

/// Columns of a line of the document.
const COLUMNS: usize = 100;

/// Writes a cell behind its mark, in as many lines as it takes.
fn wrap(text: &mut String, mark: &str, cell: &str) {
    let mut line = mark.to_owned();
    for word in cell.split_whitespace() {
        let is_first = line.len() == mark.len();
        if !is_first && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            text.push_str(&line);
            text.push('\n');
            line = " ".repeat(mark.len());
        }
        if line.len() > mark.len() {
            line.push(' ');
        }
        line.push_str(word);
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// The tables.
pub fn table(intended: &Intended) -> String {
    let mut text = String::new();
    let mut list = |heading: &[&str], rows: Vec<Vec<String>>| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, ".. list-table::\n   :header-rows: 1\n");
        let heading = heading.iter().map(|cell| (*cell).to_owned()).collect();
        for row in std::iter::once(heading).chain(rows) {
            for (number, cell) in row.iter().enumerate() {
                let mark = if number == 0 { "*" } else { " " };
                wrap(&mut text, &format!("   {mark} - "), cell);
            }
        }
        text.push('\n');
    };
    let differences = intended.difference.iter().map(|difference| {
        let rows = match &difference.unseen {
            Some(why) => format!("none: {why}"),
            None => some(&difference.rows),
        };
        vec![
            difference.what.clone(),
            difference.c.clone(),
            difference.rust.clone(),
            difference.why.clone(),
            rows,
        ]
    });
    list(
        &[
            "what",
            "C module",
            "this module",
            "why it can harm nobody",
            "rows",
        ],
        differences.collect(),
    );
    if !intended.contract.is_empty() {
        let contract = intended.contract.iter().map(|contract| {
            vec![
                format!("``{}``", contract.row),
                contract.saw.clone(),
                contract.why.clone(),
            ]
        });
        list(
            &["row", "both modules", "why it is left so"],
            contract.collect(),
        );
    }
    if !intended.unreachable.is_empty() {
        let unreachable = intended
            .unreachable
            .iter()
            .map(|unreachable| vec![unreachable.row.clone(), unreachable.why.clone()]);
        list(&["not reachable", "because"], unreachable.collect());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_the_list() {
        let document = include_str!("../../../../Documentation/parity.rst");
        let inside = document
            .split_once(BEGIN)
            .and_then(|(_, rest)| rest.split_once(END))
            .map(|(inside, _)| inside.trim());
        let wanted = table(&Intended::known().unwrap());
        assert_eq!(
            inside,
            Some(wanted.trim()),
            "put what `cachefiles-parity document` prints into Documentation/parity.rst"
        );
    }
}
