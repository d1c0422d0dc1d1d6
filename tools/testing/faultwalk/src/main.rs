// SPDX-License-Identifier: GPL-2.0
//! Every allocation of `cachefiles.ko` fails once: a walk over all of them, step by step, inside a
//! test machine with a kernel that can inject failures. The report is TAP on standard output.

mod daemon;
mod dump;
mod elf;
mod inject;
mod kallsyms;
mod leaks;
mod record;
mod runner;
mod sites;
mod steps;
mod walk;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use cachefiles_harness::registry::Module;
use cachefiles_harness::settings::Settings;
use clap::{Parser, Subcommand};

use crate::inject::Mode;
use crate::sites::Place;
use crate::steps::Step;

/// Fails the allocations of a cachefiles.ko one by one. Needs root, an ext4 disk to spoil, netfs
/// and erofs loaded, and a kernel with fault injection (scripts/kernel --debug).
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
    run: Option<Run>,
    /// List the steps, and take none.
    #[arg(long, exclusive = true)]
    list: bool,
}

/// What to walk over.
#[derive(Debug, Clone, clap::Args)]
pub struct Run {
    /// The module's file.
    #[arg(long, value_name = "FILE")]
    pub module_path: PathBuf,
    /// An ext4 disk that may be emptied.
    #[arg(long, value_name = "DEVICE")]
    pub cache_dev: PathBuf,
    /// All time limits are multiplied by this, for slow machines.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub patience: u32,
    /// Count failures in this way only.
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// Only the nth failure, to look at it.
    #[arg(long, value_name = "N", requires = "mode")]
    pub nth: Option<u32>,
    /// Only what is allocated from this place: a function of the module, and the return address in
    /// it.
    #[arg(long, value_name = "FUNCTION+BYTES", hide = true)]
    pub only: Option<Place>,
    /// Let nothing fail: each step once, on any kernel.
    #[arg(long)]
    pub dry: bool,
    /// Do not look for leaked memory, which takes long.
    #[arg(long)]
    pub no_leaks: bool,
    /// Take only the steps whose name contains one of these.
    pub filter: Vec<String>,
}

impl Run {
    fn settings(&self) -> Settings {
        Settings {
            module: Module::Rust,
            module_path: self.module_path.clone(),
            other_module_path: None,
            cache_dev: self.cache_dev.clone(),
            cache_fs: Default::default(),
            images: None,
            even_crashes: false,
            patience: self.patience,
        }
    }

    fn steps(&self) -> Vec<&'static Step> {
        steps::all()
            .filter(|step| {
                self.filter.is_empty() || self.filter.iter().any(|part| step.name.contains(part))
            })
            .collect()
    }
}

/// What this program does when it starts itself.
#[derive(Subcommand)]
enum Role {
    /// One step in a process of its own, from the nth failure on.
    #[command(hide = true)]
    Child {
        #[arg(long)]
        step: String,
        #[arg(long)]
        from: u32,
        #[command(flatten)]
        run: Run,
    },
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    match cli.role {
        Some(Role::Child { step, from, run }) => {
            let step = steps::all()
                .find(|known| known.name == step)
                .context("no step of this name")?;
            Ok(ExitCode::from(runner::run_as_child(&run, step, from)))
        }
        None if cli.list => {
            for step in steps::all() {
                let modes: Vec<&str> = step.modes.iter().map(|mode| mode.name()).collect();
                println!("{} ({})", step.name, modes.join(", "));
            }
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let run = cli
                .run
                .context("--module-path and --cache-dev are needed")?;
            ensure!(
                run.dry || inject::is_available(),
                "this kernel injects no failures, or not by the stack; scripts/kernel --debug builds one that does"
            );
            let good = runner::run_all(&run, &run.steps())?;
            Ok(ExitCode::from(u8::from(!good)))
        }
    }
}
