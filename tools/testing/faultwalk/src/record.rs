// SPDX-License-Identifier: GPL-2.0
//! What a step's process tells the one that watches it: a line for each event, in a file.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::inject::Mode;

/// Something that happened during a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The nth allocation is about to fail.
    Begin { mode: Mode, nth: u32 },
    /// A failure was injected below this return address in the module: function and place.
    Site { function: String, at: u64 },
    /// A failure was injected of which the kernel says nothing, or not below the module.
    Quiet,
    /// The step is over, what had to be checked behind it is fine, and this is what came of it.
    End { fired: bool, outcome: String },
    /// The step with all that can fail in it is done.
    Done { mode: Mode },
}

impl Event {
    fn to_line(&self) -> String {
        match self {
            Self::Begin { mode, nth } => format!("begin\t{}\t{nth}", mode.name()),
            Self::Site { function, at } => format!("site\t{function}\t{at}"),
            Self::Quiet => "quiet".into(),
            Self::End { fired, outcome } => format!("end\t{fired}\t{outcome}"),
            Self::Done { mode } => format!("done\t{}", mode.name()),
        }
    }

    /// The event that a line tells of.
    pub fn of_line(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split('\t').collect();
        let mode = |name: &str| Mode::from_str(name, false).ok();
        Some(match words.as_slice() {
            ["begin", name, nth] => Self::Begin {
                mode: mode(name)?,
                nth: nth.parse().ok()?,
            },
            ["site", function, at] => Self::Site {
                function: (*function).to_owned(),
                at: at.parse().ok()?,
            },
            ["quiet"] => Self::Quiet,
            ["end", fired, outcome] => Self::End {
                fired: fired.parse().ok()?,
                outcome: (*outcome).to_owned(),
            },
            ["done", name] => Self::Done { mode: mode(name)? },
            _ => return None,
        })
    }
}

/// The file, for the one who writes it.
pub struct Writer(File);

impl Writer {
    /// Goes on with the file, or begins it.
    pub fn append(path: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(path);
        file.map(Self)
            .with_context(|| format!("opening {}", path.display()))
    }

    /// Notes an event. There at once, should the machine die of what comes next.
    pub fn note(&mut self, event: &Event) -> Result<()> {
        writeln!(self.0, "{}", event.to_line()).context("writing the record")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_the_file() {
        let (mode, nth) = (Mode::Pages, 7);
        for event in [
            Event::Begin { mode, nth },
            Event::Site {
                function: "_RNvX".into(),
                at: 0x5b,
            },
            Event::Quiet,
            Event::End {
                fired: true,
                outcome: "ENOMEM".into(),
            },
            Event::Done { mode },
        ] {
            assert_eq!(Event::of_line(&event.to_line()), Some(event));
        }
        assert_eq!(Event::of_line("end\tmaybe\tx"), None);
    }
}
