// SPDX-License-Identifier: GPL-2.0
//! A hostile process: threads that do one operation after the other until they are killed.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Child;

use anyhow::{Context as _, Result};
use cachefiles_protocol::{Device, Errno};
use rustix::process::{Pid, Signal, set_parent_process_death_signal};

use crate::dice::Dice;
use crate::fd_exchange::FdExchange;
use crate::handles::Handles;
use crate::images::Images;
use crate::memory::Memory;
use crate::operations::{self, ring::Kept};
use crate::raw;
use crate::step_log::{StepLog, THREADS};

/// What a hostile process is started with. Standard input and output are the exchange.
#[derive(Debug, Clone, clap::Args)]
pub struct Part {
    /// Seed of the round.
    #[arg(long)]
    pub seed: u64,
    /// This process's number in the round.
    #[arg(long)]
    pub number: u64,
    /// How many threads.
    #[arg(long)]
    pub threads: usize,
    /// Where to leave the step log.
    #[arg(long)]
    pub step_log: PathBuf,
    /// The number of the device's fd, where it comes along.
    #[arg(long)]
    pub device: Option<i32>,
    /// Have memory allocations fail for this process.
    #[arg(long)]
    pub fail: bool,
    /// Do nothing that a daemon may not do.
    #[arg(long)]
    pub honest: bool,
    /// Close fds by their numbers all the while.
    #[arg(long)]
    pub careless: bool,
}

/// One thread, and what it has to do its operations with.
pub struct Actor<'a> {
    /// Its choices.
    pub dice: Dice,
    /// Whether it only does what a daemon may do.
    pub honest: bool,
    /// What it leaves behind.
    pub step_log: StepLog,
    /// What the process has.
    pub handles: &'a Handles,
    /// How it meets the others.
    pub exchange: &'a FdExchange,
    /// What it is expected to serve.
    pub images: &'a Images,
    /// Memory of its own.
    pub memory: Memory,
    /// Epolls that watch a device.
    pub epolls: Vec<OwnedFd>,
    /// Rings with something in flight.
    pub rings: Vec<Kept>,
    /// Programs started.
    pub children: Vec<Child>,
    /// Children that are copies of this process.
    pub forks: Vec<Pid>,
}

impl Part {
    /// Does it, until this process is killed.
    pub fn play(self) -> Result<()> {
        die_with_the_director()?;
        if self.fail {
            // Inherited by all threads.
            std::fs::write("/proc/self/make-it-fail", "1").context("make-it-fail")?;
        }
        if self.careless {
            return crate::careless::play(&self);
        }
        let step_logs = StepLog::create(&self.step_log)?;
        let exchange = FdExchange::from_ends(
            rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)?,
            rustix::io::fcntl_dupfd_cloexec(std::io::stdout(), 3)?,
        );
        let (handles, images) = (Handles::default(), Images::make());
        if let Some(number) = self.device {
            let device = Device::from(raw::adopt(number));
            handles.add_device(&mut Dice::new(self.seed, 0), device);
        }
        std::thread::scope(|scope| -> Result<()> {
            for (thread, step_log) in step_logs.into_iter().enumerate().take(self.threads) {
                let number = self.number * THREADS as u64 + thread as u64;
                let mut actor = Actor {
                    dice: Dice::new(self.seed, number),
                    honest: self.honest,
                    step_log,
                    handles: &handles,
                    exchange: &exchange,
                    images: &images,
                    memory: Memory::map()?,
                    epolls: Vec::new(),
                    rings: Vec::new(),
                    children: Vec::new(),
                    forks: Vec::new(),
                };
                scope.spawn(move || {
                    loop {
                        operations::one(&mut actor);
                    }
                });
            }
            Ok(())
        })
    }
}

/// What the director starts must not outlive it.
pub fn die_with_the_director() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("asking for a signal")
}

impl Actor<'_> {
    /// Does something, and leaves a step log of it.
    pub fn step<T: std::fmt::Debug>(
        &mut self,
        what: impl AsRef<str>,
        call: impl FnOnce(&mut Self) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        self.step_log.begin(what.as_ref());
        let result = call(self);
        match &result {
            Ok(value) => self.step_log.end(&format!("{value:?}"), true),
            Err(errno) => self
                .step_log
                .end(&format!("error {}", errno.raw_os_error()), false),
        }
        result
    }
}
