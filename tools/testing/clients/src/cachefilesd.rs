// SPDX-License-Identifier: GPL-2.0
//! Debian's cachefilesd, as it comes: it binds the cache and culls it.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachefiles_harness::sys;
use rustix::process::{Pid, Signal, kill_process};

const PROGRAM: &str = "/sbin/cachefilesd";
const CONFIG: &str = "/run/cachefilesd.conf";
const LOG: &str = "/run/cachefilesd.log";

/// The name of the cache.
const TAG: &str = "clients";

const PATIENCE: Duration = Duration::from_secs(20);

/// Percentages of free space: when culling ends, when it begins, when nothing more is stored.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub run: u8,
    pub cull: u8,
    pub stop: u8,
}

impl Limits {
    /// So low that no test comes near.
    pub const LOW: Self = Self {
        run: 10,
        cull: 7,
        stop: 3,
    };
}

/// A running cachefilesd. Killed when it is dropped.
pub struct Cachefilesd {
    child: Child,
}

impl Cachefilesd {
    /// Starts it, and waits until the cache is bound.
    pub fn start(limits: Limits) -> Result<Self> {
        let Limits { run, cull, stop } = limits;
        let lines = format!(
            "dir {}\ntag {TAG}\nbrun {run}%\nbcull {cull}%\nbstop {stop}%\n\
             frun 10%\nfcull 7%\nfstop 3%\n",
            sys::CACHE
        );
        fs::write(CONFIG, lines)?;
        // cachefilesd 0.10.10 takes a pointer for one it has overwritten, and aborts, when bits 28
        // to 31 of it are 6: with random addresses that is one start in 16. Without, the heap is
        // elsewhere.
        fs::write("/proc/sys/kernel/randomize_va_space", "0")?;
        let log = File::create(LOG)?;
        // In the foreground, telling what it does on standard error.
        let child = Command::new(PROGRAM)
            .args(["-n", "-s", "-f", CONFIG])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {PROGRAM}: is it installed on the host?"))?;
        let mut daemon = Self { child };
        sys::wait_for("the cache to be bound", PATIENCE, || {
            bound() || !daemon.runs()
        })?;
        // It says so when it has its signal handlers, and not before.
        sys::wait_for("cachefilesd to be up", PATIENCE, || {
            said("Daemon Started") || !daemon.runs()
        })?;
        ensure!(daemon.runs(), "cachefilesd ended by itself: {}", told());
        Ok(daemon)
    }

    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it as `service cachefilesd stop` does.
    pub fn stop(mut self) -> Result<()> {
        let status = self.end(Signal::TERM)?;
        ensure!(
            status.success(),
            "cachefilesd ended with {status}: {}",
            told()
        );
        Ok(())
    }

    /// Kills it.
    pub fn kill(mut self) -> Result<()> {
        let status = self.end(Signal::KILL)?;
        ensure!(
            status.signal() == Some(Signal::KILL.as_raw()),
            "cachefilesd had ended before, with {status}: {}",
            told()
        );
        Ok(())
    }

    /// Waits too until the cache is gone.
    fn end(&mut self, signal: Signal) -> Result<ExitStatus> {
        kill_process(Pid::from_child(&self.child), signal).context("signalling cachefilesd")?;
        let child = &mut self.child;
        sys::wait_for("the end of cachefilesd", PATIENCE, || {
            matches!(child.try_wait(), Ok(Some(_)) | Err(_))
        })?;
        sys::wait_for("the cache to be unbound", PATIENCE, || !bound())?;
        Ok(self.child.wait()?)
    }
}

impl Drop for Cachefilesd {
    fn drop(&mut self) {
        // After a good end there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the kernel has the cache, and it is active.
fn bound() -> bool {
    // CACHE REF VOLS OBJS ACCES S NAME
    let row = |row: &String| {
        let mut fields = row.split_whitespace().rev();
        fields.next() == Some(TAG) && fields.next() == Some("A")
    };
    sys::fscache_table("caches").is_ok_and(|rows| rows.iter().any(row))
}

/// What it has told so far, on one line.
pub fn told() -> String {
    let text = fs::read_to_string(LOG).unwrap_or_default();
    text.lines().collect::<Vec<_>>().join("; ")
}

fn said(words: &str) -> bool {
    told().contains(words)
}

/// Whether the program is there at all.
pub fn installed() -> bool {
    Path::new(PROGRAM).exists()
}
