// SPDX-License-Identifier: GPL-2.0
//! Memory that nobody points to any more, as kmemleak finds it.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

const FILE: &str = "/sys/kernel/debug/kmemleak";

/// What is younger than five seconds is not reported, as its owner may be about to be told of it.
const AGE: Duration = Duration::from_secs(6);

/// Whether this kernel has it, and it still runs.
pub fn is_available() -> bool {
    fs::read_to_string(FILE).is_ok()
}

/// Forgets what was found so far.
pub fn clear() -> Result<()> {
    fs::write(FILE, "clear").context("clearing kmemleak")
}

/// Where the kernel itself loses memory when an allocation fails, and whoever called it cannot help
/// it: `sysfs_slab_add()` of 6.12 does not give the name of a slab cache back when its kobject
/// cannot be added.
const OF_THE_KERNEL: &[&str] = &["sysfs_slab_add+"];

/// What was lost since the last time, each with the stack that it was allocated from.
pub fn find() -> Result<Vec<String>> {
    // Twice: what was on its way from one owner to another during the first scan is found by the
    // second.
    for _ in 0..2 {
        std::thread::sleep(AGE);
        fs::write(FILE, "scan").context("having kmemleak scan")?;
    }
    let text = fs::read_to_string(FILE).context("reading what kmemleak found")?;
    clear()?;
    let mut reports = reports(&text);
    reports.retain(|report| !OF_THE_KERNEL.iter().any(|place| report.contains(place)));
    Ok(reports)
}

/// One text for each `unreferenced object`.
fn reports(text: &str) -> Vec<String> {
    let mut reports: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.starts_with("unreferenced object") {
            reports.push(String::new());
        }
        if let Some(report) = reports.last_mut() {
            report.push_str(line);
            report.push('\n');
        }
    }
    reports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_object_is_a_report_with_its_stack() {
        let text =
            "unreferenced object 0x1 (size 8):\n  comm \"x\"\nunreferenced object 0x2 (size 9):\n";
        let reports = reports(text);
        assert_eq!(reports.len(), 2);
        assert!(reports[0].ends_with("comm \"x\"\n"));
    }
}
