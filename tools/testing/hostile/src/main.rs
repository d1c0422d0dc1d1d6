// SPDX-License-Identifier: GPL-2.0
//! The hostile daemon, run as root inside a test machine: processes that do everything with the
//! device and its fds that a daemon must not do, while others mount and read. Afterwards a good
//! daemon has to find everything in working order, and nothing may be left. The report is TAP on
//! standard output, a result for each round.

mod actor;
mod careless;
mod dice;
mod fd_exchange;
mod handles;
mod images;
mod injection;
mod memory;
mod mounter;
mod operations;
mod plan;
mod processes;
mod raw;
mod reader;
mod round;
mod run;
mod settings;
mod sleepers;
mod step_log;
mod successor;

/// The driver's own table of commands.
#[allow(dead_code, reason = "the parser is for the driver")]
#[path = "../../../../fs/cachefiles/format"]
mod driver {
    pub(crate) mod command;
    mod limits;
}

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use crate::settings::Settings;

#[derive(Parser)]
#[command(
    version,
    about,
    subcommand_negates_reqs = true,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    settings: Option<Settings>,
}

/// What this program does when it starts itself.
#[derive(Subcommand)]
enum Role {
    /// A daemon that does everything.
    #[command(hide = true)]
    Hostile(actor::Part),
    /// A daemon that loses its fds.
    #[command(hide = true)]
    Careless(actor::Part),
    /// Mounts and unmounts.
    #[command(hide = true)]
    Mounter(mounter::Part),
    /// Reads and compares.
    #[command(hide = true)]
    Reader(mounter::Part),
    /// Holds a device and an object for a while.
    #[command(hide = true)]
    Hold { milliseconds: u64, msg_id: u32 },
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    match cli.role {
        Some(Role::Hostile(part) | Role::Careless(part)) => {
            // A thread that panics must not leave the others behind.
            let print = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                print(info);
                std::process::exit(101);
            }));
            part.play().map(|()| ExitCode::SUCCESS)
        }
        Some(Role::Mounter(part)) => {
            let status = mounter::play(&part)?;
            Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
        }
        Some(Role::Reader(part)) => {
            let status = reader::play(&part)?;
            Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
        }
        Some(Role::Hold {
            milliseconds,
            msg_id,
        }) => {
            operations::hold(milliseconds, msg_id);
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let settings = cli
                .settings
                .context("--module, --module-path and --cache-dev are needed")?;
            let good = run::all(&settings)?;
            Ok(ExitCode::from(u8::from(!good)))
        }
    }
}
