// SPDX-License-Identifier: GPL-2.0
//! Who sleeps where in the kernel: where something hangs, the reason is mostly found there.

use std::fs;
use std::path::Path;

/// Words in the stack of a task that has to do with a cache.
const OURS: &[&str] = &["cachefiles", "fscache", "netfs", "erofs"];

/// The tasks that are in one of ours, with their stacks, and what netfs has left.
pub fn describe() -> String {
    let mut text = String::new();
    for process in entries("/proc") {
        for task in entries(process.join("task")) {
            let stack = fs::read_to_string(task.join("stack")).unwrap_or_default();
            if OURS.iter().any(|word| stack.contains(word)) {
                let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
                text.push_str(&format!("{} {}:\n{stack}", task.display(), name.trim()));
            }
        }
    }
    for table in ["caches", "volumes", "cookies"] {
        let path = Path::new("/proc/fs/fscache").join(table);
        text.push_str(&fs::read_to_string(path).unwrap_or_default());
    }
    text
}

fn entries(path: impl AsRef<Path>) -> impl Iterator<Item = std::path::PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}
