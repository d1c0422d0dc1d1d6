// SPDX-License-Identifier: GPL-2.0
//! The command line: `cachefilesctl status`, `doctor`, `mount` and others.
//!
//! What needs the device is done with a copy of the fd of the process that has it open, whichever
//! daemon that is: root may take one, and nobody notices. See
//! [`cachefiles_daemon::borrow`].

mod cull;
mod doctor;
mod images;
mod metrics;
mod mount;
mod objects;
mod prefetch;
mod settings;
mod size;
mod status;
mod umount;

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use cachefiles_daemon::{borrow, invalidate};
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use self::settings::{Place, Settings};

/// Looks at on-demand images, their cache and its daemon, and changes them.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look whether all is there that on-demand mounts need, and say how to get what is missing
    Doctor {
        #[command(flatten)]
        place: Place,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what the cache holds, who has the device, and what the daemon does
    Status {
        #[command(flatten)]
        place: Place,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Mount an image by its name
    Mount(mount::MountArgs),
    /// Unmount an image, by its name or by where it is mounted
    Umount(umount::UmountArgs),
    /// Read a mounted image once, so that all of it that files need is in the cache
    Prefetch {
        /// The image: its name, or where it is mounted
        #[arg(value_name = "NAME|DIR")]
        image: String,
    },
    /// Remove from the cache what nobody uses, of the blobs of these names
    Cull {
        #[command(flatten)]
        place: Place,
        /// All that nobody uses
        #[arg(long, conflicts_with = "key")]
        all: bool,
        /// A blob: its fsid or the name of its device
        #[arg(value_name = "KEY", required_unless_present = "all")]
        key: Vec<String>,
    },
    /// Remove what is cached of a blob and what it was, so that another one may have its name
    Invalidate {
        #[command(flatten)]
        place: Place,
        /// Do it though an image of that name is mounted: it keeps what it has read, until it is
        /// unmounted
        #[arg(long)]
        force: bool,
        /// The blob: its fsid or the name of its device
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Have the kernel hand out again what the daemon has read and not answered
    Restore,
    /// Print what a shell needs to complete this program's command lines
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// The name by which mount(8) calls this for the type `erofs-ondemand`.
const HELPER: &str = "mount.erofs-ondemand";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().map(|it| it.to_string_lossy().into_owned());
    let name = arguments.next().unwrap_or_default();
    let result = match Path::new(&name).file_name().and_then(OsStr::to_str) {
        Some(HELPER) => help_mount(&arguments.collect::<Vec<_>>()),
        _ => run(&Cli::parse().command),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cachefilesctl: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Doctor { place, json } => return doctor::run(&Settings::read(place)?, *json),
        Command::Status { place, json } => status::run(&Settings::read(place)?, *json)?,
        Command::Mount(args) => mount::run(args)?,
        Command::Umount(args) => umount::run(args)?,
        Command::Prefetch { image } => return prefetch::run(image),
        Command::Cull { place, key, .. } => return cull::run(&cache_dir(place)?, key),
        Command::Invalidate { place, force, key } => {
            let count = invalidate::invalidate(&cache_dir(place)?, key, *force)?;
            println!("{key}: {count} cache files and records removed");
        }
        Command::Restore => {
            let device = borrow::device()?;
            device.restore().context("the kernel refuses `restore`")?;
        }
        Command::Completions { shell } => {
            let mut cli = Cli::command();
            clap_complete::generate(*shell, &mut cli, "cachefilesctl", &mut io::stdout());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn help_mount(arguments: &[String]) -> Result<ExitCode> {
    if let Some(args) = mount::of_helper(arguments)? {
        mount::run(&args)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn cache_dir(place: &Place) -> Result<PathBuf> {
    let dir = Settings::read(place)?.dir;
    dir.context("which cache directory? Give --dir DIR, or the daemon's --config FILE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// What `--help` tells and the manual page does not would be found by nobody who reads that.
    #[test]
    fn the_manual_page_has_every_command_and_option() {
        let page = include_str!("../cachefilesctl.8.rst");
        let words: Vec<&str> = page
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .collect();
        let cli = Cli::command();
        for command in cli.get_subcommands() {
            let options = command.get_arguments().filter_map(|arg| arg.get_long());
            let options = options.map(|long| format!("--{long}"));
            for name in options.chain([command.get_name().to_owned()]) {
                assert!(words.contains(&name.as_str()), "{name} is not in the page");
            }
        }
    }

    #[test]
    fn every_shell_gets_completions_of_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let (mut cli, mut text) = (Cli::command(), Vec::new());
            clap_complete::generate(shell, &mut cli, "cachefilesctl", &mut text);
            let text = String::from_utf8(text).unwrap();
            for command in ["doctor", "status", "umount"] {
                assert!(text.contains(command), "{shell}: {command}");
            }
        }
    }
}
