// SPDX-License-Identifier: GPL-2.0
//! The command line: `cachefiles-ondemandd serve` and `cachefiles-ondemandd supervise`.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use cachefiles_daemon::config;
use cachefiles_daemon::doctor::{self, DoctorArgs};
use cachefiles_daemon::index::{self, IndexArgs};
use cachefiles_daemon::invalidate::{self, InvalidateArgs};
use cachefiles_daemon::log;
use cachefiles_daemon::serve::{self, ServeArgs};
use cachefiles_daemon::stats::Snapshot;
use cachefiles_daemon::supervise::{self, SuperviseArgs};
use cachefiles_daemon::verify::{self, VerifyArgs};
use clap::{CommandFactory as _, Parser, Subcommand};
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
    #[command(args_override_self = true)]
    Serve(ServeArgs),
    /// Hold the device, and keep a `serve` process running
    #[command(args_override_self = true)]
    Supervise(SuperviseArgs),
    /// Make the index of a blob, by which `serve` verifies each part of it
    #[command(args_override_self = true)]
    Index(IndexArgs),
    /// Remove what is cached of a blob, so that another one may have its name
    Invalidate(InvalidateArgs),
    /// Compare what is cached of a blob with its index, and remove what is wrong from the cache
    #[command(args_override_self = true)]
    Verify(VerifyArgs),
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
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => {
            log::begin(LevelFilter::ERROR);
            tracing::error!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    log::begin(cli.log_level);
    let result = match &cli.command {
        Command::Serve(args) => serve::run(args, reread),
        Command::Supervise(args) => {
            supervise::run(args.clone(), cli.log_level.to_string(), &reload)
        }
        Command::Index(args) => index::run(args),
        Command::Invalidate(args) => invalidate::run(args),
        Command::Verify(args) => verify::run(args),
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

impl Cli {
    /// The command line, with the configuration that it names. Does not return for one that is not
    /// understood, or that asks for help.
    fn read() -> Result<Self> {
        Ok(Self::parse_from(Self::arguments()?))
    }

    /// The same later on: the configuration may have changed.
    fn read_again() -> Result<Self> {
        Ok(Self::try_parse_from(Self::arguments()?)?)
    }

    fn arguments() -> Result<Vec<OsString>> {
        config::expand(std::env::args_os().collect(), &Self::command())
    }
}

/// What `serve` is to do, as the configuration says now.
fn reread() -> Result<ServeArgs> {
    match Cli::read_again()?.command {
        Command::Serve(args) => Ok(args),
        _ => anyhow::bail!("another command than before"),
    }
}

/// What `supervise` is to do, as the configuration says now.
fn reload() -> Result<(SuperviseArgs, String)> {
    let cli = Cli::read_again()?;
    match cli.command {
        Command::Supervise(args) => Ok((args, cli.log_level.to_string())),
        _ => anyhow::bail!("another command than before"),
    }
}

fn print_stats(path: &Path) -> Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    println!("{}", Snapshot::read(&file)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The options that are there but commented out, too.
    #[test]
    fn the_example_configuration_is_understood() {
        let text = include_str!("../cachefiles-ondemandd.toml");
        let is_option = |line: &&str| line.starts_with('#') && !line.starts_with("# ");
        // One of the three is there already. (A table of images ends with the next line.)
        let is_other_source = |line: &str| {
            ["#url", "#[image]", "#web ="]
                .iter()
                .any(|it| line.starts_with(it))
        };
        let all: String = text
            .lines()
            .map(|line| match is_option(&line) {
                true if is_other_source(line) => String::new(),
                true => format!("{}\n", &line[1..]),
                false => format!("{line}\n"),
            })
            .collect();
        for text in [text, &all] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            let config = file.path().to_str().unwrap();
            for command in [
                &["serve"][..],
                &["supervise"],
                &["verify", "app"],
                &["index", "app"],
            ] {
                let arguments = [&["x"], command, &["--config", config]].concat();
                let arguments = arguments.iter().map(OsString::from).collect();
                let expanded = config::expand(arguments, &Cli::command()).unwrap();
                Cli::try_parse_from(expanded).unwrap();
            }
        }
    }

    /// What is given stands behind what the file says.
    #[test]
    fn of_options_that_are_there_twice_the_last_one_counts() {
        for command in ["serve", "supervise"] {
            let arguments = [
                "x",
                command,
                "--blobs=/a",
                "--blobs",
                "/b",
                "--tries=1",
                "--tries=2",
            ];
            let cli = Cli::try_parse_from(arguments).unwrap();
            let said = format!("{:?}", cli.command);
            assert!(said.contains("/b") && !said.contains("/a"), "{said}");
            assert!(said.contains("tries: 2"), "{said}");
        }
    }

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
