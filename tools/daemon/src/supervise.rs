// SPDX-License-Identifier: GPL-2.0
//! The supervisor: holds the device and keeps a worker running.
//!
//! It does so little that it has no reason to crash: no message of the kernel passes through it.
//! When a worker dies the kernel closes its objects; then `restore` makes what it left unanswered
//! readable again, and the next worker finds it. The order matters: `restore` is written when the
//! old worker is gone and the new one not there yet, so that nothing is handed out twice.
//!
//! Should the supervisor itself be killed, its worker serves on, as the only holder of the device,
//! and a new supervisor finds the device busy. systemd kills the worker too (the whole control
//! group), and passes the device on from its fd store.

mod backoff;
mod child;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cachefiles_protocol::Device;
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGINT, SIGTERM};

use self::backoff::Backoff;
use self::child::{Death, WorkerProcess};
use crate::cache::{self, CacheArgs};
use crate::serve::FetchArgs;
use crate::stats::Stats;
use crate::systemd;

/// Options of `supervise`.
#[derive(Debug, Args)]
pub struct SuperviseArgs {
    #[command(flatten)]
    cache: CacheArgs,
    /// Directory of blobs, passed on to the worker
    #[arg(long, value_name = "DIR")]
    blobs: PathBuf,
    #[command(flatten)]
    fetch: FetchArgs,
    /// File that keeps the counters, for others to read; in memory if not given
    #[arg(long, value_name = "PATH")]
    stats: Option<PathBuf>,
    /// File that names the running worker's process id
    #[arg(long, value_name = "PATH")]
    pid_file: Option<PathBuf>,
    /// Wait in milliseconds before a worker that died is started again; it doubles with each death
    #[arg(long, default_value_t = 5, value_name = "MS")]
    backoff_min: u64,
    /// The longest such wait in milliseconds
    #[arg(long, default_value_t = 2000, value_name = "MS")]
    backoff_max: u64,
    /// How long in milliseconds a worker must have lived for the wait to start from the minimum
    /// again
    #[arg(long, default_value_t = 1000, value_name = "MS")]
    backoff_reset: u64,
    /// How often in a row a worker may fail to start before this gives up
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    start_attempts: u32,
    /// Write no `restore` when a worker died: for kernels that repeat unanswered requests by
    /// themselves
    #[arg(long)]
    no_restore: bool,
}

/// How long a worker may take to leave after SIGTERM.
const STOP_TIME: Duration = Duration::from_secs(10);

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    Signal,
    Readable,
    TimeOut,
}

/// Runs until SIGTERM or SIGINT, or until no worker can be started.
pub fn run(args: &SuperviseArgs, log_level: String) -> Result<()> {
    let (signals, signal_end) = UnixStream::pair().context("making the pipe for signals")?;
    for signal in [SIGTERM, SIGINT] {
        let end = signal_end
            .try_clone()
            .context("making the pipe for signals")?;
        signal_hook::low_level::pipe::register(signal, end).context("catching signals")?;
    }
    let stats_file = match &args.stats {
        Some(path) => create_file(path)?,
        None => Stats::memory_file()?,
    };
    // Sets the file up; the workers map it themselves.
    drop(Stats::create(&stats_file)?);
    let device = match systemd::device_from_environment()? {
        Some(device) => {
            device
                .restore()
                .context("asking the kernel to repeat unanswered requests (restore)")?;
            cache::set_timeout(&device, args.cache.timeout)?;
            device
        }
        None => {
            let device = cache::open_and_bind(&args.cache)?;
            systemd::store(&device);
            device
        }
    };
    let supervisor = Supervisor {
        args,
        log_level,
        signals,
        stats_file,
        device,
    };
    let result = supervisor.keep_running();
    if let Some(path) = &args.pid_file {
        // It may never have been written.
        let _ = std::fs::remove_file(path);
    }
    systemd::stopping();
    result
}

struct Supervisor<'a> {
    args: &'a SuperviseArgs,
    log_level: String,
    signals: UnixStream,
    stats_file: File,
    device: Device,
}

impl Supervisor<'_> {
    /// Starts one worker after the other.
    fn keep_running(&self) -> Result<()> {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(
            ms(self.args.backoff_min),
            ms(self.args.backoff_max),
            ms(self.args.backoff_reset),
        );
        let mut failed_starts = 0;
        let mut first = true;
        loop {
            let started = Instant::now();
            let mut worker = self.start()?;
            let ready = self.wait_ready(&worker)?;
            if ready == Woken::Readable && worker.is_ready() {
                failed_starts = 0;
                if first {
                    systemd::ready();
                    first = false;
                }
            }
            if ready == Woken::Signal || self.wait_for(&worker.pidfd(), None)? == Woken::Signal {
                tracing::info!("stopping worker {}", worker.id());
                return self.stop(worker);
            }
            let death = worker.reap()?;
            tracing::warn!(
                "worker {} {death} after {} ms",
                worker.id(),
                started.elapsed().as_millis()
            );
            // A worker that leaves by itself before it serves will do so again; one that is killed
            // says nothing about the next.
            if !worker.is_ready() && matches!(death, Death::Exited(_)) {
                failed_starts += 1;
                if failed_starts >= self.args.start_attempts {
                    bail!(
                        "the worker cannot be started: {failed_starts} attempts in a row {death} before serving; \
                         its messages above name the cause"
                    );
                }
            }
            if !self.args.no_restore {
                self.device
                    .restore()
                    .context("asking the kernel to repeat unanswered requests (restore)")?;
            }
            let wait = backoff.next(started.elapsed());
            if self.wait_for(&self.signals, Some(wait))? == Woken::Signal {
                return Ok(());
            }
        }
    }

    /// Starts a worker and passes it the device.
    fn start(&self) -> Result<WorkerProcess> {
        let (fetch, cache) = (&self.args.fetch, &self.args.cache);
        let numbers = [
            ("--threads", fetch.threads.to_string()),
            ("--fetch-deadline", fetch.fetch_deadline.to_string()),
            ("--tries", fetch.tries.to_string()),
            ("--brun", cache.brun.to_string()),
            ("--frun", cache.frun.to_string()),
        ];
        let mut arguments: Vec<&OsStr> =
            ["--log-level", &self.log_level, "serve", "--fd-from", "-"]
                .map(OsStr::new)
                .to_vec();
        for (name, number) in &numbers {
            arguments.extend([OsStr::new(name), OsStr::new(number)]);
        }
        if let Some(dir) = &cache.dir {
            arguments.extend([OsStr::new("--dir"), dir.as_os_str()]);
        }
        arguments.extend([OsStr::new("--blobs"), self.args.blobs.as_os_str()]);
        let worker = WorkerProcess::spawn(&arguments)?;
        if let Some(path) = &self.args.pid_file {
            write_pid_file(path, worker.id())?;
        }
        // Fails if the worker has died already; then its death says more than this error.
        if let Err(error) = worker.give(self.device.as_fd(), &self.stats_file) {
            tracing::debug!("{error:#}");
        }
        Ok(worker)
    }

    /// Waits until the worker says that it is ready, or is gone: both make its socket readable.
    fn wait_ready(&self, worker: &WorkerProcess) -> Result<Woken> {
        self.wait_for(worker.socket(), None)
    }

    /// Waits for `fd` to become readable, for a signal, or for the time to pass.
    fn wait_for(&self, fd: &impl AsFd, timeout: Option<Duration>) -> Result<Woken> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let left = left.map(Timespec::try_from).transpose()?;
            let mut fds = [
                PollFd::new(&self.signals, PollFlags::IN),
                PollFd::new(fd, PollFlags::IN),
            ];
            match poll(&mut fds, left.as_ref()) {
                Ok(0) => return Ok(Woken::TimeOut),
                Ok(_)
                    if fds
                        .first()
                        .is_some_and(|signals| !signals.revents().is_empty()) =>
                {
                    return Ok(Woken::Signal);
                }
                Ok(_) => return Ok(Woken::Readable),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).context("waiting for the worker"),
            }
        }
    }

    /// Ends the worker, with force if it does not leave by itself.
    fn stop(&self, mut worker: WorkerProcess) -> Result<()> {
        worker.terminate()?;
        let timeout = Timespec::try_from(STOP_TIME)?;
        let pidfd = worker.pidfd();
        let ended = rustix::io::retry_on_intr(|| {
            poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout))
        });
        if ended.context("waiting for the worker to leave")? == 0 {
            tracing::warn!("worker {} does not leave, killing it", worker.id());
            worker.kill()?;
        }
        let death = worker.reap()?;
        tracing::info!("worker {} {death}", worker.id());
        Ok(())
    }
}

fn create_file(path: &Path) -> Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path);
    file.with_context(|| format!("cannot create the file of counters {}", path.display()))
}

/// Replaces the file in one step: a reader never sees half a number.
fn write_pid_file(path: &Path, pid: u32) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let replace = || -> io::Result<()> {
        std::fs::write(&temporary, format!("{pid}\n"))?;
        std::fs::rename(&temporary, path)
    };
    replace().with_context(|| format!("cannot write the pid file {}", path.display()))
}
