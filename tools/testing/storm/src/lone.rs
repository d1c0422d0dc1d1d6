// SPDX-License-Identifier: GPL-2.0
//! Workers that nobody supervises, and besides whom nobody has the device: the cache lingers while
//! there is none, by the module's parameter. Each is started as the first one was.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cachefiles_daemon::stats::Snapshot;
use rustix::process::{Pid, Signal, kill_process};

use crate::StormArgs;
use crate::daemon::{PATIENCE, program, tail};
use crate::report::add_stats;

/// For how long the cache waits for the next one, in seconds.
const LINGER: &str = "600";

/// The running worker, and what is known of those before.
#[derive(Debug)]
pub struct Lone {
    arguments: Vec<String>,
    log: PathBuf,
    stats: PathBuf,
    child: Child,
    /// The counters of those before.
    before: Snapshot,
}

impl Lone {
    /// Starts the first one, and returns when the cache is bound.
    pub fn start(args: &StormArgs, log: &Path, stats: &Path) -> Result<Self> {
        linger(LINGER)?;
        let text = |path: &Path| path.display().to_string();
        let arguments = [
            "serve",
            "--dir",
            &text(&args.cache_dir),
            "--tag",
            "storm",
            "--threads",
            &args.threads.to_string(),
            "--blobs",
            &text(&args.blobs),
            "--stats",
            &text(stats),
        ]
        .map(str::to_owned);
        let arguments = Vec::from(arguments);
        let child = spawn(&arguments, log)?;
        let lone = Self {
            arguments,
            log: log.to_owned(),
            stats: stats.to_owned(),
            child,
            before: Snapshot::default(),
        };
        let deadline = Instant::now() + PATIENCE;
        // The counters come after the cache is bound.
        while lone.counted().workers == 0 {
            ensure!(
                Instant::now() < deadline,
                "the worker did not bring the cache up:\n{}",
                tail(log)
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(lone)
    }

    /// The counters of the one that runs; none while it sets them up.
    fn counted(&self) -> Snapshot {
        File::open(&self.stats)
            .map_err(anyhow::Error::from)
            .and_then(|file| Snapshot::read(&file))
            .unwrap_or_default()
    }

    /// The counters of all of them.
    pub fn stats(&self) -> Snapshot {
        add_stats(self.before, self.counted())
    }

    /// The one that runs.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Fails if it has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait().context("waiting for the worker")? {
            Some(status) => bail!("the worker ended with {status}:\n{}", tail(&self.log)),
            None => Ok(()),
        }
    }

    /// Kills it with SIGKILL, and starts the next one when it is gone.
    pub fn replace(&mut self) -> Result<()> {
        self.child.kill().context("killing the worker")?;
        self.child.wait().context("waiting for the worker to die")?;
        self.before = self.stats();
        // Else its counters would be those of the next one, until that has set up its own.
        std::fs::remove_file(&self.stats).context("removing the counters")?;
        self.child = spawn(&self.arguments, &self.log)?;
        Ok(())
    }

    /// Stops it, and the lingering.
    pub fn stop(&mut self) -> Result<()> {
        linger("0")?;
        kill_process(self.pid(), Signal::TERM).context("stopping the worker")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait().context("waiting for the worker")? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the worker ended with {status}:\n{}", tail(&self.log)),
                None if Instant::now() > deadline => {
                    bail!("the worker does not leave:\n{}", tail(&self.log))
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

impl Drop for Lone {
    fn drop(&mut self) {
        // All of it fails for one that was stopped in order, or with the module gone.
        let _ = linger("0");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(arguments: &[String], log: &Path) -> Result<Child> {
    let output = File::options()
        .create(true)
        .append(true)
        .open(log)
        .context("opening the daemon's log")?;
    Command::new(program())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output)
        .spawn()
        .context("cannot start a worker: is its program beside this one?")
}

/// Sets the module's parameter.
fn linger(seconds: &str) -> Result<()> {
    std::fs::write("/sys/module/cachefiles/parameters/linger", seconds)
        .context("setting the module's parameter linger")
}
