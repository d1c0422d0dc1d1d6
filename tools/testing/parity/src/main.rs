// SPDX-License-Identifier: GPL-2.0
//! Side by side: what user space sees of the C module and of the Rust module. `record` runs inside
//! a test machine, once for each module; `compare` runs anywhere, on the two records.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use cachefiles_harness::actor;
use cachefiles_harness::registry::Module;
use cachefiles_harness::settings::Settings;
use clap::{Parser, Subcommand};

use cachefiles_parity::{compare, document, intended, probe, probes};

/// Records what user space sees of a cachefiles.ko, and compares two records.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Probe a module: a line of JSON for each row. Needs root, an ext4 disk to spoil, and netfs
    /// and erofs loaded.
    Record {
        /// The module's file.
        #[arg(long, value_name = "FILE")]
        module_path: PathBuf,
        /// An ext4 disk that may be emptied.
        #[arg(long, value_name = "DEVICE")]
        cache_dev: PathBuf,
        /// All time limits are multiplied by this, for slow machines.
        #[arg(long, value_name = "N", default_value_t = 1)]
        patience: u32,
        /// Run only the probes of network file systems, for which neither EROFS nor the module
        /// needs an on-demand mode, nor injection of errors.
        #[arg(long)]
        original: bool,
        /// Run only the probes whose name contains one of these, or whose section is called like
        /// it.
        filter: Vec<String>,
    },
    /// Say which probes these words choose, as `record` would. Fails, with all names, where a word
    /// chooses none.
    Probes {
        /// Parts of names, or sections.
        filter: Vec<String>,
    },
    /// Compare two records: print the table, and fail on a difference that nothing explains.
    Compare {
        /// The record of the C module.
        c: PathBuf,
        /// The record of the Rust module.
        rust: PathBuf,
        /// Write the verdict on each row here, in TAP.
        #[arg(long, value_name = "FILE")]
        tap: Option<PathBuf>,
        /// The records are of some probes only: what is not there is not missed.
        #[arg(long)]
        partial: bool,
        /// Show every value in full, also of rows without a difference.
        #[arg(long)]
        full: bool,
    },
    /// Print the list of intended differences as reStructuredText.
    Document,
    /// One probe in a process of its own.
    #[command(hide = true)]
    Child {
        probe: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// A process that a probe needs beside itself.
    #[command(hide = true)]
    Actor {
        #[command(subcommand)]
        part: actor::Part,
    },
}

fn main() -> Result<ExitCode> {
    match Cli::parse().role {
        Role::Record {
            module_path,
            cache_dev,
            patience,
            original,
            filter,
        } => {
            let settings = Settings {
                // Nothing depends on it: both modules get the same probes.
                module: Module::C,
                module_path,
                other_module_path: None,
                cache_dev,
                cache_fs: Default::default(),
                images: None,
                even_crashes: false,
                patience,
            };
            let mut chosen = probes::chosen(&filter)?;
            chosen.retain(|probe| !original || probes::is_original(probe));
            probe::run_all(&settings, &chosen, &mut std::io::stdout())?;
        }
        Role::Compare {
            c,
            rust,
            tap,
            partial,
            full,
        } => {
            let intended = intended::Intended::known()?;
            let report = compare::Report::of_files(&c, &rust, &intended, partial)?;
            print!("{}", report.table(full));
            if let Some(path) = tap {
                std::fs::write(&path, report.tap())
                    .with_context(|| format!("writing {}", path.display()))?;
            }
            return Ok(ExitCode::from(u8::from(!report.is_good())));
        }
        Role::Probes { filter } => {
            let chosen = match probes::chosen(&filter) {
                Ok(chosen) => chosen,
                Err(error) => {
                    eprintln!("{error}");
                    return Ok(ExitCode::FAILURE);
                }
            };
            for probe in chosen {
                println!("{}", probe.name);
            }
        }
        Role::Document => print!("{}", document::table(&intended::Intended::known()?)),
        Role::Child { probe, settings } => {
            let probe = probes::all()
                .find(|known| known.name == probe)
                .context("no probe of this name")?;
            probe::run_as_child(&settings, probe)?;
        }
        Role::Actor { part } => part.play()?,
    }
    Ok(ExitCode::SUCCESS)
}
