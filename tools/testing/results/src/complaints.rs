// SPDX-License-Identifier: GPL-2.0
//! What a healthy kernel never prints: warnings, oopses, reports of the sanitizers, of lockdep and
//! of the detector of hung tasks. The one list of them.

/// Each is a complaint where all its parts are in a line, in this order.
const COMPLAINTS: &[&[&str]] = &[
    &["WARNING:"],
    &["BUG:"],
    &["kernel BUG at"],
    &["Oops"],
    &["Kernel panic"],
    &["Call Trace:"],
    &["general protection"],
    &["unable to handle"],
    &["kernel NULL pointer"],
    &["KASAN"],
    &["KFENCE"],
    &["UBSAN"],
    &["kmemleak: ", " new suspected"],
    &["Kernel memory leak detector disabled"],
    &["refcount_t:"],
    &["stack-protector"],
    &["INFO: task ", " blocked"],
    &["blocked for more than"],
    &["soft lockup"],
    &["INFO: rcu", " stall"],
    &["INFO: rcu", " detected"],
    &["rcu: INFO"],
    &["INFO: trying to register"],
    &["possible circular locking"],
    &["possible recursive locking"],
    &["inconsistent lock state"],
    &["suspicious RCU usage"],
    &["sleeping function called"],
    &["scheduling while atomic"],
    &["ODEBUG:"],
    &["list_add corruption"],
    &["list_del corruption"],
    &["Objects remaining"],
    &["still has locks"],
    &["still has objects"],
    &["rust_kernel: panicked"],
    &["panicked at"],
    &["Busy inodes"],
    &["Bad page state"],
    &["double free"],
    &["Slab corruption"],
    &["Assertion failed"],
    &["EXT4-fs error"],
    &["Shutting down filesystem"],
    &["BTRFS error"],
    &["BTRFS critical"],
    &["CFI failure"],
    // Of the program that starts a test machine.
    &["init: cannot insert"],
];

/// Finds the complaints in the lines of a log, and returns their places.
///
/// Of data races (KCSAN) only those count in which the module takes part: the kernel has many of
/// its own. A failure that was injected on purpose is reported with a stack, which is no complaint.
pub fn find(lines: &[impl AsRef<str>]) -> Vec<usize> {
    let mut injected = Injected::default();
    let races = ForeignRaces::of(lines);
    let mut found = Vec::new();
    for (place, line) in lines.iter().enumerate() {
        let line = line.as_ref();
        if !injected.excuses(line) && is_complaint(line) && !races.excuse(place, line) {
            found.push(place);
        }
    }
    found
}

fn is_complaint(line: &str) -> bool {
    COMPLAINTS.iter().any(|parts| {
        let mut rest = Some(line);
        for part in *parts {
            rest = rest
                .and_then(|rest| rest.split_once(part))
                .map(|(_, behind)| behind);
        }
        rest.is_some()
    })
}

/// The reports of failures that were injected on purpose.
///
/// Such a report goes on for as long as its lines are of that kind. And the kernel comments on its
/// own failing: there is no memory for a slab cache, or for an inode on the cache disk. What is
/// leaked then is for the walk over the failures to judge (tools/testing/faultwalk), which knows
/// what the kernel itself leaks.
#[derive(Default)]
struct Injected {
    inside: bool,
    any: bool,
}

impl Injected {
    fn excuses(&mut self, line: &str) -> bool {
        if line.contains("FAULT_INJECTION: forcing a failure") {
            *self = Self {
                inside: true,
                any: true,
            };
            return true;
        }
        if self.any {
            let both = |first, second| {
                line.split_once(first)
                    .is_some_and(|(_, rest)| rest.contains(second))
            };
            if both("__kmem_cache_create_args(", "failed with error") {
                self.inside = true;
                return true;
            }
            if both("kmemleak: ", " new suspected") || both("EXT4-fs error ", ": Out of memory") {
                return true;
            }
        }
        let text = without_time(line);
        let excused = self.inside && is_of_a_report(text);
        if excused && text.contains("</TASK>") {
            self.inside = false;
        }
        excused
    }
}

/// Removes what the console has in front of a line: `[ time]`, and with some kernels `[  Tn]`.
fn without_time(line: &str) -> &str {
    let Some((time, mut text)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']'))
    else {
        return line;
    };
    let is_time = |c: char| c.is_ascii_digit() || c == '.';
    if !time.trim_start().chars().all(is_time) {
        return line;
    }
    if let Some((_, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        text = rest;
    }
    text.strip_prefix(' ').unwrap_or(line)
}

/// Whether a line belongs to a report with a stack and registers.
fn is_of_a_report(text: &str) -> bool {
    const HEADS: &[&str] = &[
        "name fail",
        "CPU: ",
        "Hardware name: ",
        "Tainted: ",
        "Workqueue: ",
        "Call Trace:",
        "RIP: ",
        "Code: ",
    ];
    let inner = text.trim_start_matches(' ');
    let bare = inner.replacen('/', "", usize::from(inner.starts_with("</")));
    HEADS.iter().any(|head| text.starts_with(head))
        || is_register(text)
        || ["<TASK>", "<IRQ>", "<NMI>"]
            .iter()
            .any(|word| bare.starts_with(word))
        || is_frame(inner)
}

/// Reads `RAX: `, `R10: `.
fn is_register(text: &str) -> bool {
    text.strip_prefix('R')
        .and_then(|rest| rest.split_once(": "))
        .is_some_and(|(name, _)| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
        })
}

/// Reads `function+0x1/0x2`, or an address that no function has.
fn is_frame(inner: &str) -> bool {
    let frame = inner.strip_prefix("? ").unwrap_or(inner);
    if frame.starts_with("0xffffffff") {
        return true;
    }
    let Some((name, offset)) = frame.split_once("+0x") else {
        return false;
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_.$".contains(c);
    let end = offset.find(|c: char| !c.is_ascii_hexdigit() || c.is_ascii_uppercase());
    !name.is_empty()
        && name.chars().all(is_name)
        && end.is_some_and(|end| {
            end > 0
                && offset
                    .get(end..)
                    .is_some_and(|rest| rest.starts_with("/0x"))
        })
}

/// The data races of others than the module, as KCSAN reports them: between lines of equals signs,
/// with the stacks of the two accesses, innermost frame first.
///
/// The module takes part in an access if it is on the stack and no function of the file system of
/// the cache disk lies between: ext4 knows races of its own, as of an inode's checksum with its
/// attributes. Of a foreign race, only the line that names it is excused: whatever else is a
/// complaint stays one.
struct ForeignRaces {
    /// First line, and the line behind the last.
    places: Vec<(usize, usize)>,
}

impl ForeignRaces {
    fn of(lines: &[impl AsRef<str>]) -> Self {
        let mut places = Vec::new();
        let mut begin = 0;
        for part in lines.split(|line| line.as_ref().contains("====================")) {
            if is_foreign_race(part) {
                places.push((begin, begin + part.len()));
            }
            begin += part.len() + 1;
        }
        Self { places }
    }

    fn excuse(&self, place: usize, line: &str) -> bool {
        line.contains("BUG: KCSAN")
            && self
                .places
                .iter()
                .any(|&(begin, end)| (begin..end).contains(&place))
    }
}

fn is_foreign_race(report: &[impl AsRef<str>]) -> bool {
    if !report
        .iter()
        .any(|line| line.as_ref().contains("BUG: KCSAN"))
    {
        return false;
    }
    let is_head = |line: &str| line.contains(" by task") || line.contains(" by interrupt");
    let is_module = |line: &str| line.contains("[cachefiles");
    let is_disk = |line: &str| [" ext4_", " jbd2_"].iter().any(|name| line.contains(name));
    !report
        .split(|line| is_head(line.as_ref()))
        .skip(1)
        .any(|stack| {
            stack
                .iter()
                .map(AsRef::as_ref)
                .find(|line| is_module(line) || is_disk(line))
                .is_some_and(is_module)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_found_and_plain_lines_are_not() {
        let lines = [
            "CacheFiles: File cache on x registered",
            "INFO: task cat:12 blocked for more than 60 seconds.",
            "kmemleak: Kernel memory leak detector initialized (mem pool available: 15738)",
            "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "kasan: KernelAddressSanitizer initialized",
            "RCU Tasks: no stall",
        ];
        assert_eq!(find(&lines), [1, 3, 4]);
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
            assert_eq!(!find(&lines).is_empty(), counts, "{lines:#?}");
        }
    }

    #[test]
    fn what_stands_in_or_behind_the_report_of_a_foreign_race_counts() {
        let lines = race(&["xas_find"], &["xas_load"]);
        assert_eq!(find(&lines), []);
        for place in [2, lines.len()] {
            let mut lines = lines.clone();
            lines.insert(place, "WARNING: CPU: 0 at x".into());
            assert_eq!(find(&lines), [place]);
        }
    }

    const INJECTED: &[&str] = &[
        "[    7.1] FAULT_INJECTION: forcing a failure.",
        "[    7.1] name failslab, interval 1, probability 0, space 0, times -1",
        "[    7.1] CPU: 0 UID: 0 PID: 88 Comm: a Tainted: G",
        "[    7.1] Hardware name: QEMU",
        "[    7.1] Call Trace:",
        "[    7.1]  <TASK>",
        "[    7.1]  dump_stack_lvl+0x5d/0x80",
        "[    7.1]  ? should_fail_ex.cold+0x32/0x4f",
        "[    7.1] RIP: 0033:0x7f",
        "[    7.1] RAX: ffffffffffffffda RBX: 1",
        "[    7.1]  </TASK>",
    ];

    #[test]
    fn the_report_of_an_injected_failure_is_no_complaint() {
        assert_eq!(find(INJECTED), []);
        // The kernel's own log has no time in front.
        let bare: Vec<_> = INJECTED.iter().map(|line| &line[10..]).collect();
        assert_eq!(find(&bare), []);
        // Nor has what the kernel says to its failing.
        let mut lines = INJECTED.to_vec();
        lines.extend([
            "kmemleak: 1 new suspected memory leaks",
            "EXT4-fs error (device vdb): x: Out of memory",
            "__kmem_cache_create_args(x) failed with error -12",
            "Call Trace:",
        ]);
        assert_eq!(find(&lines), []);
        assert_eq!(find(&lines[INJECTED.len()..]), [0, 1, 3]);
    }

    #[test]
    fn a_complaint_within_or_behind_an_injected_failure_counts() {
        for (place, behind) in [(3, 0), (INJECTED.len(), 1)] {
            let mut lines = INJECTED.to_vec();
            lines.insert(place, "[    7.1] WARNING: CPU: 0 at x");
            lines.push("[    7.2] Call Trace:");
            let mut expected = vec![place];
            // The stack of a complaint is its own once the report is over.
            expected.extend((behind == 1).then_some(place + 1));
            let found = find(&lines);
            assert!(found.starts_with(&expected), "{found:?}");
        }
    }
}
