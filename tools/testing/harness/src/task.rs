// SPDX-License-Identifier: GPL-2.0
//! Something that may block in the kernel, on a thread of its own.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// What [`soon`] says, in milliseconds.
static SOON: AtomicU64 = AtomicU64::new(12_000);

/// Multiplies how long this process waits for things.
pub fn be_patient(factor: f64) {
    let limit = Duration::from_secs(12).mul_f64(factor);
    SOON.store(limit.as_millis() as u64, Ordering::Relaxed);
}

/// How long a call that should end may take. Tests run under emulation, on busy hosts.
pub fn soon() -> Duration {
    Duration::from_millis(SOON.load(Ordering::Relaxed))
}

/// A call under way. Dropping it abandons the thread, which ends with the process.
pub struct Task<T> {
    what: String,
    receiver: Receiver<T>,
    result: RefCell<Option<T>>,
    /// The thread's id once it runs.
    thread: Arc<AtomicI32>,
}

impl<T: Send + 'static> Task<T> {
    /// Starts `call`; `what` names it in errors.
    pub fn start(what: impl Into<String>, call: impl FnOnce() -> T + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        let thread = Arc::new(AtomicI32::new(0));
        let own_id = Arc::clone(&thread);
        std::thread::spawn(move || {
            own_id.store(rustix::thread::gettid().as_raw_pid(), Ordering::Relaxed);
            // Nobody may be waiting any more.
            let _ = sender.send(call());
        });
        Self {
            what: what.into(),
            receiver,
            result: RefCell::new(None),
            thread,
        }
    }

    /// Whether the call is under way, and its thread asleep in the kernel.
    pub fn sleeps(&self) -> bool {
        let thread = self.thread.load(Ordering::Relaxed);
        thread != 0 && !self.is_done() && sleeps(Path::new("/proc/self/task"), thread)
    }

    /// Whether the thread sleeps in a kernel function of which `is` says so: what it called is the
    /// scheduler's or a lock's. The line is `name+0x12/0x34`, for a module with its name behind.
    pub fn sleeps_in(&self, is: impl Fn(&str) -> bool) -> bool {
        let thread = self.thread.load(Ordering::Relaxed);
        thread != 0
            && self.sleeps()
            && caller_of_sleep(&Path::new("/proc/self/task").join(thread.to_string()))
                .is_some_and(|line| is(&line))
    }

    /// Whether the thread sleeps in a `read` of `fd`.
    pub fn sleeps_in_read(&self, fd: i32) -> bool {
        let thread = self.thread.load(Ordering::Relaxed);
        thread != 0 && sleeps_in_read(Path::new("/proc/self/task"), thread, fd)
    }

    /// Whether the thread waits until it may write to a file system that is frozen.
    pub fn waits_to_write(&self) -> bool {
        let thread = self.thread.load(Ordering::Relaxed);
        thread != 0 && waits_to_write(&Path::new("/proc/self/task").join(thread.to_string()))
    }

    /// How often the thread went to sleep so far.
    pub fn times_asleep(&self) -> Result<u64> {
        let thread = self.thread.load(Ordering::Relaxed);
        let status = fs::read_to_string(format!("/proc/self/task/{thread}/status"))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        Ok(line.context("no count of switches")?.trim().parse()?)
    }

    /// Whether the call has returned.
    pub fn is_done(&self) -> bool {
        let mut result = self.result.borrow_mut();
        if result.is_none() {
            *result = self.receiver.try_recv().ok();
        }
        result.is_some()
    }

    /// What the call returned, waiting for it for a while.
    pub fn finish(self) -> Result<T> {
        self.finish_within(soon())
    }

    /// The same with a limit of its own.
    pub fn finish_within(self, limit: Duration) -> Result<T> {
        if let Some(value) = self.result.into_inner() {
            return Ok(value);
        }
        match self.receiver.recv_timeout(limit) {
            Ok(value) => Ok(value),
            Err(RecvTimeoutError::Timeout) => bail!("{} still waits after {limit:?}", self.what),
            Err(RecvTimeoutError::Disconnected) => bail!("{} panicked", self.what),
        }
    }
}

/// The state of a task in one of the directories of `/proc`, as the letter that stands for it.
pub fn state(directory: &Path, id: i32) -> Option<char> {
    let stat = fs::read_to_string(directory.join(id.to_string()).join("stat")).ok()?;
    // It is the first word behind the name, which may have anything in it.
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Whether a task waits for something, and does not run.
pub fn sleeps(directory: &Path, id: i32) -> bool {
    matches!(state(directory, id), Some('S' | 'D'))
}

/// Whether a task in one of the directories of `/proc` sleeps in a `read` of `fd`.
pub fn sleeps_in_read(directory: &Path, id: i32, fd: i32) -> bool {
    let path = directory.join(id.to_string()).join("syscall");
    let text = fs::read_to_string(path).unwrap_or_default();
    // The number of the system call, then its arguments; or `running`.
    text.starts_with(&format!("{} {fd:#x} ", libc::SYS_read))
}

/// Whether a worker of the kernel sleeps in the module itself: for a lock, or for the daemon.
pub fn module_waits_in_a_worker() -> bool {
    let tasks = fs::read_dir("/proc").into_iter().flatten().flatten();
    tasks
        .filter(|task| {
            fs::read_to_string(task.path().join("comm"))
                .is_ok_and(|name| name.starts_with("kworker"))
        })
        .filter_map(|task| caller_of_sleep(&task.path()))
        .any(|line| line.ends_with("[cachefiles]"))
}

/// Whether a worker of the kernel waits until it may write to a file system that is frozen.
pub fn a_worker_waits_to_write() -> bool {
    let tasks = fs::read_dir("/proc").into_iter().flatten().flatten();
    tasks
        .filter(|task| {
            fs::read_to_string(task.path().join("comm"))
                .is_ok_and(|name| name.starts_with("kworker"))
        })
        .any(|task| waits_to_write(&task.path()))
}

/// Whether a task of `/proc` does.
fn waits_to_write(task: &Path) -> bool {
    let stack = fs::read_to_string(task.join("stack"));
    stack.is_ok_and(|stack| stack.contains(" mnt_want_write+"))
}

/// The kernel function in which a task of `/proc` sleeps. The kernel leaves out what belongs to the
/// scheduler and to locks, so the first line is who called that.
fn caller_of_sleep(task: &Path) -> Option<String> {
    let stack = fs::read_to_string(task.join("stack")).ok()?;
    let line = stack.lines().next()?;
    // An address that is not shown comes first.
    Some(line.trim_start_matches("[<0>] ").to_owned())
}

/// A file that is being read.
pub type ReadTask = Task<io::Result<Vec<u8>>>;

/// Reads a whole file in the background.
pub fn read_in_background(path: &Path) -> ReadTask {
    let path: PathBuf = path.to_owned();
    Task::start(format!("reading {}", path.display()), move || {
        fs::read(path)
    })
}
