// SPDX-License-Identifier: GPL-2.0
//! Looking at the machine: is all there that on-demand mounts need, and if not, how to get it.
//!
//! No file says whether EROFS has its on-demand mode. What does is its symbols in
//! `/proc/kallsyms` once it runs, and before that, that it depends on netfs: nothing else of EROFS
//! of Linux 6.12 uses netfs.

mod beside;
mod credentials;
mod dir;
mod modules;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use cachefiles_protocol::DEVICE_PATH;
use clap::Args;

use self::modules::{Modules, State};
use crate::holders::Holders;

/// Options of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The cache directory, if it is to be looked at too
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Docker's config.json, if the credentials for registries are to be looked at too
    #[arg(long, value_name = "FILE")]
    docker_config: Option<PathBuf>,
}

/// What was found of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All is well; this is what is there.
    Good(String),
    /// It works, or is not needed by everybody; what is odd about it, and what to do.
    Doubtful(String, &'static str),
    /// What is missing, and how to get it.
    Missing(String, &'static str),
    /// It cannot be told, and what to do to find out.
    Unknown(&'static str),
}

/// A thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub what: &'static str,
    /// How it is.
    pub verdict: Verdict,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Verdict::Good(found) => write!(f, "ok       {}: {found}", self.what),
            Verdict::Doubtful(found, way) => {
                write!(f, "note     {}: {found}\n         {way}", self.what)
            }
            Verdict::Missing(missing, way) => {
                write!(f, "MISSING  {}: {missing}\n         {way}", self.what)
            }
            Verdict::Unknown(way) => write!(f, "unknown  {}\n         {way}", self.what),
        }
    }
}

/// The machine. Tests put another one in its place.
pub struct Machine<'a> {
    /// Below which `proc`, `sys`, `dev` and `lib/modules` lie.
    pub root: &'a Path,
    /// The kernel's release.
    pub release: String,
    /// The names of the parameters of a module that is installed, one a line; none if it cannot be
    /// told.
    pub parameters: &'a dyn Fn(&str) -> Option<String>,
    /// What `mkfs.erofs` says its version is; none if there is no such program.
    pub mkfs_version: &'a dyn Fn() -> Option<String>,
}

/// Looks at this machine, and at a cache directory and a file of credentials if they are given.
pub fn findings(dir: Option<&Path>, docker_config: Option<&Path>) -> Vec<Finding> {
    let mut findings = Machine::this().look();
    if let Some(dir) = dir {
        findings.extend([
            Finding {
                what: "cache directory",
                verdict: dir::look(dir),
            },
            Finding {
                what: "free space",
                verdict: dir::free_space(dir),
            },
        ]);
    }
    if let Some(path) = docker_config {
        let search = std::env::var_os("PATH").unwrap_or_default();
        findings.push(Finding {
            what: "credentials",
            verdict: credentials::look(path, &search),
        });
    }
    findings
}

/// How many things are missing.
pub fn missing(findings: &[Finding]) -> usize {
    let is_missing = |finding: &&Finding| matches!(finding.verdict, Verdict::Missing(..));
    findings.iter().filter(is_missing).count()
}

/// Prints a line for each thing, and fails if something is missing.
pub fn run(args: &DoctorArgs) -> Result<()> {
    let findings = findings(args.dir.as_deref(), args.docker_config.as_deref());
    for finding in &findings {
        println!("{finding}");
    }
    match missing(&findings) {
        0 => Ok(()),
        1 => bail!("one thing is missing for on-demand mounts"),
        count => bail!("{count} things are missing for on-demand mounts"),
    }
}

/// Logs it if no image can be mounted on demand, for EROFS has no such mode. Says nothing where
/// that is not certain.
pub fn warn_without_erofs() {
    let machine = Machine::this();
    if machine.modules().depends_on_netfs("erofs") == Some(false) {
        tracing::warn!(
            "the EROFS of {} has no on-demand mode, mounts with fsid= will fail: {EROFS_WAY}",
            machine.release
        );
    }
}

const EROFS_WAY: &str = "on Debian install erofs-ondemand-dkms; elsewhere the kernel needs \
     CONFIG_EROFS_FS_ONDEMAND=y; if erofs.ko was replaced, unmount all images and `rmmod erofs`";
const MODULE_WAY: &str =
    "install cachefiles-rs-dkms, or build the module for this kernel (`make modules install`)";
const LOAD_WAY: &str = "`modprobe cachefiles`";
const REPLACE_WAY: &str = "if ours is installed, unmount all images, stop the daemon, \
     `rmmod cachefiles`, `modprobe cachefiles`; else install cachefiles-rs-dkms";
const NO_SYMBOLS: &str = "this kernel has no /proc/kallsyms: try a mount";

impl Machine<'_> {
    /// The machine that this runs on.
    fn this() -> Self {
        Self {
            root: Path::new("/"),
            release: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            parameters: &modules::parameters,
            mkfs_version: &beside::mkfs_version,
        }
    }

    fn modules(&self) -> Modules<'_> {
        Modules::new(self.root, &self.release)
    }

    /// Looks at everything but the cache directory.
    pub fn look(&self) -> Vec<Finding> {
        let modules = self.modules();
        [
            ("kernel", self.kernel()),
            ("kernel options", self.options()),
            ("DKMS packages", self.dkms()),
            ("signed modules", self.signatures(&modules)),
            ("cachefiles", self.cachefiles(&modules)),
            ("its on-demand mode", self.cachefiles_ondemand(&modules)),
            ("/dev/cachefiles", self.device()),
            ("cachefilesd", self.cachefilesd()),
            ("EROFS with its on-demand mode", self.erofs(&modules)),
            ("kernel log", self.deprecation()),
            ("mkfs.erofs", self.mkfs()),
        ]
        .into_iter()
        .map(|(what, verdict)| Finding { what, verdict })
        .collect()
    }

    fn kernel(&self) -> Verdict {
        if self.release.starts_with("6.12.") {
            Verdict::Good(self.release.clone())
        } else {
            Verdict::Missing(
                format!("this is {}", self.release),
                "the module is for Linux 6.12",
            )
        }
    }

    /// Whether the one that runs, or would run, is ours: the C module has no such parameter.
    fn is_ours(&self, state: &State) -> Option<bool> {
        match state {
            State::Running => Some(
                self.root
                    .join("sys/module/cachefiles/parameters/reopen_tries")
                    .exists(),
            ),
            State::Installed(_) => (self.parameters)("cachefiles").map(|names| {
                names
                    .lines()
                    .any(|line| line.split(':').next() == Some("reopen_tries"))
            }),
            State::Absent => None,
        }
    }

    fn cachefiles(&self, modules: &Modules<'_>) -> Verdict {
        let state = modules.state("cachefiles");
        let whose = match self.is_ours(&state) {
            Some(true) => "in Rust, with failover",
            Some(false) => "the C module",
            None => "by whom cannot be told",
        };
        match state {
            State::Running => {
                let version = text(&self.root.join("sys/module/cachefiles/version"));
                let version = match version.trim_end() {
                    "" => String::new(),
                    version => format!(", version {version}"),
                };
                Verdict::Good(format!("runs; {whose}{version}{}", self.parameters_set()))
            }
            State::Installed(path) => Verdict::Good(format!("not loaded; {path}, {whose}")),
            State::Absent => Verdict::Missing("there is no such module".into(), MODULE_WAY),
        }
    }

    /// The parameters of ours by which all its caches do what they do not by default.
    fn parameters_set(&self) -> String {
        let dir = self.root.join("sys/module/cachefiles/parameters");
        let values = ["async_reads", "linger", "readahead", "straight_reads"]
            .map(|name| (name, text(&dir.join(name))));
        let set = values.iter().filter_map(|(name, value)| {
            let value = value.trim_end();
            (!matches!(value, "" | "0" | "N")).then(|| format!(" {name}={value}"))
        });
        let set: String = set.collect();
        match set.as_str() {
            "" => set,
            _ => format!("; parameters:{set}"),
        }
    }

    /// Ours always has it. C's has the symbols, if it runs.
    fn cachefiles_ondemand(&self, modules: &Modules<'_>) -> Verdict {
        let state = modules.state("cachefiles");
        match (self.is_ours(&state), &state) {
            (Some(true), _) => Verdict::Good("is part of it".into()),
            (Some(false), State::Running) => match modules.has_symbol("cachefiles_ondemand_") {
                Some(true) => {
                    Verdict::Good("of the C module: readers see errors when the daemon dies".into())
                }
                Some(false) => Verdict::Missing(
                    "the C module that runs was built without CONFIG_CACHEFILES_ONDEMAND".into(),
                    REPLACE_WAY,
                ),
                None => Verdict::Unknown(NO_SYMBOLS),
            },
            (_, State::Absent) => Verdict::Missing("there is no such module".into(), MODULE_WAY),
            (_, State::Running | State::Installed(_)) => {
                Verdict::Unknown("`modprobe cachefiles`, and call this again")
            }
        }
    }

    fn device(&self) -> Verdict {
        if !self.root.join("dev/cachefiles").exists() {
            return Verdict::Missing("it comes with the module".into(), LOAD_WAY);
        }
        let holders = Holders::of(Path::new(DEVICE_PATH), &self.root.join("proc"));
        match holders.found.is_empty() {
            true => Verdict::Good("is there".into()),
            false => Verdict::Good(format!("is there; {holders}")),
        }
    }

    fn erofs(&self, modules: &Modules<'_>) -> Verdict {
        let lacks = || {
            Verdict::Missing(
                "it was built without CONFIG_EROFS_FS_ONDEMAND".into(),
                EROFS_WAY,
            )
        };
        match modules.state("erofs") {
            State::Running => match modules.has_symbol("erofs_fscache_") {
                Some(true) => Verdict::Good("runs".into()),
                Some(false) => lacks(),
                None => Verdict::Unknown(NO_SYMBOLS),
            },
            State::Installed(path) => match modules.depends_on_netfs("erofs") {
                Some(true) => Verdict::Good(format!("not loaded; {path}")),
                Some(false) => lacks(),
                None => Verdict::Unknown("`modprobe erofs`, and call this again"),
            },
            State::Absent => Verdict::Missing(
                "this kernel has no EROFS".into(),
                "it needs CONFIG_EROFS_FS and CONFIG_EROFS_FS_ONDEMAND",
            ),
        }
    }
}

/// Reads a file of the machine; one that is not there is empty.
fn text(path: &Path) -> String {
    fs::read(path).map_or_else(
        |_| String::new(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

#[cfg(test)]
mod tests;
