// SPDX-License-Identifier: GPL-2.0
//! Reads what cachefiles-bench wrote, and makes of it: the table (text and Markdown), a file of
//! JSON with everything that the table says, the curves over the number of requests (SVG), and a
//! page with the figures that have a target, which can be published.

mod counts;
mod curves;
mod data;
mod noise;
mod publish;
mod rivals;
mod table;
mod targets;
mod words;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes the results of what was measured.
    Results(Results),
    /// Makes figures, as lines on standard output, of what the emulator's plugin counted.
    Counts(Counts),
    /// Copies the page and some curves to a folder, and the page into a text, between its markers.
    Publish(publish::Publish),
}

#[derive(Args)]
struct Results {
    /// The lines that were measured; other lines are passed over.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Where the results go.
    #[arg(long)]
    out: PathBuf,
    /// The module that is compared with C.
    #[arg(long, default_value = "rust")]
    module: String,
    /// When, where and how it was measured; stands above the table.
    #[arg(long, default_value = "")]
    title: String,
}

#[derive(Args)]
struct Counts {
    /// What the plugin wrote.
    #[arg(long)]
    counts: PathBuf,
    /// What the guest wrote in that run.
    #[arg(long)]
    marked: PathBuf,
    /// Where the kernel's functions are.
    #[arg(long)]
    system_map: PathBuf,
    /// To be written: instructions by function.
    #[arg(long)]
    functions: PathBuf,
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Results(results) => results.run(),
        Command::Counts(counts) => counts.run(),
        Command::Publish(publish) => publish.run(),
    }
}

fn read(path: &PathBuf) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

impl Results {
    fn run(self) -> Result<()> {
        let mut lines = Vec::new();
        for file in &self.files {
            lines.extend(data::parse(&read(file)?)?);
        }
        ensure!(!lines.is_empty(), "nothing was measured");
        let rows = data::compare(&lines, &self.module);
        ensure!(
            !rows.is_empty(),
            "nothing was measured of both c and {}",
            self.module
        );
        let other = match self.module.as_str() {
            "rust" => "ours",
            name => name,
        };
        fs::create_dir_all(&self.out)?;
        let write = |name: &str, text: String| fs::write(self.out.join(name), text);
        print!("{}", table::text(&rows, other));
        write("table.md", table::markdown(&self.title, &rows, other))?;
        write("summary.md", table::summary(&self.title, &rows, other))?;
        write("words.md", words::page(&self.title, &rows))?;
        write("results.json", serde_json::to_string_pretty(&rows)? + "\n")?;
        if let Some(page) = rivals::page(&self.title, &lines) {
            println!("\n{page}");
            write("rivals.md", page)?;
        }
        let curves = curves::draw(&rows, &self.out, &self.module)?;
        println!("\n{}, {} curves", table::count(&rows), curves.len());
        Ok(())
    }
}

impl Counts {
    fn run(self) -> Result<()> {
        let (lines, functions) = counts::figures(
            &read(&self.marked)?,
            &read(&self.counts)?,
            &read(&self.system_map)?,
        )?;
        for line in lines {
            println!("{}", serde_json::to_string(&line)?);
        }
        Ok(fs::write(&self.functions, functions.text())?)
    }
}
