// SPDX-License-Identifier: GPL-2.0
//! The table, for a terminal and as Markdown.

use std::fmt::Write;

use crate::data::Row;

/// The columns of the shorter tables, without the spreads.
const SHORT: [usize; 8] = [0, 1, 2, 3, 4, 6, 8, 9];

/// The columns where `other` is compared with C.
fn heads(other: &str) -> [String; 10] {
    [
        "row",
        "figure",
        "store",
        "n",
        "C",
        "spread",
        other,
        "spread",
        &format!("C / {other}"),
        "C / C noise",
    ]
    .map(str::to_owned)
}

/// A figure with as many digits as tell something.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1e7 => format!("{:.2}M", value / 1e6),
        size if size >= 1e5 => format!("{:.1}k", value / 1e3),
        size if size >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

fn percent(value: f64) -> String {
    if value.is_nan() {
        "-".into()
    } else {
        format!("{:.1} %", 100.0 * value)
    }
}

fn cells(row: &Row) -> [String; 10] {
    [
        row.row.clone(),
        format!("{} ({})", row.metric, row.unit),
        row.store.clone(),
        row.n.map_or(String::new(), |n| n.to_string()),
        number(row.c.median),
        percent(row.c.spread),
        number(row.other.median),
        percent(row.other.spread),
        format!("{:.2}", row.ratio),
        percent(row.noise),
    ]
}

fn verdict(row: &Row) -> String {
    if row.verdict.information {
        return "-".into();
    }
    let reached = match row.verdict.reached {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "? (noise)",
    };
    format!("{reached}: {}", row.verdict.target)
}

/// For a terminal.
pub fn text(rows: &[Row], other: &str) -> String {
    let heads = heads(other);
    let table: Vec<_> = rows.iter().map(cells).collect();
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| {
            table
                .iter()
                .map(|row| row[column].len())
                .max()
                .unwrap_or(0)
                .max(heads[column].len())
        })
        .collect();
    let mut text = String::new();
    let mut line = |cells: &[String], verdict: &str| {
        for (column, cell) in cells.iter().enumerate() {
            let width = widths[column];
            // Names to the left, numbers to the right.
            let _ = if column < 3 {
                write!(text, "{cell:<width$}  ")
            } else {
                write!(text, "{cell:>width$}  ")
            };
        }
        let _ = writeln!(text, "{verdict}");
    };
    line(&heads, "target");
    for (row, cells) in rows.iter().zip(&table) {
        line(cells, &verdict(row));
    }
    text
}

/// As Markdown.
pub fn markdown(title: &str, rows: &[Row], other: &str) -> String {
    let heads = heads(other);
    let mut text = String::from("<!-- SPDX-License-Identifier: GPL-2.0 -->\n\n");
    if !title.is_empty() {
        let _ = writeln!(text, "{title}\n");
    }
    let _ = writeln!(
        text,
        "| {} | target |\n|{}",
        heads.join(" | "),
        "---|".repeat(heads.len() + 1)
    );
    for row in rows {
        let _ = writeln!(text, "| {} | {} |", cells(row).join(" | "), verdict(row));
    }
    text
}

/// How many rows reach what they must.
pub fn count(rows: &[Row]) -> String {
    let mut counts = [0; 3];
    for row in rows.iter().filter(|row| !row.verdict.information) {
        counts[match row.verdict.reached {
            Some(true) => 0,
            Some(false) => 1,
            None => 2,
        }] += 1;
    }
    let [yes, no, open] = counts;
    format!("{yes} reached, {no} not, {open} open (the noise is larger than the difference)")
}

/// The figures that have a target of their own, and those that are worse than C.
pub fn summary(title: &str, rows: &[Row], other: &str) -> String {
    let short = |cells: &[String; 10]| SHORT.map(|column| cells[column].as_str()).join(" | ");
    let mut text = format!("{title}\n\nOf all figures: {}.\n\n", count(rows));
    let _ = writeln!(text, "| {} | target |", short(&heads(other)));
    let _ = writeln!(text, "|{}", "---|".repeat(SHORT.len() + 1));
    let listed = |row: &&Row| row.verdict.own || row.verdict.reached == Some(false);
    for row in rows.iter().filter(listed) {
        let _ = writeln!(text, "| {} | {} |", short(&cells(row)), verdict(row));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_name_the_module_that_was_compared() {
        for text in [
            text(&[], "before"),
            markdown("", &[], "before"),
            summary("", &[], "before"),
        ] {
            assert!(text.contains("C / before"), "{text}");
            assert!(!text.contains("ours"), "{text}");
        }
    }
}
