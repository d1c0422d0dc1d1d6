// SPDX-License-Identifier: GPL-2.0
//! Reads what tests and kernels print, for the scripts: results as lines of four columns, what they
//! come to, and the complaints in the console logs of test machines.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};

use cachefiles_results::result::TestResult;
use cachefiles_results::summary::Summary;
use cachefiles_results::{cargo, complaints, ktap, tap};

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the results in a file of TAP. A plan that is not fulfilled is a failure.
    Tap(Report),
    /// Print the results in a file of KTAP. A suite that is cut off is a failure.
    Ktap(Report),
    /// Print the results of `cargo test`.
    Cargo(Report),
    /// Print the failed tests of a part of a report, each with a tab and what it said.
    Failures {
        /// What the file is.
        #[arg(value_enum)]
        format: Format,
        file: PathBuf,
    },
    /// Print what a file of results comes to. What only C passes becomes a failure in the file.
    Summary { file: PathBuf },
    /// Print the last line, "N passed, N failed". Status 1 unless all passed, and something.
    End { file: PathBuf },
    /// Show the complaints of the kernel in console logs. Status 1 if there are any.
    Splats {
        /// Lines that are shown of each log.
        #[arg(long, default_value_t = 80)]
        lines: usize,
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

#[derive(clap::ValueEnum, Clone, Copy)]
enum Format {
    Tap,
    Ktap,
}

#[derive(Args)]
struct Report {
    /// What the results are of.
    group: String,
    /// The report; that there is none is a failure.
    file: PathBuf,
    /// The status that the program ended with. Another than 0 is a failure, unless the report tells
    /// of one.
    #[arg(long, default_value_t = 0)]
    status: i32,
    /// What failed then.
    #[arg(long, default_value = "ends well")]
    what: String,
    /// Leave this directory out of what is said.
    #[arg(long)]
    top: Option<PathBuf>,
}

impl Report {
    /// Prints the results that `read` finds.
    fn print(&self, format: &str, read: fn(&str, &str) -> Vec<TestResult>) {
        let mut told = false;
        let mut results = match text_of(&self.file) {
            Ok(text) => {
                told = text.lines().any(is_failure);
                let text = match self.top.as_deref().map(Path::to_string_lossy) {
                    Some(top) => text.replace(&format!("{top}/"), ""),
                    None => text,
                };
                read(&self.group, &text)
            }
            Err(error) => {
                let name = format!("writes {format}");
                vec![TestResult::fail(&self.group, &name, &format!("{error:#}"))]
            }
        };
        if self.status != 0 && !told {
            let reason = format!("status {}", self.status);
            results.push(TestResult::fail(&self.group, &self.what, &reason));
        }
        for result in results {
            println!("{result}");
        }
    }
}

/// Whether a line tells of a test that failed, where it was to pass.
fn is_failure(line: &str) -> bool {
    let line = line.trim_end();
    let is_excused = line.contains("# TODO") || line.contains("# SKIP");
    (line.starts_with("not ok") && !is_excused)
        || (line.starts_with("test ") && line.ends_with("FAILED"))
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Command::Tap(report) => report.print("TAP", tap::results),
        Command::Ktap(report) => report.print("KTAP", ktap::results),
        Command::Cargo(report) => report.print("the results of cargo test", cargo::results),
        Command::Failures { format, file } => {
            let text = text_of(&file)?;
            let failures = match format {
                Format::Tap => tap::failures(&text, 600),
                Format::Ktap => ktap::failures(&text),
            };
            for (name, said) in failures {
                println!("{name}\t{said}");
            }
        }
        Command::Summary { file } => {
            let failures = Summary::read(&text_of(&file)?).passed_by_c_alone();
            let mut results = OpenOptions::new().append(true).open(&file)?;
            for failure in failures {
                writeln!(results, "{failure}")?;
            }
            print!("{}", Summary::read(&text_of(&file)?).text());
        }
        Command::End { file } => {
            let (line, good) = Summary::read(&text_of(&file)?).last_line();
            println!("{line}");
            return Ok(ExitCode::from(u8::from(!good)));
        }
        Command::Splats { lines, files } => {
            let mut good = true;
            for file in files {
                good &= show_complaints(&file, lines)?;
            }
            return Ok(ExitCode::from(u8::from(!good)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads a file that may hold anything, as a console log does.
fn text_of(file: &Path) -> Result<String> {
    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Lines that are shown behind a complaint.
const BEHIND: usize = 25;

/// Shows the complaints of a log on standard error, each with what follows. Returns whether there
/// are none.
fn show_complaints(file: &Path, most: usize) -> Result<bool> {
    let text = text_of(file)?;
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.trim_end_matches('\r'))
        .collect();
    let found = complaints::find(&lines);
    if found.is_empty() {
        return Ok(true);
    }
    eprintln!("warning: the kernel complained; {} has:", file.display());
    let (mut shown, mut next) = (0, 0);
    for place in found {
        if place > next && shown > 0 {
            eprintln!("--");
        }
        for line in lines.iter().take(place + BEHIND + 1).skip(place.max(next)) {
            if shown < most {
                eprintln!("{line}");
                shown += 1;
            }
        }
        next = next.max(place + BEHIND + 1);
    }
    Ok(false)
}
