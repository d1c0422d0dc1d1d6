// SPDX-License-Identifier: GPL-2.0
//! Behaviour tests of `cachefiles.ko`, run as root inside a test machine: over the real device,
//! with EROFS above and ext4, XFS or btrfs below. The report is TAP on standard output.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use cachefiles_harness::registry::Test;
use cachefiles_harness::settings::Settings;
// The cases know these as modules of the crate.
use cachefiles_harness::{
    actor, bad_disk, context, image, kmsg, lz4, raw, registry, runner, session, share, sys, task,
    web,
};

mod cases;

/// Behaviour tests of cachefiles.ko. Needs root, a disk to spoil, and netfs and erofs loaded.
#[derive(Parser)]
#[command(
    version,
    subcommand_negates_reqs = true,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    settings: Option<Settings>,
    /// List the tests and what they guard, and run none.
    #[arg(long, exclusive = true)]
    list: bool,
    /// Leave out the tests of the original mode, which need a directory of the host.
    #[arg(long)]
    ondemand: bool,
    /// Run only the tests of the original mode, for which EROFS needs no on-demand mode.
    #[arg(long, conflicts_with = "ondemand")]
    original: bool,
    /// Stop at the first test that does not end as it should.
    #[arg(long)]
    first_failure: bool,
    /// Run only the tests whose name contains one of these.
    filter: Vec<String>,
}

/// What this program does when it starts itself.
#[derive(Subcommand)]
enum Role {
    /// One test in a process of its own.
    #[command(hide = true)]
    Child {
        test: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// A process that a test needs beside itself.
    #[command(hide = true)]
    Actor {
        #[command(subcommand)]
        part: actor::Part,
    },
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let tests: Vec<&Test> = cases::ondemand()
        .filter(|_| !cli.original)
        .chain(cases::original().filter(|_| !cli.ondemand))
        .filter(|test| {
            cli.filter.is_empty() || cli.filter.iter().any(|part| test.name.contains(part))
        })
        .collect();
    match cli.role {
        Some(Role::Child { test, settings }) => {
            let test = cases::all()
                .find(|known| known.name == test)
                .context("no test of this name")?;
            let code = runner::run_as_child(&settings, test);
            Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
        }
        Some(Role::Actor { part }) => part.play().map(|()| ExitCode::SUCCESS),
        None if cli.list => {
            for test in tests {
                println!("{}\n    {}", test.name, test.guards);
            }
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let settings = cli
                .settings
                .context("--module, --module-path and --cache-dev are needed")?;
            let good = runner::run_all(&settings, &tests, cli.first_failure)?;
            Ok(ExitCode::from(u8::from(!good)))
        }
    }
}
