// SPDX-License-Identifier: GPL-2.0
//! KUnit's results: KTAP, a suite after the other, its cases indented by four spaces.

use crate::result::{Status, TestResult, shortened};

/// Characters of a reason.
const LONGEST: usize = 240;

/// Reads the cases of each suite in `text`. What a failed case says stands in front of its line.
///
/// A suite that does not fulfil its plan or is not told to its end is a failure, and so is no
/// suite.
pub fn results(group: &str, text: &str) -> Vec<TestResult> {
    let mut reader = Reader {
        group,
        suites: 0,
        open: None,
        results: Vec::new(),
    };
    for line in text.lines() {
        reader.line(line.trim_end_matches('\r'));
    }
    reader.end()
}

/// Reads the failed cases in a part of such results, each with what it said.
pub fn failures(text: &str) -> Vec<(String, String)> {
    let mut failures = Vec::new();
    let mut said = String::new();
    for line in text.lines().map(|line| line.trim_end_matches('\r')) {
        let words = line.trim_start();
        let case = case(words).filter(|_| line.starts_with(' '));
        if let Some((passed, name)) = case {
            let said = std::mem::take(&mut said);
            if !passed {
                let name = name.split(' ').next().unwrap_or(name);
                failures.push((name.to_owned(), said));
            }
        } else if line.starts_with("    ") && !is_frame(line) {
            add(&mut said, line);
        }
    }
    failures
}

/// A suite under way.
struct Suite<'a> {
    name: &'a str,
    plan: Option<usize>,
    seen: usize,
    said: String,
}

struct Reader<'a> {
    group: &'a str,
    suites: usize,
    open: Option<Suite<'a>>,
    results: Vec<TestResult>,
}

impl<'a> Reader<'a> {
    fn line(&mut self, line: &'a str) {
        let Some(inner) = line.strip_prefix("    ") else {
            if case(line).is_some() {
                self.close();
            }
            return;
        };
        if let Some(name) = inner.strip_prefix("# Subtest: ") {
            self.suites += 1;
            // One that is open still was cut off.
            self.cut_off();
            self.open = Some(Suite {
                name,
                plan: None,
                seen: 0,
                said: String::new(),
            });
            return;
        }
        let Some(suite) = &mut self.open else { return };
        if let Some(plan) = inner.strip_prefix("1..") {
            suite.plan = plan.trim().parse().ok();
        } else if let Some((passed, name)) = case(inner) {
            suite.seen += 1;
            let said = std::mem::take(&mut suite.said);
            let (status, name, reason) = match name.split_once(" # SKIP") {
                Some((name, reason)) => (Status::Skip, name, reason.trim_start().to_owned()),
                None if passed => (Status::Pass, name, String::new()),
                None => (Status::Fail, name, said),
            };
            let name = format!("{}: {name}", suite.name);
            let reason = shortened(&reason, LONGEST);
            let result = TestResult::new(status, self.group, &name, &reason);
            self.results.push(result);
        } else if !inner.is_empty() && !is_frame(line) {
            add(&mut suite.said, line);
        }
    }

    /// The line of a suite's own result ends it.
    fn close(&mut self) {
        let Some(suite) = self.open.take() else {
            return;
        };
        if suite.plan != Some(suite.seen) {
            let name = format!("{}: runs every case of its plan", suite.name);
            self.fail(&name, &of_plan(&suite));
        }
    }

    fn cut_off(&mut self) {
        if let Some(suite) = self.open.take() {
            let name = format!("{}: is told to its end", suite.name);
            self.fail(&name, &format!("it stops after {}", of_plan(&suite)));
        }
    }

    fn end(mut self) -> Vec<TestResult> {
        self.cut_off();
        if self.suites == 0 {
            self.fail("runs a suite", "there is none");
        }
        self.results
    }

    fn fail(&mut self, name: &str, reason: &str) {
        let result = TestResult::fail(self.group, name, reason);
        self.results.push(result);
    }
}

fn of_plan(suite: &Suite<'_>) -> String {
    let plan = suite.plan.map_or("no plan".into(), |plan| plan.to_string());
    format!("{} of {plan}", suite.seen)
}

/// Reads `ok NUMBER NAME`, or the same with `not ok`.
fn case(line: &str) -> Option<(bool, &str)> {
    let rest = line.strip_prefix("not ").unwrap_or(line);
    let (number, name) = rest.strip_prefix("ok ")?.split_once(' ')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some((rest.len() == line.len(), name))
}

/// Whether an indented line belongs to the format, and says nothing of a case.
fn is_frame(line: &str) -> bool {
    let inner = line.trim_start();
    ["# Subtest", "1..", "KTAP"]
        .iter()
        .any(|word| inner.starts_with(word))
}

/// Adds a line of a case, without the `# NAME: ` that KUnit puts in front.
fn add(said: &mut String, line: &str) {
    let text = line.trim_start();
    let plain = text.strip_prefix("# ").and_then(|rest| {
        let (name, rest) = rest.split_once(": ")?;
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        name.chars().all(is_name).then_some(rest)
    });
    crate::result::say(said, plain.unwrap_or(text), 600);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITE: &str = "KTAP version 1\n    KTAP version 1\n    # Subtest: kernel_ext_table\n    1..3\n\
                         \x20   ok 1 a_mark_goes\n    # a_slot_stays: EXPECTATION FAILED at table.rs:7\n\
                         \x20   seen 1\n    not ok 2 a_slot_stays\n    ok 3 last # SKIP no memory\n";

    fn lines(text: &str) -> Vec<String> {
        let results = results("kunit", text);
        results.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_case_has_its_status_and_what_it_said() {
        let text = SUITE.to_owned()
            + "# kernel_ext_table: pass:1 fail:1 skip:1 total:3\nnot ok 1 kernel_ext_table\n";
        assert_eq!(
            lines(&text),
            [
                "pass\tkunit\tkernel_ext_table: a_mark_goes\t",
                "fail\tkunit\tkernel_ext_table: a_slot_stays\tEXPECTATION FAILED at table.rs:7; seen 1",
                "skip\tkunit\tkernel_ext_table: last\tno memory"
            ]
        );
        assert_eq!(
            failures(&text),
            [(
                "a_slot_stays".to_owned(),
                "EXPECTATION FAILED at table.rs:7; seen 1".to_owned()
            )]
        );
    }

    #[test]
    fn a_suite_that_is_cut_off_is_a_failure() {
        assert_eq!(
            lines(SUITE)[3],
            "fail\tkunit\tkernel_ext_table: is told to its end\tit stops after 3 of 3"
        );
        // Also where another one follows.
        let other = "    # Subtest: next\n    1..1\n    ok 1 b\nok 2 next\n";
        let all = lines(&(SUITE.to_owned() + other));
        assert_eq!(all[3], lines(SUITE)[3]);
        assert_eq!(all[4..], ["pass\tkunit\tnext: b\t"]);
    }

    #[test]
    fn a_plan_that_is_not_fulfilled_is_a_failure() {
        assert_eq!(
            lines("    # Subtest: s\n    1..2\n    ok 1 a\nok 1 s\n")[1],
            "fail\tkunit\ts: runs every case of its plan\t1 of 2"
        );
        assert_eq!(
            lines("    # Subtest: s\n    ok 1 a\nok 1 s\n")[1],
            "fail\tkunit\ts: runs every case of its plan\t1 of no plan"
        );
    }

    #[test]
    fn no_suite_is_a_failure() {
        let none = ["fail\tkunit\truns a suite\tthere is none"];
        assert_eq!(lines(""), none);
        assert_eq!(lines("no test was run\n"), none);
    }
}
