// SPDX-License-Identifier: GPL-2.0
//! Copies results into the tree: what has a target, the whole table, the curves of the figures that
//! are to be flat; and the few that are told in words into a text (the README), between two
//! markers.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

/// The lines in the text between which the page stands.
const BEGIN: &str = "<!-- benchmarks: begin -->";
const END: &str = "<!-- benchmarks: end -->";
/// The head that every file of the tree has.
const LICENCE: &str = "<!-- SPDX-License-Identifier: GPL-2.0 -->\n\n";
/// The curves that are shown: what grows in C.
const CURVES: [&str; 6] = [
    "parked-poll-overlay",
    "failover-per-request-overlay",
    "closing-close-256-fds-overlay",
    "closing-sigkill-to-reaped-overlay",
    "dropping-unmount-of-2-objects-overlay",
    "wakeups-round-trip-epollexclusive-overlay",
];

#[derive(Args)]
pub struct Publish {
    /// The results folder.
    #[arg(long)]
    from: PathBuf,
    /// The folder of the tree that they are copied to.
    #[arg(long)]
    to: PathBuf,
    /// The text.
    #[arg(long)]
    text: PathBuf,
}

impl Publish {
    pub fn run(self) -> Result<()> {
        let summary = fs::read_to_string(self.from.join("summary.md"))
            .context("reading the results: was anything measured?")?;
        fs::create_dir_all(&self.to)?;
        for name in CURVES.map(|name| format!("{name}.svg")) {
            // Not every row is in every run.
            if self.from.join(&name).exists() {
                fs::copy(self.from.join(&name), self.to.join(&name))?;
            }
        }
        fs::copy(self.from.join("table.md"), self.to.join("table.md"))?;
        fs::write(self.to.join("summary.md"), format!("{LICENCE}{summary}"))?;
        let page = fs::read_to_string(self.from.join("words.md"))?;
        let text = fs::read_to_string(&self.text)?;
        Ok(fs::write(&self.text, between(&text, page.trim_end())?)?)
    }
}

/// `text` with `page` between the markers.
fn between(text: &str, page: &str) -> Result<String> {
    let (before, rest) = text.split_once(BEGIN).context("no marker to begin at")?;
    let (_, after) = rest.split_once(END).context("no marker to end at")?;
    Ok(format!("{before}{BEGIN}\n\n{page}\n\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_is_replaced() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = between(&text, "new").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}\n\nnew\n\n{END}\nb\n"));
        assert_eq!(between(&new, "new").unwrap(), new);
        assert!(between("no markers", "new").is_err());
    }
}
