// SPDX-License-Identifier: GPL-2.0
//! The main job, seen from inside the machine: an EROFS image is mounted on demand, several
//! processes read and check every file, and the daemon that serves them is killed again and again.

mod daemon;
mod killer;
mod lone;
mod manifest;
mod reader;
mod readers;
mod report;
mod restorer;
mod storm;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Reads an EROFS image that is served on demand while its daemon is killed over and over.
#[derive(Debug, Parser)]
#[command(
    version,
    subcommand_negates_reqs = true,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(flatten)]
    storm: Option<StormArgs>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read every file of the manifest once and check it (what the reader processes run)
    Read(reader::ReadArgs),
}

/// When `restore` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Restore {
    /// After the death of each worker
    Once,
    /// All the while, too: before, at and after each death
    Racing,
    /// Never: the kernel has to do it by itself
    Never,
    /// Never, and nobody supervises the workers: the cache lingers between two
    Linger,
}

/// What to mount, and what to do to it.
#[derive(Debug, Clone, Args)]
struct StormArgs {
    /// The cachefiles module to insert, and to remove at the end; its dependencies must be there
    #[arg(long, value_name = "FILE")]
    module: PathBuf,
    /// What the module is inserted with, e.g. `async_reads=1`
    #[arg(long, default_value = "", value_name = "PARAMETERS")]
    parameters: String,
    /// Block device with the (ext4) filesystem of the cache; what an earlier cache left is deleted
    #[arg(long, value_name = "DEVICE")]
    cache_dev: PathBuf,
    /// Directory of blobs, which the daemon serves
    #[arg(long, value_name = "DIR")]
    blobs: PathBuf,
    /// Name of the image's blob
    #[arg(long, value_name = "NAME")]
    fsid: String,
    /// Name of a further blob of the image; may be given several times, in order
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<String>,
    /// Domain to share blobs in
    #[arg(long, value_name = "NAME")]
    domain_id: Option<String>,
    /// Checksums of all files, as `sha256sum` prints them, with paths relative to the image's root
    #[arg(long, value_name = "FILE")]
    manifest: PathBuf,
    /// How often to kill the daemon
    #[arg(long, default_value_t = 20)]
    kills: u64,
    /// Number of reader processes
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    readers: u16,
    /// How many of the reader processes read each file: all of them, unless this says less
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    overlap: Option<u16>,
    /// Number of threads of the daemon
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Seed of the order of reading and of the moments of killing
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// When to write `restore`, which has the kernel repeat what a dead worker left unanswered
    #[arg(long, value_enum, default_value_t = Restore::Once)]
    restore: Restore,
    /// Seconds without any progress after which the run has failed
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    stall: u64,
    /// How often to read the image from an empty cache at most, when the kills are not used up
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    max_rounds: u32,
    /// Leave everything mounted and the daemon running at the end
    #[arg(long)]
    keep: bool,
    /// Directory for the daemon's log, counters and pid file
    #[arg(long, default_value = "/run/cachefiles-storm", value_name = "DIR")]
    run_dir: PathBuf,
    /// Where to mount the cache's filesystem
    #[arg(long, default_value = "/cache", value_name = "DIR")]
    cache_dir: PathBuf,
    /// Where to mount the image
    #[arg(long, default_value = "/mnt/image", value_name = "DIR")]
    mount_point: PathBuf,
}

impl StormArgs {
    /// By how many of the readers each file is read.
    fn overlap(&self) -> u16 {
        self.overlap.unwrap_or(self.readers).min(self.readers)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match (cli.command, cli.storm) {
        (Some(Command::Read(args)), _) => reader::run(&args).map(|()| true),
        (None, Some(args)) => storm::run(&args),
        (None, None) => Err(anyhow::anyhow!("nothing to do: see --help")),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cachefiles-storm: {error:#}");
            println!("result: FAIL ({error:#})");
            ExitCode::FAILURE
        }
    }
}
