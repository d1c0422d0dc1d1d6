// SPDX-License-Identifier: GPL-2.0
//! Fault injection of the kernel (`Documentation/fault-injection/`): the nth allocation below the
//! module's code fails, and only that one.
//!
//! Two mechanisms reach what is to be reached:
//!
//! - `/proc/thread-self/fail-nth` counts what the calling thread allocates. It does not see what
//!   workers of the kernel do for it.
//! - With `interval` and `times=1` the attributes in debugfs count what anybody allocates.
//!
//! Both look at the stack: only what has the module's code on it counts.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};

const DEBUGFS: &str = "/sys/kernel/debug";

/// Frames that the kernel looks at, at most.
const DEPTH: u32 = 32;

/// How the nth one is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Mode {
    /// Slab objects and pages, of the thread that does the step.
    Task,
    /// Slab objects, whoever allocates them: the thread, the kernel's workers, the daemon.
    Slab,
    /// Pages, whoever allocates them.
    Pages,
    /// Copies from and to user space, of the thread that does the step.
    Copies,
}

impl Mode {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Slab => "slab",
            Self::Pages => "pages",
            Self::Copies => "copies",
        }
    }

    /// Counted in one thread, by `fail-nth`.
    pub fn is_of_a_thread(self) -> bool {
        matches!(self, Self::Task | Self::Copies)
    }

    fn attributes(self) -> &'static [Attribute] {
        match self {
            Self::Task => &[Attribute::Slab, Attribute::Pages],
            Self::Slab => &[Attribute::Slab],
            Self::Pages => &[Attribute::Pages],
            Self::Copies => &[Attribute::Copies],
        }
    }
}

/// A kind of failure, as the kernel has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attribute {
    Slab,
    Pages,
    Copies,
}

impl Attribute {
    const ALL: [Self; 3] = [Self::Slab, Self::Pages, Self::Copies];

    fn directory(self) -> PathBuf {
        Path::new(DEBUGFS).join(match self {
            Self::Slab => "failslab",
            Self::Pages => "fail_page_alloc",
            Self::Copies => "fail_usercopy",
        })
    }

    fn set(self, name: &str, value: impl std::fmt::Display) -> Result<()> {
        let path = self.directory().join(name);
        fs::write(&path, value.to_string())
            .with_context(|| format!("writing {value} to {}", path.display()))
    }

    /// Only what has a return address in `required` on its stack counts, and none in `rejected`.
    fn filter(self, required: &Range<u64>, rejected: &Range<u64>) -> Result<()> {
        self.set("require-start", required.start)?;
        self.set("require-end", required.end)?;
        self.set("reject-start", rejected.start)?;
        self.set("reject-end", rejected.end)
    }

    /// Whether one failed since `times` was set to one.
    fn has_fired(self) -> Result<bool> {
        let text = fs::read_to_string(self.directory().join("times"))?;
        Ok(text.trim() == "0")
    }
}

/// Everywhere: no filter.
const EVERYWHERE: Range<u64> = 0..u64::MAX;
/// Nowhere.
const NOWHERE: Range<u64> = 1..1;

/// Whether this kernel has what it takes.
pub fn is_available() -> bool {
    Attribute::ALL
        .iter()
        .all(|attribute| attribute.directory().join("require-start").exists())
}

/// The nth failure of a step. Shared by the threads that take part in it.
#[derive(Clone)]
pub struct Fault(Arc<Inner>);

struct Inner {
    mode: Mode,
    nth: u32,
    fired: AtomicBool,
}

impl Fault {
    /// None at all.
    pub fn none(mode: Mode) -> Self {
        Self(Arc::new(Inner {
            mode,
            nth: 0,
            fired: AtomicBool::new(false),
        }))
    }

    /// Sets the kernel up so that only what has a return address in `required` on its stack counts,
    /// and nothing that has one in `rejected`. Nothing fails yet.
    pub fn prepare(
        mode: Mode,
        nth: u32,
        required: &Range<u64>,
        rejected: &Range<u64>,
    ) -> Result<Self> {
        for attribute in Attribute::ALL {
            disarm(attribute)?;
            attribute.set("verbose_ratelimit_interval_ms", 0)?;
            attribute.set("stacktrace-depth", DEPTH)?;
            attribute.filter(&NOWHERE, &(0..0))?;
        }
        for attribute in [Attribute::Slab, Attribute::Pages] {
            attribute.set("ignore-gfp-wait", "N")?;
        }
        Attribute::Slab.set("cache-filter", "N")?;
        Attribute::Pages.set("ignore-gfp-highmem", "N")?;
        Attribute::Pages.set("min-order", 0)?;
        if !mode.is_of_a_thread() {
            align(mode, nth)?;
        }
        for &attribute in mode.attributes() {
            attribute.set("verbose", 2)?;
            attribute.filter(required, rejected)?;
        }
        Ok(Self(Arc::new(Inner {
            mode,
            nth,
            fired: AtomicBool::new(false),
        })))
    }

    /// How it is counted.
    pub fn mode(&self) -> Mode {
        self.0.mode
    }

    /// Whether anything failed.
    pub fn has_fired(&self) -> bool {
        self.0.fired.load(Ordering::Acquire)
    }

    /// Does the system call under test. The thread that calls this is the one whose allocations
    /// count, where those of one thread do.
    pub fn in_thread<R>(&self, call: impl FnOnce() -> R) -> Result<R> {
        if self.0.nth == 0 || !self.mode().is_of_a_thread() {
            return Ok(call());
        }
        // Opened before anything is counted.
        let counter = File::options()
            .read(true)
            .write(true)
            .open("/proc/thread-self/fail-nth")
            .context("opening fail-nth")?;
        counter.write_all_at(self.0.nth.to_string().as_bytes(), 0)?;
        let result = call();
        let mut left = [0; 16];
        let length = counter.read_at(&mut left, 0)?;
        counter.write_all_at(b"0", 0)?;
        if left.get(..length) == Some(b"0\n".as_slice()) {
            self.0.fired.store(true, Ordering::Release);
        }
        Ok(result)
    }

    /// Does the whole of a step, up to where all that it set off has ended. What anybody allocates
    /// meanwhile counts, where it is not that of one thread.
    pub fn around<R>(&self, step: impl FnOnce() -> R) -> Result<R> {
        if self.0.nth == 0 || self.mode().is_of_a_thread() {
            return Ok(step());
        }
        for &attribute in self.mode().attributes() {
            attribute.set("interval", self.0.nth)?;
            attribute.set("times", 1)?;
            attribute.set("probability", 100)?;
        }
        let result = step();
        for &attribute in self.mode().attributes() {
            attribute.set("probability", 0)?;
            if attribute.has_fired()? {
                self.0.fired.store(true, Ordering::Release);
            }
        }
        Ok(result)
    }

    /// Both at once, for a step that is one system call and nothing behind it.
    pub fn hit<R>(&self, call: impl FnOnce() -> R) -> Result<R> {
        self.around(|| self.in_thread(call))?
    }
}

/// Nothing fails any more.
pub fn disarm_all() -> Result<()> {
    Attribute::ALL.into_iter().try_for_each(disarm)
}

fn disarm(attribute: Attribute) -> Result<()> {
    attribute.set("probability", 0)?;
    attribute.set("verbose", 0)?;
    attribute.set("interval", 1)?;
    attribute.set("space", 0)?;
    attribute.set("times", 1)?;
    attribute.set("task-filter", "N")
}

/// With an interval of n every nth one fails, counted from the start of the machine. So let one of
/// our own fail first: from then on the count is a multiple of n.
fn align(mode: Mode, nth: u32) -> Result<()> {
    if nth < 2 {
        return Ok(());
    }
    fs::write("/proc/thread-self/make-it-fail", "1").context("make-it-fail")?;
    let result = mode
        .attributes()
        .iter()
        .try_for_each(|&attribute| align_attribute(attribute, nth));
    fs::write("/proc/thread-self/make-it-fail", "0")?;
    result
}

fn align_attribute(attribute: Attribute, nth: u32) -> Result<()> {
    attribute.filter(&EVERYWHERE, &(0..0))?;
    attribute.set("task-filter", "Y")?;
    attribute.set("interval", nth)?;
    attribute.set("times", 1)?;
    attribute.set("probability", 100)?;
    // A file structure and a page each time, one of which fails in the end; or else it is the look
    // itself that fails, and the next one tells.
    let fired = (0..20 * nth).any(|_| {
        let _ = fs::read("/proc/thread-self/environ");
        attribute.has_fired().unwrap_or(false)
    });
    attribute.set("probability", 0)?;
    attribute.set("task-filter", "N")?;
    ensure!(fired, "none of {} allocations failed", 20 * nth);
    Ok(())
}
