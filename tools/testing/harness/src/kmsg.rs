// SPDX-License-Identifier: GPL-2.0
//! The kernel log from a point in time on, and what in it must never be there.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

/// What the kernel prints when it found itself broken. Any of it fails a test.
const SPLATS: &[&str] = &[
    "WARNING:",
    "BUG:",
    "Oops",
    "KASAN",
    "UBSAN",
    "KCSAN",
    "Call Trace",
    "blocked for more than",
    "refcount_t",
    "general protection",
    "kernel NULL pointer",
    "possible circular locking",
    "possible recursive locking",
    "inconsistent lock state",
    "suspicious RCU usage",
    "list_add corruption",
    "list_del corruption",
    "ODEBUG",
    "kmemleak",
    "soft lockup",
    "rust_kernel: panicked",
    "kernel BUG at",
    "stack-protector",
    "Kernel panic",
    "Busy inodes after unmount",
    "Slab cache still has objects",
    "EXT4-fs error",
    "Shutting down filesystem",
    "BTRFS error",
    "BTRFS critical",
    "CFI failure",
    "Assertion failed",
];

/// A reader of the kernel log that starts at its present end.
pub struct KernelLog {
    file: File,
}

impl KernelLog {
    /// Starts to listen: what was logged before is not seen.
    pub fn from_now() -> io::Result<Self> {
        let mut file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file })
    }

    /// The lines logged since the last call.
    pub fn lines(&mut self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut record = vec![0; 8192];
        loop {
            match self.file.read(&mut record) {
                Ok(0) => return Ok(lines),
                Ok(length) => {
                    let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
                    lines.push(message(&text));
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(lines),
                    // The ring overtook the reader: go on with what is left.
                    Some(libc::EPIPE) => lines.push("(lines of the kernel log were lost)".into()),
                    _ => return Err(error),
                },
            }
        }
    }
}

/// Those of `lines` that tell of a broken kernel. Data races between others than the module are theirs: the
/// kernel has many.
pub fn splats(lines: &[String]) -> Vec<&String> {
    reports(lines)
        .filter(|report| !is_foreign_race(report))
        .flatten()
        .filter(|line| SPLATS.iter().any(|splat| line.contains(splat)))
        .collect()
}

/// The parts of the log between lines of equals signs, which stand around each report of KASAN and KCSAN.
fn reports(lines: &[String]) -> impl Iterator<Item = &[String]> {
    lines.split(|line| line.contains("===================="))
}

/// As `scripts/splats` has it: the module takes part in an access if it is on its stack and no function of the
/// file system of the cache disk lies between, which has races of its own.
fn is_foreign_race(report: &[String]) -> bool {
    if !report.iter().any(|line| line.contains("BUG: KCSAN")) {
        return false;
    }
    let is_head = |line: &String| line.contains(" by task") || line.contains(" by interrupt");
    let is_module = |line: &&String| line.contains("[cachefiles");
    let is_disk = |line: &&String| [" ext4_", " jbd2_"].iter().any(|name| line.contains(name));
    !report.split(is_head).skip(1).any(|stack| {
        stack
            .iter()
            .find(|line| is_module(line) || is_disk(line))
            .is_some_and(|line| is_module(&line))
    })
}

/// A record is `prefix;text` followed by lines of a machine-readable dictionary.
fn message(record: &str) -> String {
    let text = record.split_once(';').map_or(record, |(_, text)| text);
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_reduced_to_its_text() {
        assert_eq!(
            message("4,705,14,-;WARNING: CPU: 0 at x\n SUBSYSTEM=net\n"),
            "WARNING: CPU: 0 at x"
        );
    }

    #[test]
    fn splats_are_found_and_plain_lines_are_not() {
        let lines = [
            "CacheFiles: File cache on x registered".to_owned(),
            "INFO: task cat:12 blocked for more than 60 seconds.".to_owned(),
        ];
        assert_eq!(splats(&lines), [&lines[1]]);
    }

    /// A report of a data race as KCSAN prints it: the frames of its two accesses, innermost first.
    fn race(first: &[&str], second: &[&str]) -> Vec<String> {
        let bar = "=".repeat(66);
        let mut lines = vec![
            bar.clone(),
            "BUG: KCSAN: data-race in a / b".into(),
            String::new(),
        ];
        for (kind, frames) in [("write", first), ("read", second)] {
            lines.push(format!(
                "{kind} to 0xffff888100000000 of 8 bytes by task 1 on cpu 0:"
            ));
            lines.extend(frames.iter().map(|frame| {
                let (name, module) = frame.split_once(' ').unwrap_or((frame, ""));
                format!(" {name}+0x1/0x2 {module}")
            }));
        }
        lines.push(bar);
        lines
    }

    /// Whether a log counts as one of a broken kernel: for a test, and for a whole machine.
    fn is_bad(lines: &[String]) -> (bool, bool) {
        let console: Vec<String> = lines
            .iter()
            .map(|line| format!("[    1.234567] {line}\r\n"))
            .collect();
        let log = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&log, console.concat()).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../scripts/splats");
        let run = std::process::Command::new(script)
            .arg(log.path())
            .output()
            .unwrap();
        (!splats(lines).is_empty(), !run.status.success())
    }

    #[test]
    fn data_races_count_where_the_module_takes_part() {
        let poll = "poll [cachefiles]";
        for (first, second, counts) in [
            (&["xas_find", "sys_read"][..], &["xas_load"][..], false),
            (&["xas_find", "sys_read"], &["xas_load", poll], true),
            (&[poll, "sys_poll"], &["xas_load"], true),
            // ext4's own, whoever called it.
            (
                &["ext4_inode_csum", "mark_inode_dirty"],
                &["ext4_xattr_set_entry", "vfs_setxattr", poll],
                false,
            ),
            (
                &["crc32c", "ext4_inode_csum", poll],
                &["jbd2_x", poll],
                false,
            ),
            // What ext4 calls back is not ext4's.
            (&["xas_find", poll, "ext4_end_io"], &["xas_load"], true),
        ] {
            let lines = race(first, second);
            assert_eq!(is_bad(&lines), (counts, counts), "{lines:#?}");
        }
    }

    #[test]
    fn what_follows_the_report_of_a_foreign_race_counts() {
        let mut lines = race(&["xas_find"], &["xas_load"]);
        assert_eq!(is_bad(&lines), (false, false));
        lines.push("WARNING: CPU: 0 at x".into());
        assert_eq!(is_bad(&lines), (true, true));
    }
}
