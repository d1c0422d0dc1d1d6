// SPDX-License-Identifier: GPL-2.0
//! The command line: `cachefiles-ondemandd serve` and `cachefiles-ondemandd supervise`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use cachefiles_daemon::doctor::{self, DoctorArgs};
use cachefiles_daemon::invalidate::{self, InvalidateArgs};
use cachefiles_daemon::log;
use cachefiles_daemon::serve::{self, ServeArgs};
use cachefiles_daemon::stats::Snapshot;
use cachefiles_daemon::supervise::{self, SuperviseArgs};
use clap::{Parser, Subcommand};
use tracing_subscriber::filter::LevelFilter;

/// On-demand daemon for the kernel's cachefiles: fills the cache when a reader misses.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    /// What to log to stderr: off, error, warn, info, debug or trace
    #[arg(long, global = true, default_value_t = LevelFilter::INFO, value_name = "LEVEL")]
    log_level: LevelFilter,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer the kernel's requests (the process that may crash)
    Serve(ServeArgs),
    /// Hold the device, and keep a `serve` process running
    Supervise(SuperviseArgs),
    /// Remove what is cached of a blob, so that another one may have its name
    Invalidate(InvalidateArgs),
    /// Look whether all is there that on-demand mounts need, and say how to get what is missing
    Doctor(DoctorArgs),
    /// Print the counters that a running `serve` or `supervise` keeps in a file
    Stats {
        /// What was given to --stats
        #[arg(value_name = "PATH")]
        path: PathBuf,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log::begin(cli.log_level);
    let result = match &cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Supervise(args) => supervise::run(args, cli.log_level.to_string()),
        Command::Invalidate(args) => invalidate::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Stats { path } => print_stats(path),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print_stats(path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    println!("{}", Snapshot::read(&file)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// What `--help` tells and the manual page does not would be found by nobody who reads that.
    #[test]
    fn the_manual_page_has_every_command_and_option() {
        let page = include_str!("../cachefiles-ondemandd.8.rst");
        let words: Vec<&str> = page
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .collect();
        let cli = Cli::command();
        let mut names: Vec<String> = Vec::new();
        for command in std::iter::once(&cli).chain(cli.get_subcommands()) {
            names.push(command.get_name().to_owned());
            let options = command.get_arguments().filter_map(|arg| arg.get_long());
            names.extend(options.map(|long| format!("--{long}")));
        }
        for name in names {
            assert!(words.contains(&name.as_str()), "{name} is not in the page");
        }
    }
}
