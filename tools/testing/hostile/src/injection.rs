// SPDX-License-Identifier: GPL-2.0
//! Failures of memory allocation and of copying from and to user space, where the kernel can have
//! them made: `failslab`, `fail_page_alloc` and `fail_usercopy` of a debug kernel.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::dice::Dice;

const DEBUGFS: &str = "/sys/kernel/debug";

/// For whom something fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    /// Everybody who is in the module, and what it calls.
    Module,
    /// The hostile processes, wherever they are.
    Hostiles,
}

/// What fails in a round: every so many, 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Injection {
    whom: Whom,
    slab: u64,
    pages: u64,
    copies: u64,
}

impl Injection {
    /// Nothing.
    pub const NONE: Self = Self {
        whom: Whom::Module,
        slab: 0,
        pages: 0,
        copies: 0,
    };

    /// Something, or nothing.
    pub fn choose(dice: &mut Dice) -> Self {
        let mut some = |percent, low, high| {
            let every = dice.between(low, high);
            if dice.chance(percent) { every } else { 0 }
        };
        let (slab, pages, copies) = (some(60, 7, 300), some(30, 3, 60), some(30, 5, 150));
        Self {
            whom: if dice.chance(75) {
                Whom::Module
            } else {
                Whom::Hostiles
            },
            slab,
            pages,
            copies,
        }
    }

    /// Whether this kernel can do it.
    pub fn is_possible() -> bool {
        Path::new(DEBUGFS).join("failslab/probability").exists()
    }

    /// Whether the hostile processes are to ask for it.
    pub fn is_of_hostiles(&self) -> bool {
        self.whom == Whom::Hostiles && self.is_any()
    }

    /// Whether anything fails at all.
    pub fn is_any(&self) -> bool {
        self.slab + self.pages + self.copies > 0
    }

    /// Switches it on. The module must be loaded.
    pub fn switch_on(&self) -> Result<()> {
        if !self.is_any() {
            return Ok(());
        }
        let (start, end) = match self.whom {
            Whom::Module => text_of(|_, module| module == "[cachefiles]")?,
            Whom::Hostiles => (0, u64::MAX),
        };
        // What ext4 has to do it does, or says that its disk is damaged: with that the module has
        // nothing to do.
        let spared =
            text_of(|name, module| matches!(module, "" | "[ext4]") && name.starts_with("ext4_"))?;
        for (name, every) in self.kinds() {
            let set = |file: &str, value: &str| {
                let path = Path::new(DEBUGFS).join(name).join(file);
                fs::write(&path, value).with_context(|| format!("writing {}", path.display()))
            };
            if every == 0 {
                continue;
            }
            // All off while it is being set up.
            set("probability", "0")?;
            set(
                "task-filter",
                if self.whom == Whom::Hostiles {
                    "Y"
                } else {
                    "N"
                },
            )?;
            set("stacktrace-depth", "32")?;
            set("require-start", &format!("{start:#x}"))?;
            set("require-end", &format!("{end:#x}"))?;
            set("reject-start", &format!("{:#x}", spared.0))?;
            set("reject-end", &format!("{:#x}", spared.1))?;
            set("interval", &every.to_string())?;
            set("times", "-1")?;
            set("verbose", "0")?;
            match name {
                "failslab" => set("ignore-gfp-wait", "N")?,
                "fail_page_alloc" => {
                    set("ignore-gfp-wait", "N")?;
                    set("min-order", "0")?;
                }
                _ => {}
            }
            set("probability", "100")?;
        }
        Ok(())
    }

    /// Switches everything off, whatever was on.
    pub fn switch_off() {
        for (name, _) in Self::NONE.kinds() {
            // There may be none of that name.
            let _ = fs::write(Path::new(DEBUGFS).join(name).join("probability"), "0");
        }
    }

    fn kinds(&self) -> [(&'static str, u64); 3] {
        [
            ("failslab", self.slab),
            ("fail_page_alloc", self.pages),
            ("fail_usercopy", self.copies),
        ]
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_any() {
            return f.write_str("no memory refused");
        }
        let whom = match self.whom {
            Whom::Module => "below the module",
            Whom::Hostiles => "to hostile processes",
        };
        write!(f, "refused {whom}:")?;
        for (what, every) in [
            ("allocations", self.slab),
            ("pages", self.pages),
            ("copies", self.copies),
        ] {
            if every > 0 {
                write!(f, " every {every}th of {what}")?;
            }
        }
        Ok(())
    }
}

/// Where the code lies that has these names: of functions, and of their module in brackets if they
/// have one.
fn text_of(is_part: impl Fn(&str, &str) -> bool) -> Result<(u64, u64)> {
    let symbols = fs::read_to_string("/proc/kallsyms").context("reading the kernel's symbols")?;
    let symbols = symbols.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        let is_text = matches!(words.next()?, "t" | "T");
        is_text.then_some((address, words.next()?, words.next().unwrap_or_default()))
    });
    let symbols: Vec<(u64, &str, &str)> = symbols.collect();
    // Behind it comes code that is there at boot only.
    let end = symbols.iter().find(|(_, name, _)| *name == "_etext");
    let end = end.map_or(u64::MAX, |(address, ..)| *address);
    let (low, high) = symbols
        .iter()
        .filter(|(address, name, module)| {
            is_part(name, module) && (!module.is_empty() || *address < end)
        })
        .fold((u64::MAX, 0), |(low, high), (address, ..)| {
            (low.min(*address), high.max(*address))
        });
    anyhow::ensure!(low <= high && low > 0, "no such symbol is to be seen");
    // The last function has a length, too.
    Ok((low & !4095, (high + 4096) | 4095))
}
