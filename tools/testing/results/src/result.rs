// SPDX-License-Identifier: GPL-2.0
//! One test result: a line of four columns between tabs.

use std::fmt;

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// As it should.
    Pass,
    /// Not as it should.
    Fail,
    /// It was not run.
    Skip,
    /// It failed, as is expected of the C module.
    Todo,
}

impl Status {
    /// The word in the first column.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Skip => "skip",
            Self::Todo => "todo",
        }
    }
}

/// The result of one test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestResult {
    /// How it ended.
    pub status: Status,
    /// The program or part that the test belongs to.
    pub group: String,
    /// The name of the test in its group.
    pub name: String,
    /// Why it failed or was not run; empty where nothing was said.
    pub reason: String,
}

impl TestResult {
    /// Makes a result. Tabs and line breaks, which separate results, become spaces.
    pub fn new(status: Status, group: &str, name: &str, reason: &str) -> Self {
        let plain = |text: &str| text.replace(['\t', '\n', '\r'], " ");
        Self {
            status,
            group: plain(group),
            name: plain(name),
            reason: plain(reason),
        }
    }

    /// Makes the result of a test that failed.
    pub fn fail(group: &str, name: &str, reason: &str) -> Self {
        Self::new(Status::Fail, group, name, reason)
    }

    /// Reads a line. A line that is none counts as a failure: a result may have been lost with it.
    pub fn parse(line: &str) -> Self {
        let mut columns = line.splitn(4, '\t');
        let status = match columns.next() {
            Some("pass") => Status::Pass,
            Some("fail") => Status::Fail,
            Some("skip") => Status::Skip,
            Some("todo") => Status::Todo,
            _ => return Self::fail("results", "every line is a result", line),
        };
        let (Some(group), Some(name)) = (columns.next(), columns.next()) else {
            return Self::fail("results", "every line is a result", line);
        };
        Self::new(status, group, name, columns.next().unwrap_or_default())
    }
}

impl fmt::Display for TestResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.status.word();
        write!(f, "{word}\t{}\t{}\t{}", self.group, self.name, self.reason)
    }
}

/// Adds `text` to what a test said, unless that is `limit` bytes long already.
pub(crate) fn say(said: &mut String, text: &str, limit: usize) {
    if said.len() < limit {
        if !said.is_empty() {
            said.push_str("; ");
        }
        said.push_str(text);
    }
}

/// The first `length` characters of `text`.
pub(crate) fn shortened(text: &str, length: usize) -> String {
    text.chars().take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_read_back_as_it_was_written() {
        for status in [Status::Pass, Status::Fail, Status::Skip, Status::Todo] {
            let result = TestResult::new(status, "group", "a name", "a\treason\n");
            assert_eq!(TestResult::parse(&result.to_string()), result);
        }
    }

    #[test]
    fn a_line_that_is_no_result_is_a_failure() {
        for line in ["", "pass", "pass\tgroup", "passed\tgroup\tname\t"] {
            assert_eq!(TestResult::parse(line).status, Status::Fail, "{line}");
        }
    }
}
