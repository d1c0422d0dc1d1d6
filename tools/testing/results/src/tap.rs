// SPDX-License-Identifier: GPL-2.0
//! The Test Anything Protocol, as the programs and scripts of this tree write it.

use crate::result::{Status, TestResult, say, shortened};

/// Bytes after which no further line is added to the reason of a failure.
const ENOUGH: usize = 160;

/// Characters of a reason.
const LONGEST: usize = 200;

/// Reads the results in `text`, with the first lines that a failed test says as its reason.
///
/// A plan that is not fulfilled is a failure, and so are no plan at all and a `Bail out!`.
pub fn results(group: &str, text: &str) -> Vec<TestResult> {
    let mut results = Vec::new();
    let (mut plan, mut seen) = (None, 0);
    for item in items(text, ENOUGH) {
        match item {
            Item::Plan(count) => plan = Some(count),
            Item::BailOut(line) => {
                results.push(TestResult::fail(group, "runs to its end", line));
            }
            Item::Test(test) => {
                seen += 1;
                let reason = match test.status {
                    Status::Fail => shortened(&test.said, LONGEST),
                    _ => test.said,
                };
                results.push(TestResult::new(test.status, group, test.name, &reason));
            }
        }
    }
    match plan {
        None => results.push(TestResult::fail(
            group,
            "writes a TAP plan",
            "there is none",
        )),
        Some(plan) if plan != seen => results.push(TestResult::fail(
            group,
            "runs every test of its plan",
            &format!("{seen} of {plan}"),
        )),
        Some(_) => {}
    }
    results
}

/// Reads the failed tests in a part of a report, each with up to about `limit` bytes of what it
/// said.
pub fn failures(text: &str, limit: usize) -> Vec<(String, String)> {
    items(text, limit)
        .into_iter()
        .filter_map(|item| match item {
            Item::Test(test) if test.status == Status::Fail => {
                Some((test.name.to_owned(), test.said))
            }
            _ => None,
        })
        .collect()
}

/// A line that counts, with the indented ones behind it.
enum Item<'a> {
    Plan(usize),
    BailOut(&'a str),
    Test(Test<'a>),
}

struct Test<'a> {
    status: Status,
    name: &'a str,
    /// The reason behind a directive, or the lines that a failed test says.
    said: String,
}

fn items(text: &str, limit: usize) -> Vec<Item<'_>> {
    let mut items = Vec::new();
    let mut failing = false;
    for line in text.lines().map(|line| line.trim_end_matches('\r')) {
        if line.starts_with("    ") {
            if let (true, Some(Item::Test(test))) = (failing, items.last_mut()) {
                say(&mut test.said, line.trim_start_matches(' '), limit);
            }
        } else if !line.starts_with([' ', '#']) {
            failing = false;
            if let Some(count) = plan(line) {
                items.push(Item::Plan(count));
            } else if line.starts_with("Bail out!") {
                items.push(Item::BailOut(line));
            } else if let Some(test) = test(line) {
                failing = test.status == Status::Fail;
                items.push(Item::Test(test));
            }
        }
    }
    items
}

/// Reads `1..COUNT`. A count that is no number promises more than there can be.
fn plan(line: &str) -> Option<usize> {
    let count = line.strip_prefix("1..")?;
    let end = count.find(|c: char| !c.is_ascii_digit());
    let count = count.get(..end.unwrap_or(count.len()))?;
    (!count.is_empty()).then(|| count.parse().unwrap_or(usize::MAX))
}

/// Reads `ok NUMBER - NAME # DIRECTIVE REASON`, or the same with `not ok`.
fn test(line: &str) -> Option<Test<'_>> {
    let (status, rest) = match line.strip_prefix("not ") {
        Some(rest) => (Status::Fail, rest),
        None => (Status::Pass, line),
    };
    let rest = rest.strip_prefix("ok")?;
    if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
        return None;
    }
    let rest = rest.trim_start_matches([' ', '\t']);
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = rest.trim_start_matches([' ', '\t']);
    let name = rest.strip_prefix("- ").unwrap_or(rest);
    let directive = [" # SKIP", " # TODO"]
        .into_iter()
        .filter_map(|word| Some((name.find(word)?, word)))
        .min();
    let Some((place, word)) = directive else {
        let said = String::new();
        return Some(Test { status, name, said });
    };
    let (name, reason) = name.split_at(place);
    let reason = reason.get(word.len()..).unwrap_or_default();
    let status = match (word, status) {
        (" # SKIP", _) => Status::Skip,
        (_, Status::Fail) => Status::Todo,
        (_, status) => status,
    };
    let said = reason.trim_start_matches(' ').to_owned();
    Some(Test { status, name, said })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        let results = results("g", text);
        results.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_kind_of_end_has_its_status_and_reason() {
        let text = "TAP version 14\n1..5\nok 1 - a\n# 0.1 s\nnot ok 2 - b\n  ---\n  message: |\n    x\n\
                    \x20   y\n  ...\nok 3 - c # SKIP no disk\nnot ok 4 - d # TODO C: wrong\n    z\n\
                    ok 5 - e # TODO C: wrong\n";
        assert_eq!(
            lines(text),
            [
                "pass\tg\ta\t",
                "fail\tg\tb\tx; y",
                "skip\tg\tc\tno disk",
                "todo\tg\td\tC: wrong",
                "pass\tg\te\tC: wrong"
            ]
        );
    }

    #[test]
    fn a_console_ends_its_lines_with_a_carriage_return() {
        assert_eq!(
            lines("1..1\r\nnot ok 1 - a\r\n    x\r\n"),
            ["fail\tg\ta\tx"]
        );
    }

    #[test]
    fn a_report_that_is_cut_off_is_a_failure() {
        assert_eq!(
            lines("1..3\nok 1 - a\n"),
            [
                "pass\tg\ta\t",
                "fail\tg\truns every test of its plan\t1 of 3"
            ]
        );
        let none = ["fail\tg\twrites a TAP plan\tthere is none"];
        assert_eq!(lines(""), none);
        assert_eq!(lines("panicked\n"), none);
        assert_eq!(lines("ok 1 - a\n")[1..], none);
    }

    #[test]
    fn more_tests_than_planned_are_a_failure() {
        assert_eq!(
            lines("1..1\nok 1\nok 2\n")[2],
            "fail\tg\truns every test of its plan\t2 of 1"
        );
    }

    #[test]
    fn giving_up_is_a_failure() {
        let text = "1..1\nok 1 - a\nBail out! the module stays\n";
        assert_eq!(
            lines(text)[1],
            "fail\tg\truns to its end\tBail out! the module stays"
        );
    }

    #[test]
    fn what_only_begins_like_a_result_is_none() {
        assert_eq!(lines("1..0\nokay 1\nnot okay\n ok 1 - indented\n").len(), 0);
    }

    #[test]
    fn failures_are_found_in_a_part_of_a_report() {
        let text =
            "ok 1 - a\nnot ok 2 - b\n    x\n    y\nnot ok 3 - c # TODO known\nended 1\n    z\n";
        assert_eq!(failures(text, 600), [("b".to_owned(), "x; y".to_owned())]);
    }
}
