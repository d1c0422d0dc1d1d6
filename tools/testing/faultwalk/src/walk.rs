// SPDX-License-Identifier: GPL-2.0
//! One step, over and over, with another allocation failing each time, until none is left to fail.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use cachefiles_harness::context::Context;
use cachefiles_harness::kmsg::{KernelLog, splats};
use cachefiles_harness::sys;

use crate::Run;
use crate::dump;
use crate::elf::Module;
use crate::inject::{self, Fault, Mode};
use crate::kallsyms::{Kernel, module_code, module_function};
use crate::record::{Event, Writer};
use crate::sites::Place;

/// No step has as many allocations: something allocates without end, or the kernel does not count.
const MOST: u32 = 2000;

/// Where the failures of a step have to come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Below {
    /// The code of the loaded module.
    Module,
    /// A function of the kernel, for what happens while the module comes and goes.
    Kernel(&'static str),
}

/// A step on its way through all its failures.
pub struct Walk<'a> {
    /// The world of the step.
    pub ctx: &'a Context,
    /// What was asked for on the command line.
    run: &'a Run,
    module: &'a Module,
    kernel: Option<Kernel>,
    record: Writer,
    log: KernelLog,
    /// Where to begin: what comes before was done by a process that died.
    from: (Mode, u32),
}

impl<'a> Walk<'a> {
    /// A walk that begins with the failure `from`.
    pub fn new(
        ctx: &'a Context,
        run: &'a Run,
        module: &'a Module,
        record: &Path,
        from: (Mode, u32),
    ) -> Result<Self> {
        Ok(Self {
            ctx,
            run,
            module,
            kernel: if run.dry { None } else { Some(Kernel::read()?) },
            record: Writer::append(record)?,
            log: KernelLog::from_now()?,
            from,
        })
    }

    /// The module's file.
    pub fn module_path(&self) -> &Path {
        &self.run.module_path
    }

    /// Takes the step with each failure. `step` returns what came of it, or an error if that is not
    /// to be: it includes that all is well again when nothing fails any more.
    pub fn each(
        &mut self,
        below: Below,
        mut step: impl FnMut(&Self, &Fault) -> Result<String>,
    ) -> Result<()> {
        let (mode, first) = self.from;
        for nth in first..=MOST {
            self.record.note(&Event::Begin { mode, nth })?;
            let fault = self.prepare(mode, nth, below)?;
            let result = step(self, &fault);
            if !self.run.dry {
                inject::disarm_all()?;
            }
            let fired = fault.has_fired();
            let judged = self.judge(fired);
            let outcome = result.with_context(|| format!("{} {nth}", mode.name()))?;
            judged.with_context(|| format!("{} {nth}", mode.name()))?;
            self.record.note(&Event::End { fired, outcome })?;
            if !fired || self.run.nth.is_some() {
                self.record.note(&Event::Done { mode })?;
                return Ok(());
            }
        }
        bail!("still something to fail after {MOST} times")
    }

    fn prepare(&self, mode: Mode, nth: u32, below: Below) -> Result<Fault> {
        let Some(kernel) = &self.kernel else {
            return Ok(Fault::none(mode));
        };
        let required = match (&self.run.only, below) {
            (Some(place), _) => {
                let at = module_function(sys::MODULE, &place.function)? + place.at;
                at..at + 1
            }
            (None, Below::Module) => module_code(sys::MODULE, self.module)?,
            (None, Below::Kernel(function)) => kernel.function(function)?,
        };
        // The kernel's own book-keeping of what was allocated, which allocates: each place twice is
        // enough.
        let rejected = kernel.functions_from("kmemleak_alloc", "kmemleak_")?;
        Fault::prepare(mode, nth, &required, &rejected)
    }

    /// What the kernel said meanwhile: where the failure was, and nothing bad.
    fn judge(&mut self, fired: bool) -> Result<()> {
        let (dumps, rest) = dump::split(self.log.lines().context("reading the kernel log")?);
        match &self.run.only {
            Some(Place { function, at }) if fired => self.record.note(&Event::Site {
                function: function.clone(),
                at: *at,
            })?,
            None if fired && dumps.is_empty() => self.record.note(&Event::Quiet)?,
            _ => {}
        }
        for dump in dumps.iter().filter(|_| self.run.only.is_none()) {
            let event = match dump.innermost(sys::MODULE) {
                Some(frame) => Event::Site {
                    function: frame.function.clone(),
                    at: frame.at,
                },
                None => Event::Quiet,
            };
            self.record.note(&event)?;
        }
        let bad = splats(&rest);
        ensure!(
            bad.is_empty(),
            "kernel log: {}\n{}",
            bad[0],
            rest.join("\n")
        );
        let lost = rest.iter().find(|line| line.contains("is given up in use"));
        ensure!(lost.is_none(), "kernel log: {}", rest.join("\n"));
        Ok(())
    }
}

/// Where a step's process writes its record.
pub fn record_path(work: &Path) -> PathBuf {
    work.join("record")
}
