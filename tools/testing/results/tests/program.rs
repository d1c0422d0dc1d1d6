// SPDX-License-Identifier: GPL-2.0
//! The program as the scripts call it: what is a failure must come out as one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Runs the program; returns its status, and what it printed and said.
fn run(arguments: &[&str], file: &Path) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_test-results"))
        .args(arguments)
        .arg(file)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn file(dir: &TempDir, text: &str) -> PathBuf {
    let path = dir.path().join("file");
    fs::write(&path, text).unwrap();
    path
}

/// What a report comes to: the last line, and its status.
fn counted(arguments: &[&str], report: &str) -> (Option<i32>, String) {
    let dir = TempDir::new().unwrap();
    let (status, results, said) = run(arguments, &file(&dir, report));
    assert_eq!((status, &*said), (Some(0), ""));
    let (status, line, _) = run(&["end"], &file(&dir, &results));
    (status, line)
}

#[test]
fn a_failure_a_truncated_report_and_a_status_are_failures() {
    let tap = &["tap", "group"][..];
    for (arguments, report, status, line) in [
        (tap, "1..2\nok 1 - a\nok 2 - b\n", 0, "2 passed, 0 failed\n"),
        (
            tap,
            "1..2\nok 1 - a\nnot ok 2 - b\n",
            1,
            "1 passed, 1 failed\n",
        ),
        (tap, "1..2\nok 1 - a\n", 1, "1 passed, 1 failed\n"),
        (tap, "ok 1 - a\n", 1, "1 passed, 1 failed\n"),
        (tap, "", 1, "0 passed, 1 failed\n"),
        // Nothing that was run is no success.
        (
            tap,
            "1..1\nok 1 - a # SKIP no disk\n",
            1,
            "0 passed, 0 failed\n",
        ),
        // A status that no test tells of.
        (
            &["tap", "group", "--status", "126"],
            "1..2\nok 1 - a\n",
            1,
            "1 passed, 2 failed\n",
        ),
        (
            &["tap", "group", "--status", "126"],
            "1..1\nok 1 - a\n",
            1,
            "1 passed, 1 failed\n",
        ),
        (
            &["tap", "group", "--status", "1"],
            "1..1\nnot ok 1 - a\n",
            1,
            "0 passed, 1 failed\n",
        ),
        // Nor is it told by a failure that is expected, or by what a test says.
        (
            &["tap", "group", "--status", "124"],
            "1..1\nnot ok 1 - a # TODO C: 1\n  not ok\n",
            1,
            "0 passed, 1 failed\n",
        ),
        (
            &["cargo", "group", "--status", "101"],
            "error: no\n",
            1,
            "0 passed, 1 failed\n",
        ),
        (
            &["cargo", "group"],
            "test a ... ok\n",
            0,
            "1 passed, 0 failed\n",
        ),
        (
            &["ktap", "group"],
            "    # Subtest: s\n    1..2\n    ok 1 a\n",
            1,
            "1 passed, 1 failed\n",
        ),
        (
            &["ktap", "group"],
            "    # Subtest: s\n    1..1\n    ok 1 a\nok 1 s\n",
            0,
            "1 passed, 0 failed\n",
        ),
    ] {
        let seen = counted(arguments, report);
        assert_eq!(
            seen,
            (Some(status), line.to_owned()),
            "{arguments:?}: {report}"
        );
    }
}

#[test]
fn a_report_that_is_not_there_is_a_failure() {
    for format in ["tap", "ktap", "cargo"] {
        let (status, results, _) = run(&[format, "group"], Path::new("/nowhere/file"));
        assert_eq!(status, Some(0));
        assert!(results.starts_with("fail\tgroup\twrites "), "{results}");
    }
}

#[test]
fn results_that_are_not_there_are_no_success() {
    let (status, line, _) = run(&["end"], Path::new("/nowhere/file"));
    assert_ne!(status, Some(0));
    assert_eq!(line, "");
}

#[test]
fn a_complaint_in_a_console_log_is_a_failure() {
    let dir = TempDir::new().unwrap();
    let quiet = "[    0.1] Linux version 6.12\r\n[    1.0] CacheFiles: Loaded\r\n";
    let (status, _, said) = run(&["splats"], &file(&dir, quiet));
    assert_eq!((status, &*said), (Some(0), ""));
    let loud = format!(
        "{quiet}[    2.0] WARNING: CPU: 0 PID: 1 at fs/x.c:1\r\n[    2.0] Call Trace:\r\nend\r\n"
    );
    let (status, _, said) = run(&["splats"], &file(&dir, &loud));
    assert_eq!(status, Some(1));
    let (_, shown) = said.split_once('\n').unwrap();
    assert_eq!(
        shown,
        "[    2.0] WARNING: CPU: 0 PID: 1 at fs/x.c:1\n[    2.0] Call Trace:\nend\n"
    );
    // A log that cannot be read is no quiet one.
    let (status, _, _) = run(&["splats"], Path::new("/nowhere/file"));
    assert_ne!(status, Some(0));
}

#[test]
fn what_only_c_passes_is_added_to_the_failures() {
    let dir = TempDir::new().unwrap();
    let results = file(&dir, "skip\tselftests-rust\ta\t\npass\tselftests-c\ta\t\n");
    let (status, text, _) = run(&["summary"], &results);
    assert_eq!(status, Some(0));
    assert!(
        text.contains("  comparison: a: passed by C, not by ours\n"),
        "{text}"
    );
    let (status, line, _) = run(&["end"], &results);
    assert_eq!((status, &*line), (Some(1), "1 passed, 1 failed\n"));
}
