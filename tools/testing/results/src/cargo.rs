// SPDX-License-Identifier: GPL-2.0
//! The lines that `cargo test` prints.

use crate::result::{Status, TestResult};

/// Reads each test, named after the program that it is in.
pub fn results(group: &str, text: &str) -> Vec<TestResult> {
    let mut suite = String::new();
    let mut results = Vec::new();
    for line in text.lines() {
        if let Some(name) = program(line) {
            suite = name.to_owned();
        } else if let Some((name, status)) = test(line) {
            let name = format!("{suite}: {name}");
            results.push(TestResult::new(status, group, &name, ""));
        }
    }
    results
}

/// Reads `Running unittests src/lib.rs (target/...)`, or `Doc-tests NAME`.
fn program(line: &str) -> Option<&str> {
    let line = line.trim_start_matches(' ');
    let name = ["Running ", "Doc-tests "]
        .iter()
        .find_map(|word| line.strip_prefix(word))?;
    let name = name.trim_start();
    let name = name.strip_prefix("unittests ").unwrap_or(name);
    Some(name.split_once(" (").map_or(name, |(name, _)| name))
}

/// Reads `test NAME ... ok`.
fn test(line: &str) -> Option<(&str, Status)> {
    let (name, end) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let status = [
        ("ok", Status::Pass),
        ("FAILED", Status::Fail),
        ("ignored", Status::Skip),
    ]
    .into_iter()
    .find_map(|(word, status)| end.starts_with(word).then_some(status))?;
    Some((name, status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_test_is_named_after_its_program() {
        let text = "     Running unittests src/lib.rs (target/debug/deps/x-1)\n\nrunning 3 tests\n\
                    test a::b ... ok\ntest c - should panic ... FAILED\ntest d ... ignored, slow\n\
                    test e has been running for over 60 seconds\n\
                    test result: FAILED. 1 passed; 1 failed\n   Doc-tests y\ntest src/z.rs - (line 2) ... ok\n";
        let lines: Vec<_> = results("host", text)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            lines,
            [
                "pass\thost\tsrc/lib.rs: a::b\t",
                "fail\thost\tsrc/lib.rs: c - should panic\t",
                "skip\thost\tsrc/lib.rs: d\t",
                "pass\thost\ty: src/z.rs - (line 2)\t"
            ]
        );
    }
}
