// SPDX-License-Identifier: GPL-2.0
//! The supervisor: holds the device and keeps a worker running.
//!
//! It does so little that it has no reason to crash: no message of the kernel passes through it.
//! When a worker dies the kernel closes its objects; then `restore` makes what it left unanswered
//! readable again, and the next worker finds it. The order matters: `restore` is written when the
//! old worker is gone and the new one not there yet, so that nothing is handed out twice.
//!
//! Should the supervisor itself be killed, its worker serves on, as the only holder of the device.
//! A new supervisor finds the device busy, and takes it over from that worker ([`control`]).
//! systemd kills the worker too (the whole control group), and passes the device on from its fd
//! store.
//!
//! Stopping gives the device up, and images that are mounted then fail. So SIGTERM is put off until
//! none is, unless `--stop-in-use` is given or it comes twice.

mod backoff;
mod child;
mod device;
mod fixed;
mod signals;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cachefiles_protocol::Device;
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::backoff::Backoff;
use self::child::{Death, WorkerProcess};
use self::device::{make_runtime_dir, obtain_device};
use self::signals::{Signals, Woken};
use crate::cache::CacheArgs;
use crate::control;
use crate::mounts;
use crate::place;
use crate::serve::FetchArgs;
use crate::source::SourceArgs;
use crate::stats::Stats;
use crate::systemd;

/// Options of `supervise`.
#[derive(Debug, Clone, Args)]
pub struct SuperviseArgs {
    /// File with options like these, in TOML: those that are given take the place of its own
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    fetch: FetchArgs,
    /// File that keeps the counters, for others to read; in memory if not given
    #[arg(long, value_name = "PATH")]
    stats: Option<PathBuf>,
    /// Unix socket at which Prometheus finds metrics (GET /metrics)
    #[arg(long, value_name = "PATH")]
    metrics: Option<PathBuf>,
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
    /// Stop on SIGTERM at once though images are mounted: what is not cached of them fails from
    /// then on
    #[arg(long)]
    stop_in_use: bool,
    /// Directory for the socket by which a supervisor takes over from one that was killed
    #[arg(long, default_value = "/run/cachefiles-ondemandd", value_name = "DIR")]
    runtime_dir: PathBuf,
}

/// How long a worker may take to leave after SIGTERM.
const STOP_TIME: Duration = Duration::from_secs(10);

/// How often it is looked whether images are still mounted, once this is to stop.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Why a worker is not attended to any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// This is to stop.
    Stop,
    /// A new one is wanted.
    Reload,
    /// It is dead.
    Dead,
}

/// Reads the options and the configuration again: the options, and the level of the log.
pub type Reload<'a> = &'a dyn Fn() -> Result<(SuperviseArgs, String)>;

/// Runs until SIGTERM or SIGINT, or until no worker can be started.
pub fn run(mut args: SuperviseArgs, log_level: String, reload: Reload<'_>) -> Result<()> {
    let signals = Signals::catch()?;
    // Before the counters: those of a supervisor that runs must not be emptied.
    let device = obtain_device(&mut args)?;
    let stats_file = match &args.stats {
        Some(path) => Stats::create_file(path)?,
        None => Stats::memory_file()?,
    };
    // Sets the file up; the workers map it themselves.
    drop(Stats::create(&stats_file)?);
    let control = make_runtime_dir(&args.runtime_dir).then(|| control::path(&args.runtime_dir));
    let pid_file = args.pid_file.clone();
    let mut supervisor = Supervisor {
        args,
        reload,
        log_level,
        signals,
        stats_file,
        device,
        control,
        is_to_stop: false,
    };
    let result = supervisor.keep_running();
    if result.is_ok() {
        let cache = &supervisor.args.cache;
        cache.live.leave(&supervisor.device, &cache.tag);
    }
    if let Some(path) = &pid_file {
        // It may never have been written.
        let _ = std::fs::remove_file(path);
    }
    if let Some(path) = &supervisor.control {
        let _ = std::fs::remove_file(path);
    }
    systemd::stopping();
    result
}

struct Supervisor<'a> {
    args: SuperviseArgs,
    reload: Reload<'a>,
    log_level: String,
    signals: Signals,
    stats_file: File,
    device: Device,
    /// Where the worker is to listen for another supervisor.
    control: Option<PathBuf>,
    /// As soon as nothing is in use.
    is_to_stop: bool,
}

impl Supervisor<'_> {
    /// Starts one worker after the other.
    fn keep_running(&mut self) -> Result<()> {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(
            ms(self.args.backoff_min),
            ms(self.args.backoff_max),
            ms(self.args.backoff_reset),
        );
        let mut failed_starts = 0;
        loop {
            let started = Instant::now();
            let mut worker = self.start()?;
            match self.attend(&mut worker)? {
                Ended::Stop => {
                    tracing::info!("stopping worker {}", worker.id());
                    return self.stop(worker);
                }
                Ended::Reload => {
                    tracing::info!("SIGHUP: replacing worker {}", worker.id());
                    self.stop(worker)?;
                    self.restore()?;
                    continue;
                }
                Ended::Dead => {}
            }
            let death = worker.reap()?;
            tracing::warn!(
                "worker {} {death} after {} ms",
                worker.id(),
                started.elapsed().as_millis()
            );
            // A worker that leaves by itself before it serves will do so again; one that is killed
            // says nothing about the next.
            if worker.is_ready() {
                failed_starts = 0;
            } else if matches!(death, Death::Exited(_)) {
                failed_starts += 1;
                if failed_starts >= self.args.start_attempts {
                    bail!(
                        "the worker cannot be started: {failed_starts} attempts in a row {death} before serving; \
                         its messages above name the cause"
                    );
                }
            }
            self.restore()?;
            if self.pause(backoff.next(started.elapsed()))? {
                return Ok(());
            }
        }
    }

    /// Waits until there is something to do about the worker. Says so to systemd once it serves.
    fn attend(&mut self, worker: &mut WorkerProcess) -> Result<Ended> {
        let mut has_answered = false;
        loop {
            let (pidfd, look) = (worker.pidfd(), self.is_to_stop.then_some(LOOK_AGAIN));
            // The socket is readable when the worker is ready, or gone.
            let awaited: &dyn AsFd = match has_answered {
                true => &pidfd,
                false => worker.socket(),
            };
            match self.signals.wait_for(Some(awaited), look)? {
                Woken::Readable if has_answered => return Ok(Ended::Dead),
                Woken::Readable => {
                    has_answered = true;
                    if worker.is_ready() {
                        systemd::ready();
                    }
                }
                Woken::Reload => match self.reload() {
                    Ok(()) => return Ok(Ended::Reload),
                    Err(error) => tracing::error!("not reloaded, the worker stays: {error:#}"),
                },
                Woken::Stop if self.may_stop() => return Ok(Ended::Stop),
                Woken::TimeOut if mounts::in_use(&self.args.cache.tag).is_empty() => {
                    return Ok(Ended::Stop);
                }
                Woken::Stop | Woken::TimeOut => {}
            }
        }
    }

    /// Takes over what may change while the cache is bound, unless the next worker would stumble
    /// over it.
    fn reload(&mut self) -> Result<()> {
        let (mut args, log_level) = (self.reload)()?;
        args.fetch.trace.check()?;
        args.fetch.open(&args.source)?;
        if let Some(path) = &args.metrics {
            place::check_socket(path)?;
        }
        args.cache
            .live
            .set_after(&self.args.cache.live, &self.device)?;
        for change in fixed::changes(&self.args, &args) {
            change.warn();
        }
        let live = &mut self.args.cache.live;
        live.timeout = args.cache.live.timeout;
        live.linger = args.cache.live.linger.or(live.linger);
        live.readahead = args.cache.live.readahead.or(live.readahead);
        (self.args.source, self.args.fetch) = (args.source, args.fetch);
        self.args.metrics = args.metrics;
        self.log_level = log_level;
        Ok(())
    }

    /// Whether SIGTERM is obeyed at once, and not when nothing is mounted any more.
    fn may_stop(&mut self) -> bool {
        let in_use = mounts::in_use(&self.args.cache.tag);
        if in_use.is_empty() {
            return true;
        }
        let names = in_use.join(", ");
        if self.args.stop_in_use || self.is_to_stop {
            let outlook = self.args.cache.live.outlook();
            tracing::warn!("stopping though images are in use: {names}; {outlook}");
            return true;
        }
        tracing::warn!(
            "images are in use: {names}. If this stopped, {}; so it stops when they are \
             unmounted. Send SIGTERM again to stop now (or give --stop-in-use)",
            self.args.cache.live.outlook()
        );
        self.is_to_stop = true;
        false
    }

    /// Waits before the next start. True if there is to be none.
    fn pause(&mut self, pause: Duration) -> Result<bool> {
        let end = Instant::now() + pause;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.signals.wait_for(None, Some(left))? {
                Woken::Stop if self.may_stop() => return Ok(true),
                Woken::Stop => {}
                Woken::Reload => {
                    // What keeps the worker from starting may have been mended by this.
                    if let Err(error) = self.reload() {
                        tracing::error!("not reloaded: {error:#}");
                    }
                    return Ok(false);
                }
                Woken::Readable | Woken::TimeOut => return Ok(false),
            }
        }
    }

    /// Has the kernel hand out again what a worker that is gone left unanswered.
    fn restore(&self) -> Result<()> {
        if self.args.no_restore {
            return Ok(());
        }
        self.device
            .restore()
            .context("asking the kernel to repeat unanswered requests (restore)")
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
        let live = &cache.live;
        let given = [
            ("--timeout", (live.timeout > 0).then_some(live.timeout)),
            ("--linger", live.linger),
            ("--readahead", live.readahead),
            ("--fetch-unit", fetch.fetch_unit),
        ];
        let given = given.map(|(name, number)| Some((name, number?.to_string())));
        for (name, number) in numbers.iter().chain(given.iter().flatten()) {
            arguments.extend([OsStr::new(name), OsStr::new(number)]);
        }
        if let Some(dir) = &cache.dir {
            arguments.extend([OsStr::new("--dir"), dir.as_os_str()]);
        }
        if let Some(path) = &self.args.metrics {
            arguments.extend([OsStr::new("--metrics"), path.as_os_str()]);
        }
        if let Some(path) = &self.control {
            arguments.extend([OsStr::new("--control"), path.as_os_str()]);
        }
        let source = [self.args.source.arguments(), fetch.trace.arguments()].concat();
        arguments.extend(source.iter().map(OsString::as_os_str));
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
