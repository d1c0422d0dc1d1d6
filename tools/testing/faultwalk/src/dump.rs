// SPDX-License-Identifier: GPL-2.0
//! What the kernel logs of each failure that it injects: two lines and a stack. Taken out of the
//! log, what is left has to be free of complaints.

/// A function in the kernel or in a module, and a place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The function's name, as it is in the symbol table.
    pub function: String,
    /// The return address, as bytes behind its start.
    pub at: u64,
    /// The module it is in.
    pub module: Option<String>,
}

/// A failure that was injected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// Where the call came from, the innermost first.
    pub frames: Vec<Frame>,
}

impl Dump {
    /// The innermost frame in the module under test.
    pub fn innermost(&self, module: &str) -> Option<&Frame> {
        self.frames
            .iter()
            .find(|frame| frame.module.as_deref() == Some(module))
    }
}

const HEADING: &str = "FAULT_INJECTION: forcing a failure.";

/// What the kernel says, with a stack, when a slab cache could not be made.
const NO_SLAB: &str = "__kmem_cache_create_args(";

/// A report that is being taken out of the log.
enum Report {
    Failure(Dump),
    /// One that a failure led to.
    NoSlab,
}

/// Takes the reports of injected failures out of a log, and what the kernel itself says to its own
/// failing. A report goes on for as long as lines are of its kind, so nothing that somebody else
/// logs in the middle of one gets lost.
pub fn split(lines: Vec<String>) -> (Vec<Dump>, Vec<String>) {
    let (mut dumps, mut rest) = (Vec::new(), Vec::new());
    let mut current: Option<Report> = None;
    let mut end = |report: Option<Report>| {
        if let Some(Report::Failure(dump)) = report {
            dumps.push(dump);
        }
    };
    for line in lines {
        if line.starts_with(HEADING) {
            let dump = Dump { frames: Vec::new() };
            end(current.replace(Report::Failure(dump)));
        } else if line.starts_with(NO_SLAB) {
            end(current.replace(Report::NoSlab));
        } else if current.is_some() && belongs(&line) {
            if let (Some(Report::Failure(dump)), Some(frame)) = (&mut current, frame(&line)) {
                dump.frames.push(frame);
            }
            if line.trim() == "</TASK>" {
                end(current.take());
            }
        } else if !is_of_the_disk(&line) {
            rest.push(line);
        }
    }
    end(current);
    (dumps, rest)
}

/// ext4 marks its file system as one with errors when it has no memory for a new inode.
fn is_of_the_disk(line: &str) -> bool {
    line.starts_with("EXT4-fs error") && line.ends_with("Out of memory")
}

/// Whether a line can be part of a report.
fn belongs(line: &str) -> bool {
    const HEADS: &[&str] = &[
        "name fail",
        "CPU: ",
        "Hardware name: ",
        "Call Trace:",
        "Workqueue: ",
        "RIP: ",
        "Code: ",
        "RSP: ",
        "RAX: ",
        "RDX: ",
        "RBP: ",
        "R10: ",
        "R13: ",
        "Tainted: ",
    ];
    const TAGS: &[&str] = &["<TASK>", "</TASK>", "<IRQ>", "</IRQ>", "<NMI>", "</NMI>"];
    HEADS.iter().any(|head| line.starts_with(head))
        || TAGS.contains(&line.trim())
        || frame(line.trim_start().trim_start_matches("? ")).is_some()
        // A function that is gone, or not there yet.
        || line.trim_start().trim_start_matches("? ").starts_with("0xffffffff")
}

/// `function+0x12/0x34 [module]`. What the kernel is not sure of, behind a question mark, is none.
fn frame(line: &str) -> Option<Frame> {
    let mut words = line.split_whitespace();
    let (function, place) = words.next()?.split_once("+0x")?;
    let (at, _size) = place.split_once("/0x")?;
    let module = words.next().and_then(|word| word.strip_prefix('['));
    Some(Frame {
        function: function.to_owned(),
        at: u64::from_str_radix(at, 16).ok()?,
        module: module.map(|module| module.trim_end_matches(']').to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_report_becomes_a_stack_and_leaves_the_other_lines() {
        let (dumps, rest) = split(lines(
            "CacheFiles: Loaded\n\
             FAULT_INJECTION: forcing a failure.\\x0aname failslab, interval 1, times 0\n\
             CPU: 0 UID: 0 PID: 77 Comm: walk Not tainted 6.12.117 #1\n\
             Hardware name: QEMU Standard PC\n\
             Call Trace:\n\
             \x20<TASK>\n\
             \x20dump_stack_lvl+0x6a/0x90\n\
             \x20? kasan_save_stack+0x1/0x2\n\
             WARNING: CPU: 1 PID: 3 at somewhere\n\
             \x20_RNvCs_10cachefiles4open+0x5b/0x100 [cachefiles]\n\
             \x20vfs_open+0x1/0x20\n\
             RIP: 0033:0x7f00\n\
             \x20</TASK>\n\
             CPU: 0 is fine",
        ));
        assert_eq!(
            rest,
            [
                "CacheFiles: Loaded",
                "WARNING: CPU: 1 PID: 3 at somewhere",
                "CPU: 0 is fine"
            ]
        );
        assert_eq!(dumps.len(), 1);
        assert_eq!(dumps[0].frames.len(), 3);
        assert_eq!(
            dumps[0].innermost("cachefiles"),
            Some(&Frame {
                function: "_RNvCs_10cachefiles4open".into(),
                at: 0x5b,
                module: Some("cachefiles".into()),
            })
        );
    }

    #[test]
    fn what_the_kernel_says_to_its_own_failing_is_no_complaint() {
        let (dumps, rest) = split(lines(
            "FAULT_INJECTION: forcing a failure.\n\
             Call Trace:\n\
             \x20</TASK>\n\
             __kmem_cache_create_args(x) failed with error -12\n\
             Call Trace:\n\
             \x20? 0xffffffffa01d8000\n\
             \x20do_one_initcall+0x19c/0x390\n\
             \x20</TASK>\n\
             EXT4-fs error (device vdb) in __ext4_new_inode:1092: Out of memory\n\
             EXT4-fs error (device vdb) in __ext4_new_inode:1092: Corrupt filesystem",
        ));
        assert_eq!(dumps.len(), 1);
        assert_eq!(rest.len(), 1);
        assert!(rest[0].ends_with("Corrupt filesystem"));
    }

    #[test]
    fn a_report_without_a_stack_is_one_all_the_same() {
        let (dumps, rest) = split(lines(
            "FAULT_INJECTION: forcing a failure.\nFAULT_INJECTION: forcing a failure.\nBUG: x",
        ));
        assert_eq!((dumps.len(), rest.len()), (2, 1));
    }
}
