// SPDX-License-Identifier: GPL-2.0
//! Power cuts: records what a disk is asked to do while a cache on it is filled, and checks what
//! the cache has when the power is cut at any moment of that.

mod check;
mod log;
mod marks;
mod medium;
mod record;
mod report;
mod survivor;
mod world;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Cuts the power of a recorded disk, and checks what a cache on it has then.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fill a cache on a disk that is logged (inside a machine)
    Record(record::RecordArgs),
    /// Cut the power at many moments of a recording, and check (inside a machine)
    Check(check::CheckArgs),
    /// Make the disk after one cut, for a look at it
    Image(check::ImageArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Record(args) => record::run(&args).map(|()| true),
        Command::Check(args) => check::run(&args),
        Command::Image(args) => check::make_image(&args).map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cachefiles-powercut: {error:#}");
            ExitCode::FAILURE
        }
    }
}
