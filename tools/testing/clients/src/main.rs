// SPDX-License-Identifier: GPL-2.0
//! Real clients of the original mode, run as root inside a test machine: 9p and NFS, cached on a
//! small disk by Debian's cachefilesd. The report is TAP on standard output.

mod cachefilesd;
mod content;
mod nfsd;
mod server;
mod settings;
mod steps;
mod watchdog;
mod world;

use std::io::Stdout;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cachefiles_harness::kmsg::{KernelLog, splats};
use cachefiles_harness::registry::Skip;
use cachefiles_harness::tap::{Outcome, Report};
use clap::Parser;

use crate::server::Kind;
use crate::settings::Settings;
use crate::steps::Step;
use crate::watchdog::Watchdog;
use crate::world::World;

/// What the last step of each client is called: that everything can be taken down.
const END: &str = "nothing_is_left_and_the_module_unloads";

fn main() -> Result<ExitCode> {
    let settings = Settings::parse();
    ensure!(
        cachefilesd::installed(),
        "cachefilesd is not in this machine: install it on the host (scripts/setup)"
    );
    let kinds = match settings.client {
        Some(kind) => vec![kind],
        None => vec![Kind::NineP, Kind::Nfs],
    };
    let steps: Vec<&Step> = steps::all()
        .filter(|step| {
            settings.filter.is_empty()
                || settings.filter.iter().any(|part| step.name.contains(part))
        })
        .collect();
    let mut run = Run {
        report: Report::start(std::io::stdout(), kinds.len() * (steps.len() + 1))?,
        log: KernelLog::from_now()?,
        watchdog: Watchdog::start(Duration::from_secs(settings.step_limit)),
        good: true,
    };
    for kind in kinds {
        if let Err(error) = run.client(&settings, kind, &steps) {
            run.report
                .bail_out(&format!("{}: {error:#}", kind.name()))?;
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::from(u8::from(!run.good)))
}

/// The run of this program.
struct Run {
    report: Report<Stdout>,
    log: KernelLog,
    watchdog: Watchdog,
    good: bool,
}

impl Run {
    /// All steps with one network file system. An error means that no further result means
    /// anything.
    fn client(&mut self, settings: &Settings, kind: Kind, steps: &[&Step]) -> Result<()> {
        self.watchdog.watch("starting the server");
        let mut world = World::start(settings, kind)?;
        for step in steps {
            let started = Instant::now();
            self.watchdog.watch(step.name);
            let result = (step.run)(&mut world);
            if result.is_err() {
                world.reset();
            }
            self.result(kind, step.name, result)?;
            for note in world.take_notes() {
                self.report.comment(&format!("  {note}"))?;
            }
            let seconds = started.elapsed().as_secs_f32();
            self.report.comment(&format!("  {seconds:.1} s"))?;
        }
        self.watchdog.watch(END);
        let end = world.end();
        let broken = end.as_ref().err().map(|error| format!("{error:#}"));
        self.result(kind, END, end)?;
        self.watchdog.rest();
        match broken {
            Some(reason) => Err(anyhow::anyhow!(reason)),
            None => Ok(()),
        }
    }

    /// Reports a step. What the kernel complained of in the meantime is its fault.
    fn result(&mut self, kind: Kind, step: &str, result: Result<()>) -> Result<()> {
        let mut faults = Vec::new();
        let mut skipped = None;
        if let Err(error) = result {
            match error.downcast_ref::<Skip>() {
                Some(skip) => skipped = Some(skip.0.clone()),
                None => faults.push(format!("{error:#}")),
            }
        }
        let lines = self.log.lines()?;
        faults.extend(
            splats(&lines)
                .iter()
                .map(|line| format!("kernel log: {line}")),
        );
        if !faults.is_empty() {
            faults.extend(lines.iter().map(|line| format!("| {line}")));
        }
        let outcome = match skipped {
            _ if !faults.is_empty() => Outcome::Failed(faults.join("\n")),
            Some(reason) => Outcome::Skipped(reason),
            None => Outcome::Passed,
        };
        self.good &= !matches!(outcome, Outcome::Failed(_));
        let name = format!("{}: {step}", kind.name());
        self.report.result(&name, &outcome, None)?;
        Ok(())
    }
}
