// SPDX-License-Identifier: GPL-2.0
//! The supervisor's signals, and waiting for them and for something else.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
    /// What was waited for.
    Readable,
    /// The time is over.
    TimeOut,
}

/// A pipe for each kind of signal.
#[derive(Debug)]
pub struct Signals {
    stop: UnixStream,
    reload: UnixStream,
}

impl Signals {
    /// Catches the signals from now on.
    pub fn catch() -> Result<Self> {
        Ok(Self {
            stop: pipe_of(&[SIGTERM, SIGINT])?,
            reload: pipe_of(&[SIGHUP])?,
        })
    }

    /// Waits for `fd` to become readable, for a signal, or for the time to pass.
    pub fn wait_for(&self, fd: Option<&dyn AsFd>, timeout: Option<Duration>) -> Result<Woken> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let left = left.map(Timespec::try_from).transpose()?;
            let mut fds = vec![
                PollFd::new(&self.stop, PollFlags::IN),
                PollFd::new(&self.reload, PollFlags::IN),
            ];
            fds.extend(fd.map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)));
            match poll(&mut fds, left.as_ref()) {
                Ok(0) => return Ok(Woken::TimeOut),
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno).context("waiting for the worker"),
            }
            let is_ready = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
            if is_ready(0) {
                empty(&self.stop)?;
                return Ok(Woken::Stop);
            }
            if is_ready(1) {
                empty(&self.reload)?;
                return Ok(Woken::Reload);
            }
            return Ok(Woken::Readable);
        }
    }
}

fn pipe_of(signals: &[i32]) -> Result<UnixStream> {
    let (pipe, end) = UnixStream::pair().context("making the pipe for signals")?;
    for &signal in signals {
        let end = end.try_clone().context("making the pipe for signals")?;
        signal_hook::low_level::pipe::register(signal, end).context("catching signals")?;
    }
    Ok(pipe)
}

/// However often it came, it counts once. There is a byte in the pipe.
fn empty(mut pipe: &UnixStream) -> Result<()> {
    pipe.read(&mut [0; 1024]).context("reading a signal")?;
    Ok(())
}
