// SPDX-License-Identifier: GPL-2.0
//! A supervisor's process.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use cachefiles_daemon::stats::Snapshot;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::common::{PROGRAM, wait_for};

/// A supervisor that runs, with the directory of its files.
pub struct Supervisor {
    pub child: Child,
    pub dir: TempDir,
    pub notifications: UnixDatagram,
}

impl Supervisor {
    /// Starts it with `device` as the fd that systemd stored.
    pub fn start(device: OwnedFd, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let notifications = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        // fd 3 is where systemd's begin; LISTEN_PID is known only to the process itself.
        let script = r#"exec 3<&0 </dev/null; LISTEN_PID=$$ exec "$0" "$@""#;
        let child = Command::new("sh")
            .args([
                "-c",
                script,
                PROGRAM,
                "supervise",
                "--blobs",
                "/",
                "--threads",
                "2",
            ])
            .arg("--pid-file")
            .arg(dir.path().join("pid"))
            .arg("--stats")
            .arg(dir.path().join("stats"))
            .arg("--dir")
            .arg(dir.path())
            .arg("--runtime-dir")
            .arg(dir.path().join("run"))
            .args(more)
            .env("LISTEN_FDS", "1")
            .env("LISTEN_FDNAMES", "cachefiles")
            .env("NOTIFY_SOCKET", dir.path().join("notify"))
            .stdin(Stdio::from(device))
            .stderr(File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self {
            child,
            dir,
            notifications,
        }
    }

    /// A file of its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Its worker.
    pub fn worker(&self) -> Option<Pid> {
        Pid::from_raw(
            fs::read_to_string(self.path("pid"))
                .ok()?
                .trim()
                .parse()
                .ok()?,
        )
    }

    /// Its counters.
    pub fn stats(&self) -> Option<Snapshot> {
        Snapshot::read(&File::open(self.path("stats")).ok()?).ok()
    }

    /// Waits until the `count`th worker serves.
    pub fn wait_worker(&self, count: u64) -> Pid {
        wait_for("a worker", || {
            self.stats().filter(|stats| stats.workers == count)
        });
        self.worker().unwrap()
    }

    /// How it ends when it is told to.
    pub fn stop(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

/// A test that fails leaves nothing behind that runs on: a supervisor would start workers for ever.
impl Drop for Supervisor {
    fn drop(&mut self) {
        // Both fail if they have ended, as they have where the test has passed.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(worker) = self.worker() {
            let _ = kill_process(worker, Signal::KILL);
        }
    }
}
