// SPDX-License-Identifier: GPL-2.0
//! Reads what cachefiles-bench wrote, and makes of it: the table (text and Markdown), a file of JSON with
//! everything that the table says, and the curves over the number of requests (SVG).

mod curves;
mod data;
mod table;
mod targets;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
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

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut lines = Vec::new();
    for file in &arguments.files {
        let text =
            fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        lines.extend(data::parse(&text)?);
    }
    ensure!(!lines.is_empty(), "nothing was measured");
    let rows = data::compare(&lines, &arguments.module);
    ensure!(
        !rows.is_empty(),
        "nothing was measured of both c and {}",
        arguments.module
    );
    fs::create_dir_all(&arguments.out)?;
    let out = |name: &str| arguments.out.join(name);
    print!("{}", table::text(&rows));
    fs::write(out("table.md"), table::markdown(&arguments.title, &rows))?;
    fs::write(
        out("results.json"),
        serde_json::to_string_pretty(&rows)? + "\n",
    )?;
    for file in curves::draw(&rows, &arguments.out, &arguments.module)? {
        eprintln!("    {}", file.display());
    }
    Ok(())
}
