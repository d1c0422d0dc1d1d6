// SPDX-License-Identifier: GPL-2.0
//! The worker's process as the supervisor sees it.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::handoff;

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl From<ExitStatus> for Death {
    fn from(status: ExitStatus) -> Self {
        match status.code() {
            Some(code) => Self::Exited(code),
            None => Self::Killed(status.signal().unwrap_or_default()),
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with status {code}"),
            Self::Killed(signal) => write!(f, "was killed by signal {signal}"),
        }
    }
}

/// A worker, running or dead but not reaped. Dropping it kills it: it must not outlive the
/// supervisor without anybody who restarts it.
#[derive(Debug)]
pub struct WorkerProcess {
    child: Child,
    pidfd: OwnedFd,
    socket: UnixStream,
    ready: bool,
}

impl WorkerProcess {
    /// Starts this same program with the arguments. Its stdin is the other end of the socket: the
    /// one fd that is inherited, so no other can leak into it.
    pub fn spawn(arguments: &[&OsStr]) -> Result<Self> {
        let (socket, theirs) = UnixStream::pair().context("making the worker's socket")?;
        let program = std::env::current_exe().context("finding this program")?;
        let child = Command::new(&program)
            .args(arguments)
            // What systemd says is meant for the supervisor alone.
            .env_remove("NOTIFY_SOCKET")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDNAMES")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .with_context(|| format!("cannot start the worker {}", program.display()))?;
        let pid =
            Pid::from_raw(i32::try_from(child.id())?).context("the worker has no process id")?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("watching the worker")?;
        Ok(Self {
            child,
            pidfd,
            socket,
            ready: false,
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Readable when the worker is ready, or gone.
    pub fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Readable when the worker has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.pidfd.as_fd()
    }

    /// Passes the device and the counters.
    pub fn give(&self, device: BorrowedFd<'_>, stats: &File) -> Result<()> {
        handoff::give(&self.socket, device, Some(stats))
    }

    /// Whether the worker has said that it serves.
    pub fn is_ready(&mut self) -> bool {
        let mut answer = [0; 64];
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        if !self.ready && matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1)) {
            self.ready = matches!((&self.socket).read(&mut answer), Ok(length) if length > 0);
        }
        self.ready
    }

    /// Asks it to leave.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Makes it leave.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            // Dead, but not reaped yet.
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno).context("sending a signal to the worker"),
        }
    }

    /// Waits for its end, and says which.
    pub fn reap(&mut self) -> Result<Death> {
        Ok(self.child.wait().context("waiting for the worker")?.into())
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // Both do nothing for a worker that was reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
