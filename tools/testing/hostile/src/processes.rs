// SPDX-License-Identifier: GPL-2.0
//! The processes of a round: started, killed, replaced, ended.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use cachefiles_harness::runner::end_group;
use cachefiles_protocol::Device;
use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::fd_exchange::FdExchange;
use crate::mounter::{CAUSELESS, Strict};
use crate::reader::WRONG;
use crate::step_log::{self, Counts};

/// What a process is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything a daemon can do, and must not.
    Hostile {
        /// How many at a time.
        threads: usize,
    },
    /// A daemon that loses its fds.
    Careless,
    /// Mounts and unmounts.
    Mounter,
    /// Reads and compares.
    Reader,
}

impl Role {
    /// Whether it is one of those that hold the device.
    pub fn is_daemon(self) -> bool {
        matches!(self, Self::Hostile { .. } | Self::Careless)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Hostile { .. } => "hostile",
            Self::Careless => "careless",
            Self::Mounter => "mounter",
            Self::Reader => "reader",
        }
    }
}

/// A running process.
pub struct Process {
    /// What it is there for.
    pub role: Role,
    number: u64,
    child: Child,
    /// Closed when it is to end.
    stop: Option<ChildStdin>,
}

/// How they behave.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// The daemons' memory allocations may fail.
    pub fail: bool,
    /// The daemons do nothing that a daemon may not do.
    pub honest: bool,
    /// The errors that mounters and readers must not see.
    pub strict: Option<Strict>,
}

/// All of them.
pub struct Processes {
    seed: u64,
    work: PathBuf,
    mounts: PathBuf,
    exchange: FdExchange,
    policy: Policy,
    running: Vec<Process>,
    /// Killed, and perhaps still waiting for an answer that only a daemon can give.
    dying: Vec<Process>,
    started: u64,
    /// How much those that are gone had done: daemons, mounters, readers.
    done: [Counts; 3],
    /// What must not be.
    pub faults: Vec<String>,
}

impl Processes {
    /// Nobody yet.
    pub fn new(seed: u64, work: &Path, policy: Policy) -> Result<Self> {
        let mounts = work.join("mnt");
        std::fs::create_dir_all(&mounts)?;
        Ok(Self {
            seed,
            work: work.to_owned(),
            mounts,
            exchange: FdExchange::open().context("opening a socket")?,
            policy,
            running: Vec::new(),
            dying: Vec::new(),
            started: 0,
            done: Default::default(),
            faults: Vec::new(),
        })
    }

    /// Starts a process. A daemon may get the device.
    pub fn start(&mut self, role: Role, device: Option<&Device>) -> Result<()> {
        let number = self.started;
        self.started += 1;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.work.join("log"))?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(role.name())
            .args(["--seed", &self.seed.to_string()])
            .args(["--number", &number.to_string()])
            .arg("--step-log")
            .arg(self.step_log(number))
            .stderr(log)
            .process_group(0);
        // Inherited by this child alone: nobody else starts any.
        let mut inherited = None;
        match role {
            Role::Hostile { threads } => {
                let (inbox, outbox) = self.exchange.ends();
                command
                    .args(["--threads", &threads.to_string()])
                    .stdin(inbox.try_clone()?)
                    .stdout(outbox.try_clone()?);
                if let Some(device) = device {
                    let fd = rustix::io::dup(device)?;
                    command.args(["--device", &fd.as_raw_fd().to_string()]);
                    inherited = Some(fd);
                }
                if self.policy.fail {
                    command.arg("--fail");
                }
                if self.policy.honest {
                    command.arg("--honest");
                }
            }
            Role::Careless => {
                let device = device.context("who is careless needs a device")?;
                command
                    .args(["--threads", "3", "--careless"])
                    .stdin(OwnedFd::from(device.try_clone()?))
                    .stdout(Stdio::null());
                if self.policy.fail {
                    command.arg("--fail");
                }
            }
            Role::Mounter | Role::Reader => {
                command
                    .arg("--mounts")
                    .arg(&self.mounts)
                    .args(self.policy.strict.into_iter().flat_map(|which| {
                        let which = which
                            .to_possible_value()
                            .map(|value| value.get_name().to_owned());
                        ["--strict".to_owned(), which.unwrap_or_default()]
                    }))
                    .stdin(Stdio::piped())
                    .stdout(Stdio::null());
            }
        }
        let mut child = command.spawn().context("starting a process")?;
        drop(inherited);
        self.running.push(Process {
            role,
            number,
            stop: child.stdin.take(),
            child,
        });
        Ok(())
    }

    fn step_log(&self, number: u64) -> PathBuf {
        self.work.join(format!("steps-{number}"))
    }

    /// Closes whatever the hostile processes had passed on and nobody had taken.
    pub fn drain_exchange(&mut self) -> Result<()> {
        self.exchange = FdExchange::open().context("opening a socket")?;
        Ok(())
    }

    /// How many there are.
    pub fn count(&self, of: impl Fn(Role) -> bool) -> usize {
        self.running
            .iter()
            .filter(|process| of(process.role))
            .count()
    }

    /// The place of one of them; `number` is taken modulo how many there are.
    fn place(&self, number: usize, of: impl Fn(Role) -> bool) -> Option<usize> {
        let places: Vec<usize> = (0..self.running.len())
            .filter(|&place| of(self.running[place].role))
            .collect();
        places.get(number % places.len().max(1)).copied()
    }

    /// Kills one of them by SIGKILL, with all that it started. A daemon has to be gone at once,
    /// others perhaps only when they are answered: netfs has waits that no signal ends.
    pub fn kill(&mut self, number: usize, of: impl Fn(Role) -> bool) -> Result<Option<Role>> {
        let Some(place) = self.place(number, of) else {
            return Ok(None);
        };
        let process = self.running.swap_remove(place);
        let role = process.role;
        if role.is_daemon() {
            self.reap(process, true)?;
        } else {
            // One that is dead already is as good.
            let _ = kill_process_group(Pid::from_child(&process.child), Signal::KILL);
            self.dying.push(process);
        }
        Ok(Some(role))
    }

    /// Stops one of them as a debugger does, or lets all go on.
    pub fn freeze(&self, number: usize, of: impl Fn(Role) -> bool) {
        if let Some(process) = self.place(number, of).map(|place| &self.running[place]) {
            let _ = kill_process_group(Pid::from_child(&process.child), Signal::STOP);
        }
    }

    /// The opposite, for all.
    pub fn thaw(&self) {
        for process in &self.running {
            let _ = kill_process_group(Pid::from_child(&process.child), Signal::CONT);
        }
    }

    /// Waits for those that were killed. False where some do not die, in time.
    pub fn reap_exited(&mut self, limit: Duration) -> Result<bool> {
        let end = Instant::now() + limit;
        while let Some(mut process) = self.dying.pop() {
            while process.child.try_wait()?.is_none() {
                if Instant::now() > end {
                    let (name, number) = (process.role.name(), process.number);
                    self.faults
                        .push(format!("{name} {number} does not die of SIGKILL"));
                    self.dying.push(process);
                    return Ok(false);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            self.reap(process, true)?;
        }
        Ok(true)
    }

    /// Kills all of them at one moment.
    pub fn kill_all(&mut self, of: impl Fn(Role) -> bool) -> Result<usize> {
        let (gone, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.running)
            .into_iter()
            .partition(|process| of(process.role));
        self.running = left;
        for process in &gone {
            // One that is dead already is as good.
            let _ = kill_process_group(Pid::from_child(&process.child), Signal::KILL);
        }
        let count = gone.len();
        for process in gone {
            self.reap(process, true)?;
        }
        Ok(count)
    }

    /// Looks for some that ended by themselves, which is a fault unless a signal ended them.
    /// Returns their roles.
    pub fn missing(&mut self) -> Result<Vec<Role>> {
        let mut roles = Vec::new();
        let mut place = 0;
        while let Some(process) = self.running.get_mut(place) {
            if process.child.try_wait()?.is_some() {
                roles.push(process.role);
                let process = self.running.swap_remove(place);
                self.reap(process, false)?;
            } else {
                place += 1;
            }
        }
        Ok(roles)
    }

    /// Tells those of a kind to end, and waits until they did. False where some do not, in time.
    pub fn end(&mut self, of: impl Fn(Role) -> bool, limit: Duration) -> Result<bool> {
        for process in self.running.iter_mut().filter(|process| of(process.role)) {
            drop(process.stop.take());
        }
        let end = Instant::now() + limit;
        while self.count(&of) > 0 {
            if Instant::now() > end {
                let names: Vec<String> = self
                    .running
                    .iter()
                    .filter(|process| of(process.role))
                    .map(|process| format!("{} {}", process.role.name(), process.number))
                    .collect();
                self.faults.push(format!(
                    "after {limit:?} still running: {}",
                    names.join(", ")
                ));
                return Ok(false);
            }
            self.missing()?;
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(true)
    }

    /// A process is gone, or to be gone.
    fn reap(&mut self, mut process: Process, killed: bool) -> Result<()> {
        let ended = process.child.try_wait()?;
        end_group(&mut process.child)
            .with_context(|| format!("{} {} is to die", process.role.name(), process.number))?;
        if let Some(status) = ended
            && let Some(fault) = self.judge(process.role, status, killed)
        {
            self.faults.push(format!(
                "{} {}: {fault}",
                process.role.name(),
                process.number
            ));
        }
        let kind = match process.role {
            Role::Hostile { .. } | Role::Careless => 0,
            Role::Mounter => 1,
            Role::Reader => 2,
        };
        for seen in step_log::read(&self.step_log(process.number)).unwrap_or_default() {
            self.done[kind] += seen.counts;
        }
        Ok(())
    }

    /// What is wrong with the way in which a process ended.
    fn judge(&self, role: Role, status: ExitStatus, killed: bool) -> Option<String> {
        if status.code() == Some(WRONG) && role == Role::Reader {
            return Some("was given a wrong byte".into());
        }
        if status.code() == Some(CAUSELESS) && !role.is_daemon() {
            return Some("saw an error that nothing explains".into());
        }
        // By SIGBUS: a page of a mapped file could not be had.
        if self.policy.strict.is_some() && !role.is_daemon() && status.signal().is_some() && !killed
        {
            return Some(format!("ended with {status}, which nothing explains"));
        }
        // Without memory, or without a page of a mapped file, a signal is the end that there is.
        let excused = status.success() || status.signal().is_some() || killed;
        // A hostile process whose allocations fail may give up in any way.
        let excused = excused || (self.policy.fail && role.is_daemon());
        (!excused).then(|| format!("ended with {status}"))
    }

    /// How much was done by daemons, mounters and readers that are gone.
    pub fn done(&self) -> [Counts; 3] {
        self.done
    }

    /// What each of them did last, and said.
    pub fn last_steps(&self) -> String {
        let mut text = String::new();
        // The last ones started are those that were there at the end.
        for number in (0..self.started).rev().take(24) {
            for (thread, seen) in step_log::read(&self.step_log(number))
                .unwrap_or_default()
                .iter()
                .enumerate()
            {
                text.push_str(&format!("process {number}, thread {thread}:\n"));
                for step in seen.steps.iter().rev().take(12).rev() {
                    text.push_str(&format!("  {step}\n"));
                }
            }
        }
        let log = std::fs::read(self.work.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        for line in lines.iter().rev().take(40).rev() {
            text.push_str(&format!("said: {line}\n"));
        }
        text
    }
}
