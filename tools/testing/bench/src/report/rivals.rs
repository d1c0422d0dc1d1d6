// SPDX-License-Identifier: GPL-2.0
//! The table of what a user would take in place of on-demand EROFS: a column for each way.

use std::fmt::Write;

use crate::data::Line;
use crate::noise::median;
use crate::table::number;

/// The row that is told here.
pub const ROW: &str = "rivals";

/// As Markdown; nothing if it was not measured. Ways and figures come in the order in which they
/// were measured.
pub fn page(title: &str, lines: &[Line]) -> Option<String> {
    let (mut ways, mut figures) = (Vec::new(), Vec::new());
    for line in lines.iter().filter(|line| line.row == ROW) {
        if !ways.contains(&&line.module) {
            ways.push(&line.module);
        }
        let figure = (&line.metric, &line.unit);
        if !figures.contains(&figure) {
            figures.push(figure);
        }
    }
    if ways.is_empty() {
        return None;
    }
    let mut text = format!("{title}\n\n| figure |");
    for way in &ways {
        let _ = write!(text, " {way} |");
    }
    let _ = writeln!(text, "\n|{}", "---|".repeat(ways.len() + 1));
    for (metric, unit) in figures {
        let _ = write!(text, "| {metric} ({unit}) |");
        for way in &ways {
            let values: Vec<_> = lines
                .iter()
                .filter(|line| line.row == ROW && line.metric == *metric && line.module == **way)
                .map(|line| line.value)
                .collect();
            let _ = match values.is_empty() {
                true => write!(text, " - |"),
                false => write!(text, " {} |", number(median(&values))),
            };
        }
        text.push('\n');
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::parse;

    #[test]
    fn each_way_is_a_column() {
        let line = |module: &str, metric: &str, value: u32| {
            format!(
                r#"{{"module":"{module}","store":"ram","boot":0,"round":0,"row":"rivals","metric":"{metric}","value":{value},"unit":"ms"}}"#
            )
        };
        assert!(page("when", &[]).is_none());
        let text = [
            line("c", "cold", 200),
            line("c", "warm", 300),
            line("nbd, far", "cold", 110),
            line("nbd, far", "cold", 130),
        ]
        .join("\n");
        assert_eq!(
            page("when", &parse(&text).unwrap()).unwrap(),
            "when\n\n| figure | c | nbd, far |\n|---|---|---|\n\
             | cold (ms) | 200 | 120 |\n| warm (ms) | 300 | - |\n"
        );
    }
}
