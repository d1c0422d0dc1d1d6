// SPDX-License-Identifier: GPL-2.0
//! Where the kernel's functions and the module's code lie.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::elf::Module;

/// The functions of the kernel itself, by address.
pub struct Kernel(Vec<(u64, String)>);

impl Kernel {
    /// Reads the table. Needs root.
    pub fn read() -> Result<Self> {
        let text = fs::read_to_string("/proc/kallsyms").context("reading /proc/kallsyms")?;
        let mut functions: Vec<(u64, String)> = text
            .lines()
            // What is behind a tab is the name of a module.
            .filter(|line| !line.contains('\t'))
            .filter_map(|line| {
                let mut words = line.split(' ');
                let address = u64::from_str_radix(words.next()?, 16).ok()?;
                let kind = words.next()?;
                matches!(kind, "t" | "T" | "W" | "w")
                    .then(|| Some((address, words.next()?.to_owned())))?
            })
            .collect();
        functions.sort();
        ensure!(
            functions.first().is_some_and(|(address, _)| *address != 0),
            "/proc/kallsyms shows no addresses"
        );
        Ok(Self(functions))
    }

    /// The code of a function.
    pub fn function(&self, name: &str) -> Result<Range<u64>> {
        let index = self.0.iter().position(|(_, known)| known == name);
        let index = index.with_context(|| format!("the kernel has no function {name}"))?;
        let start = self.0[index].0;
        let next = self.0[index..].iter().find(|(address, _)| *address > start);
        Ok(start..next.map_or(start + 1, |(address, _)| *address))
    }

    /// From the first to the last function whose name begins with `prefix`, where they lie side by
    /// side.
    pub fn functions_from(&self, first: &str, prefix: &str) -> Result<Range<u64>> {
        let start = self.function(first)?.start;
        let behind = self
            .0
            .iter()
            .skip_while(|(address, _)| *address < start)
            .take_while(|(_, name)| name.starts_with(prefix))
            .last();
        let last = behind.map_or(first, |(_, name)| name);
        Ok(start..self.function(last)?.end)
    }
}

/// Where a function of a loaded module begins.
pub fn module_function(module: &str, function: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/kallsyms").context("reading /proc/kallsyms")?;
    let ending = format!(" {function}\t[{module}]");
    let line = text.lines().find(|line| line.ends_with(&ending));
    let line = line.with_context(|| format!("{module} has no function {function}"))?;
    let address = line.split(' ').next().unwrap_or_default();
    u64::from_str_radix(address, 16).with_context(|| format!("the address of {function}: {line}"))
}

/// Where the code of the loaded module lies.
pub fn module_code(name: &str, module: &Module) -> Result<Range<u64>> {
    let sections = Path::new("/sys/module").join(name).join("sections");
    let mut code: Option<Range<u64>> = None;
    for (section, size) in &module.code {
        // A section that went together with another one is not listed.
        let Ok(text) = fs::read_to_string(sections.join(section)) else {
            continue;
        };
        let start = u64::from_str_radix(text.trim().trim_start_matches("0x"), 16)
            .with_context(|| format!("the address of {section}: {text}"))?;
        let part = start..start + size;
        code = Some(code.map_or(part.clone(), |code| {
            code.start.min(part.start)..code.end.max(part.end)
        }));
    }
    let code = code.context("the module has no code")?;
    ensure!(
        code.start != 0 && code.end - code.start < 16 << 20,
        "the module's code cannot lie at {code:#x?}"
    );
    Ok(code)
}
