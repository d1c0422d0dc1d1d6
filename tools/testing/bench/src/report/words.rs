// SPDX-License-Identifier: GPL-2.0
//! The few figures that the README has, each as what a user does.

use std::fmt::Write;

use crate::data::Row;
use crate::table::number;

/// A figure of the table, and what it is in the words of a user.
struct Words {
    row: &'static str,
    metric: &'static str,
    store: &'static str,
    n: Option<u64>,
    words: &'static str,
}

const WORDS: [Words; 5] = [
    Words {
        row: "cold",
        metric: "round trip",
        store: "ram",
        n: None,
        words: "reading 4 KiB that the daemon has to fetch, cache on ext4",
    },
    Words {
        row: "warm",
        metric: "random, complete",
        store: "ram",
        n: None,
        words: "reading 4 KiB that are in the cache, in random order, on ext4",
    },
    Words {
        row: "mounts",
        metric: "one blob, fresh",
        store: "ram",
        n: None,
        words: "mounting an image of one blob for the first time, cache on ext4",
    },
    Words {
        row: "failover",
        metric: "per request",
        store: "overlay",
        n: Some(65_536),
        words: "a new daemon takes over 65,536 unanswered requests, each",
    },
    Words {
        row: "parked",
        metric: "poll",
        store: "overlay",
        n: Some(65_536),
        words: "the daemon's `poll()` while 65,536 requests wait for a reopen",
    },
];

/// A table of them as Markdown. What was not measured is left out.
pub fn page(title: &str, rows: &[Row]) -> String {
    let mut text =
        format!("{title}\n\n| what is done | C | this module | ratio |\n|---|---|---|---|\n");
    for words in &WORDS {
        let found = rows.iter().find(|row| {
            row.row == words.row
                && row.metric == words.metric
                && row.store == words.store
                && row.n == words.n
        });
        let Some(row) = found else { continue };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.2} |",
            words.words,
            number(row.c.median),
            number(row.other.median),
            row.other.median / row.c.median,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{compare, parse};

    #[test]
    fn what_was_measured_is_told_in_words() {
        let line = |module: &str, value: u32| {
            format!(
                r#"{{"module":"{module}","store":"ram","boot":0,"round":0,"row":"cold","metric":"round trip","n":null,"value":{value},"unit":"instructions"}}"#
            )
        };
        let lines = parse(&[line("c", 200), line("rust", 150)].join("\n")).unwrap();
        let text = page("when", &compare(&lines, "rust"));
        assert!(text.starts_with("when\n\n|"), "{text}");
        assert!(
            text.contains("fetch, cache on ext4 | 200 | 150 | 0.75 |"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 5, "{text}");
    }
}
