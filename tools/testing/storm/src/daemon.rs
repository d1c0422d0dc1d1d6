// SPDX-License-Identifier: GPL-2.0
//! The daemon under test: its supervisor is our child, its worker is what gets killed. Or there is
//! no supervisor: see `lone`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cachefiles_daemon::stats::Snapshot;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Signal, kill_process, pidfd_getfd, pidfd_open,
    pidfd_send_signal,
};

use crate::lone::Lone;
use crate::{Restore, StormArgs};

/// Name of the daemon's program.
const PROGRAM: &str = "cachefiles-ondemandd";

/// How long the daemon may take to come up, and to go.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The running daemon. Dropping it stops it.
#[derive(Debug)]
pub struct Daemon {
    kind: Kind,
    log: PathBuf,
    pid_file: PathBuf,
    stats: PathBuf,
}

/// What keeps the cache.
#[derive(Debug)]
enum Kind {
    /// A supervisor, which has the device.
    Supervised(Supervisor),
    /// The kernel.
    Lone(Lone),
}

impl Daemon {
    /// Starts the supervisor, and returns when the cache is bound and a worker started.
    pub fn start(args: &StormArgs) -> Result<Self> {
        std::fs::create_dir_all(&args.run_dir)
            .with_context(|| format!("cannot create {}", args.run_dir.display()))?;
        let log = args.run_dir.join("daemon.log");
        let pid_file = args.run_dir.join("worker.pid");
        let stats = args.run_dir.join("stats");
        // Stale ones would pass for this daemon's.
        for path in [&pid_file, &stats] {
            if path.exists() {
                std::fs::remove_file(path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        if args.restore == Restore::Linger {
            let lone = Lone::start(args, &log, &stats)?;
            let kind = Kind::Lone(lone);
            return Ok(Self {
                kind,
                log,
                pid_file,
                stats,
            });
        }
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .context("opening the daemon's log")?;
        let no_restore = (args.restore == Restore::Never).then_some("--no-restore");
        let child = Command::new(program())
            .arg("supervise")
            .args(no_restore)
            .arg("--dir")
            .arg(&args.cache_dir)
            .args(["--tag", "storm", "--backoff-max", "50"])
            .args(["--threads", &args.threads.to_string()])
            .arg("--blobs")
            .arg(&args.blobs)
            .arg("--stats")
            .arg(&stats)
            .arg("--pid-file")
            .arg(&pid_file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {PROGRAM}: is it beside this program?"))?;
        // From here on an error stops what was started.
        let mut daemon = Self {
            kind: Kind::Supervised(Supervisor {
                child,
                ended: false,
            }),
            stats,
            log,
            pid_file,
        };
        let deadline = Instant::now() + PATIENCE;
        // The pid file comes after the cache is bound and the counters are set up.
        while !daemon.pid_file.exists() {
            daemon.check()?;
            if Instant::now() > deadline {
                bail!(
                    "the supervisor did not bring the cache up:\n{}",
                    daemon.log_tail()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(daemon)
    }

    /// The supervisor's device.
    pub fn device(&self) -> Result<OwnedFd> {
        let Kind::Supervised(supervisor) = &self.kind else {
            bail!("there is no supervisor");
        };
        let pid = Pid::from_child(&supervisor.child);
        let fds = format!("/proc/{}/fd", pid.as_raw_nonzero());
        for entry in std::fs::read_dir(&fds).with_context(|| format!("reading {fds}"))? {
            let entry = entry?;
            // It may have been closed in the meantime.
            let target = std::fs::read_link(entry.path()).unwrap_or_default();
            if target == Path::new("/dev/cachefiles") {
                let number = entry.file_name().to_string_lossy().parse()?;
                let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
                return pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty())
                    .context("taking the supervisor's device");
            }
        }
        bail!("the supervisor has no device")
    }

    /// The counters, over all workers since the start.
    pub fn stats(&self) -> Result<Snapshot> {
        if let Kind::Lone(lone) = &self.kind {
            return Ok(lone.stats());
        }
        let file = File::open(&self.stats).context("opening the daemon's counters")?;
        Snapshot::read(&file)
    }

    /// Fails if the supervisor has ended.
    pub fn check(&mut self) -> Result<()> {
        let supervisor = match &mut self.kind {
            Kind::Supervised(supervisor) => supervisor,
            Kind::Lone(lone) => return lone.check(),
        };
        match supervisor.try_wait()? {
            Some(status) => bail!("the supervisor ended with {status}:\n{}", tail(&self.log)),
            None => Ok(()),
        }
    }

    /// The last lines the daemon logged.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }

    /// The running worker, or `None` between two.
    pub fn worker(&self) -> Option<Pid> {
        if let Kind::Lone(lone) = &self.kind {
            return Some(lone.pid());
        }
        let text = std::fs::read_to_string(&self.pid_file).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    /// Kills a worker with SIGKILL, and waits until it is gone. False if it was gone before.
    pub fn kill_worker(&mut self, pid: Pid) -> Result<bool> {
        if let Kind::Lone(lone) = &mut self.kind {
            return lone.replace().map(|()| true);
        }
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH) => return Ok(false),
            Err(errno) => return Err(errno).context("looking at the worker"),
        };
        // The number may have passed to another process since it was read from the file.
        if self.worker() != Some(pid) {
            return Ok(false);
        }
        match pidfd_send_signal(&pidfd, Signal::KILL) {
            Ok(()) => {}
            Err(Errno::SRCH) => return Ok(false),
            Err(errno) => return Err(errno).context("killing the worker"),
        }
        let timeout = Timespec::try_from(PATIENCE)?;
        match rustix::io::retry_on_intr(|| {
            poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout))
        }) {
            Ok(0) => bail!("worker {} does not die of SIGKILL", pid.as_raw_nonzero()),
            Ok(_) => Ok(true),
            Err(errno) => Err(errno).context("waiting for the worker to die"),
        }
    }

    /// Stops supervisor and worker. The image must be unmounted, or its readers get errors.
    pub fn stop(mut self) -> Result<()> {
        let supervisor = match &mut self.kind {
            Kind::Supervised(supervisor) => supervisor,
            Kind::Lone(lone) => return lone.stop(),
        };
        match supervisor.stop()? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("the supervisor ended with {status}:\n{}", tail(&self.log)),
            None => bail!("the supervisor does not leave:\n{}", tail(&self.log)),
        }
    }

    /// Lets it run on after the end of this process.
    pub fn leave_running(mut self) {
        match &mut self.kind {
            Kind::Supervised(supervisor) => supervisor.ended = true,
            // Its child goes on, and so does the lingering.
            Kind::Lone(_) => std::mem::forget(self),
        }
    }
}

/// The supervisor's process.
#[derive(Debug)]
struct Supervisor {
    child: Child,
    /// It has been waited for, so its id may be another process's by now; or it is to be left
    /// alone.
    ended: bool,
}

impl Supervisor {
    fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        let status = self
            .child
            .try_wait()
            .context("waiting for the supervisor")?;
        self.ended |= status.is_some();
        Ok(status)
    }

    /// Asks it to leave; `None` if it does not.
    fn stop(&mut self) -> Result<Option<ExitStatus>> {
        if !self.ended {
            kill_process(Pid::from_child(&self.child), Signal::TERM)
                .context("stopping the supervisor")?;
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.try_wait()?;
            if status.is_some() || Instant::now() > deadline {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if !self.ended && !matches!(self.stop(), Ok(Some(_))) {
            // Nothing more can be done; whoever looks sees the process.
            let _ = self.child.kill();
        }
    }
}

/// The daemon's program: beside this one, else on the search path.
pub fn program() -> PathBuf {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|own| own.parent().map(|dir| dir.join(PROGRAM)));
    beside
        .filter(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from(PROGRAM))
}

/// The end of a log, for an error message.
pub fn tail(path: &Path) -> String {
    const LENGTH: u64 = 4096;
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LENGTH)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("(no log: {error})"))
}
