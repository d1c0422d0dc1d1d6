// SPDX-License-Identifier: GPL-2.0
//! What all results come to.

use std::fmt::Write as _;

use crate::result::{Status, TestResult};

const OURS: &str = "selftests-rust";
const C: &str = "selftests-c";

/// The results of the whole, and what is made of them.
pub struct Summary {
    results: Vec<TestResult>,
}

impl Summary {
    /// Reads a file of results, a line each.
    pub fn read(text: &str) -> Self {
        Self {
            results: text.lines().map(TestResult::parse).collect(),
        }
    }

    /// The tests that the C module passes and ours does not, without having failed: a failure each.
    pub fn passed_by_c_alone(&self) -> Vec<TestResult> {
        self.compare(&[Status::Todo, Status::Skip], OURS, &[Status::Pass], C)
            .into_iter()
            .map(|(name, _)| {
                let name = format!("{name}: passed by C, not by ours");
                TestResult::fail("comparison", &name, "")
            })
            .collect()
    }

    /// The text: both modules beside each other, a table of the groups, what was skipped and what
    /// failed.
    pub fn text(&self) -> String {
        let mut text = self.comparison().unwrap_or_default();
        text.push_str(&format!(
            "\n{:<18} {:>8} {:>8} {:>8} {:>18}\n",
            "", "passed", "failed", "skipped", "expected failures"
        ));
        let mut groups: Vec<&str> = Vec::new();
        for result in &self.results {
            if !groups.contains(&&*result.group) {
                groups.push(&result.group);
            }
        }
        for group in groups {
            let count = |status| self.count(|one| one.status == status && one.group == group);
            let _ = writeln!(
                text,
                "{group:<18} {:>8} {:>8} {:>8} {:>18}",
                count(Status::Pass),
                count(Status::Fail),
                count(Status::Skip),
                count(Status::Todo)
            );
        }
        for (title, status) in [("Skipped", Status::Skip), ("Failed", Status::Fail)] {
            let mut lines = String::new();
            for result in self.results.iter().filter(|one| one.status == status) {
                let TestResult { group, name, .. } = result;
                let _ = writeln!(lines, "  {group}: {name}{}", behind(&result.reason));
            }
            if !lines.is_empty() {
                text.push_str(&format!("\n{title}:\n{lines}"));
            }
        }
        text + "\n"
    }

    /// The last line, and whether all is well. Nothing run is no success.
    pub fn last_line(&self) -> (String, bool) {
        let passed = self.count(|one| one.status == Status::Pass);
        let failed = self.count(|one| one.status == Status::Fail);
        let line = format!("{passed} passed, {failed} failed");
        (line, failed == 0 && passed > 0)
    }

    fn count(&self, wanted: impl Fn(&&TestResult) -> bool) -> usize {
        self.results.iter().filter(wanted).count()
    }

    /// Our module beside the C module, where both were tried.
    fn comparison(&self) -> Option<String> {
        for group in [C, OURS] {
            self.results.iter().find(|one| one.group == group)?;
        }
        let not_passed = [Status::Todo, Status::Fail, Status::Skip];
        let both = self.compare(&[Status::Pass], OURS, &[Status::Pass], C);
        let ours = self.compare(&[Status::Pass], OURS, &not_passed, C);
        // These count as failed already, unless ours skipped them: what C can do, ours must not
        // skip.
        let c = self.compare(&not_passed, OURS, &[Status::Pass], C);
        let mut text = String::from("\nOur module beside the C module of the same kernel:\n");
        let _ = writeln!(text, "  passed by both: {}", both.len());
        for (title, names) in [("ours, not by C", ours), ("C, not by ours", c)] {
            let _ = writeln!(text, "  passed by {title}: {}", names.len());
            for (name, reason) in names {
                let _ = writeln!(text, "    {name}{}", behind(reason));
            }
        }
        Some(text)
    }

    /// The names with one of the first statuses in the first group that have one of the second
    /// statuses in the second group, in the order of that, each with a reason.
    fn compare(
        &self,
        first: &[Status],
        first_group: &str,
        second: &[Status],
        second_group: &str,
    ) -> Vec<(&str, &str)> {
        let of = |group, statuses: &[Status]| {
            self.results
                .iter()
                .filter(move |one| one.group == group)
                .filter(|one| statuses.contains(&one.status))
                .collect::<Vec<_>>()
        };
        let firsts = of(first_group, first);
        of(second_group, second)
            .into_iter()
            .filter_map(|two| {
                let one = firsts.iter().find(|one| one.name == two.name)?;
                let reason = if two.reason.is_empty() {
                    &one.reason
                } else {
                    &two.reason
                };
                Some((&*two.name, &**reason))
            })
            .collect()
    }
}

fn behind(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!("  -- {reason}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_is_no_success_and_neither_is_nothing() {
        for (text, line, good) in [
            ("", "0 passed, 0 failed", false),
            ("pass\tg\ta\t\n", "1 passed, 0 failed", true),
            (
                "pass\tg\ta\t\ntodo\tg\tb\t\nskip\tg\tc\t\n",
                "1 passed, 0 failed",
                true,
            ),
            ("pass\tg\ta\t\nfail\tg\tb\t\n", "1 passed, 1 failed", false),
            ("pass\tg\ta\t\nrubbish\n", "1 passed, 1 failed", false),
            ("skip\tg\ta\t\n", "0 passed, 0 failed", false),
        ] {
            assert_eq!(
                Summary::read(text).last_line(),
                (line.to_owned(), good),
                "{text}"
            );
        }
    }

    const BOTH: &str = "pass\tselftests-rust\ta\t\npass\tselftests-rust\tb\t\n\
                        skip\tselftests-rust\tc\tno disk\nfail\tselftests-rust\td\twrong\n\
                        pass\tselftests-c\ta\t\ntodo\tselftests-c\tb\tC: hangs\n\
                        pass\tselftests-c\tc\t\npass\tselftests-c\td\t\n";

    #[test]
    fn both_modules_stand_beside_each_other() {
        let text = Summary::read(BOTH).text();
        for part in [
            "  passed by both: 1\n  passed by ours, not by C: 1\n    b  -- C: hangs\n",
            "  passed by C, not by ours: 2\n    c  -- no disk\n    d  -- wrong\n",
            "selftests-rust            2        1        1                  0\n",
            "\nSkipped:\n  selftests-rust: c  -- no disk\n",
            "\nFailed:\n  selftests-rust: d  -- wrong\n",
        ] {
            assert!(text.contains(part), "{part}\nis not in\n{text}");
        }
    }

    #[test]
    fn what_c_can_do_ours_must_not_skip() {
        let failures = Summary::read(BOTH).passed_by_c_alone();
        assert_eq!(
            failures.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["fail\tcomparison\tc: passed by C, not by ours\t"]
        );
    }
}
