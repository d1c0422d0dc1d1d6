// SPDX-License-Identifier: GPL-2.0
//! The command line: `cachefiles-ondemandd serve` and `cachefiles-ondemandd supervise`.

use std::process::ExitCode;

use cachefiles_daemon::serve::{self, ServeArgs};
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
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_max_level(cli.log_level)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .init();
    let result = match &cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Supervise(args) => supervise::run(args, cli.log_level.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
