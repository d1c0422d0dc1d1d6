// SPDX-License-Identifier: GPL-2.0
//! What of a cache can be changed while it is bound: commands that the C module does not have.

use std::fmt;
use std::fs;

use anyhow::{Context, Result, bail};
use cachefiles_protocol::{Device, Errno};
use clap::Args;

use crate::mounts;

/// Options of a cache that the kernel takes at any time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct LiveArgs {
    /// Seconds after which those who wait for an answer get an error; 0: they wait for as long as
    /// it takes
    #[arg(
        long,
        default_value_t = 0,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u32).range(..=86_400)
    )]
    pub timeout: u32,
    /// KiB that the kernel asks for ahead of those who read in sequence; 0: none [default: the
    /// module's parameter]
    #[arg(long, value_name = "KIB", value_parser = clap::value_parser!(u32).range(..=16_384))]
    pub readahead: Option<u32>,
    /// Seconds for which readers and the cache wait for the next daemon when nobody has the device;
    /// 0: not at all [default: the module's parameter]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(..=86_400))]
    pub linger: Option<u32>,
}

impl LiveArgs {
    /// Tells the kernel, also of a cache that somebody else has bound. What was not given is left
    /// as it is, and nothing is written for it, so that kernels without the commands do.
    ///
    /// What readers rely on, and the module does not have, is an error: a time limit, and to
    /// linger. READs ahead only make it faster: without them it goes on, and they are taken out.
    pub fn set(&mut self, device: &Device) -> Result<()> {
        self.set_after(&Self::default(), device)
    }

    /// The same where the kernel was told `old` before.
    pub fn set_after(&mut self, old: &Self, device: &Device) -> Result<()> {
        if self.timeout != old.timeout {
            known(
                "timeout",
                "27 November 2026",
                device.set_timeout(self.timeout),
            )
            .with_context(|| format!("cannot set the timeout to {} s", self.timeout))?;
        }
        if let Some(seconds) = self.linger.filter(|_| self.linger != old.linger) {
            known("linger", "27 November 2026", device.set_linger(seconds))
                .with_context(|| format!("cannot have the cache linger for {seconds} s"))?;
        }
        if let Some(kib) = self.readahead.filter(|_| self.readahead != old.readahead) {
            match device.set_readahead(kib) {
                Err(Errno::OPNOTSUPP | Errno::NOTTY) => {
                    tracing::warn!(
                        "{}; going on without",
                        lacks("readahead", "28 November 2026")
                    );
                    self.readahead = None;
                }
                result => result.with_context(|| format!("cannot have {kib} KiB read ahead"))?,
            }
        }
        Ok(())
    }

    /// Whether the cache, told this, waits for another daemon.
    pub fn lingers(&self) -> bool {
        self.linger.is_some_and(|seconds| seconds > 0)
    }

    /// Has the cache end with the device, where it was told to linger and nothing of it is mounted:
    /// there is nobody to wait for, and the module may go.
    pub fn leave(&self, device: &Device, tag: &str) {
        if self.lingers() && mounts::in_use(tag).is_empty() {
            // If it is refused, the cache is waited for, and then as here.
            if let Err(errno) = device.set_linger(0) {
                tracing::warn!("the cache lingers on: {errno}");
            }
        }
    }

    /// What becomes of mounted images when this ends, for the log.
    pub fn outlook(&self) -> String {
        match self.linger {
            Some(seconds @ 1..) => format!(
                "what is not cached of them waits for the next daemon for up to {seconds} s, and \
                 then fails"
            ),
            _ => "what is not cached of them fails".to_owned(),
        }
    }
}

impl fmt::Display for LiveArgs {
    /// What was given, each behind a comma.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.timeout > 0 {
            write!(f, ", timeout {} s", self.timeout)?;
        }
        if let Some(seconds) = self.linger {
            write!(f, ", linger {seconds} s")?;
        }
        if let Some(kib) = self.readahead {
            write!(f, ", readahead {kib} KiB")?;
        }
        Ok(())
    }
}

/// Says in words that the module has no such command.
fn known(command: &str, since: &str, result: Result<(), Errno>) -> Result<()> {
    match result {
        Err(Errno::OPNOTSUPP | Errno::NOTTY) => {
            bail!("{}: leave --{command} out", lacks(command, since))
        }
        result => Ok(result?),
    }
}

/// That the module has no such command, and which one has.
pub fn lacks(command: &str, since: &str) -> String {
    let version = fs::read_to_string("/sys/module/cachefiles/version").unwrap_or_default();
    let module = match version.trim() {
        "" => "the C module, which runs,".to_owned(),
        version => format!("the module that runs (version {version})"),
    };
    format!("{module} has no command `{command}`; cachefiles-rs has it since {since}")
}
