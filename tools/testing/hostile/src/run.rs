// SPDX-License-Identifier: GPL-2.0
//! One round after the other, and the report.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use cachefiles_harness::tap::{Outcome, Report};
use cachefiles_harness::task;

use crate::injection::Injection;
use crate::plan::Plan;
use crate::round::Round;
use crate::settings::Settings;

/// Runs all rounds. True if all were good.
pub fn all(settings: &Settings) -> Result<bool> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .context("becoming the parent of orphans")?;
    for path in [&settings.module_path, &settings.cache_dev] {
        anyhow::ensure!(path.exists(), "{} does not exist", path.display());
    }
    task::be_patient(f64::from(settings.patience));
    let seeds = settings.seeds();
    let mut report = Report::start(std::io::stdout(), seeds.len())?;
    report.comment(if Injection::is_possible() {
        "this kernel can refuse memory: some rounds do"
    } else {
        "this kernel cannot refuse memory (no failslab): no round does"
    })?;
    let mut good = true;
    for (number, &seed) in seeds.iter().enumerate() {
        let plan = Plan::new(seed, Injection::is_possible(), settings.honest);
        // Before anything happens: the machine may not live to tell it.
        report.comment(&format!("seed {seed:#x}: {plan}"))?;
        let started = Instant::now();
        let time = Duration::from_secs(settings.round);
        let ended = Round::play(&settings.world(), seed, plan, time)?;
        let outcome = if ended.faults.is_empty() {
            Outcome::Passed
        } else {
            good = false;
            let mut text = ended.faults.join("\n");
            text.push_str(&format!(
                "\nto replay it, up to what the scheduler makes of it:\n  \
                 {}REPLAY={seed:#x} make hostile\n  \
                 cachefiles-hostile ... --replay {seed:#x} --round {}{}\n{}",
                if settings.honest { "HONEST=1 " } else { "" },
                settings.round,
                if settings.honest { " --honest" } else { "" },
                ended.last_steps
            ));
            Outcome::Failed(text)
        };
        let name = format!(
            "round {} with seed {seed:#x}: nothing hangs, is wrong, or is left",
            number + 1
        );
        report.result(&name, &outcome, None)?;
        for note in &ended.notes {
            report.comment(note)?;
        }
        report.comment(&format!("{:.1} s", started.elapsed().as_secs_f32()))?;
        if let Some(reason) = ended.broken {
            report.bail_out(&reason)?;
            return Ok(false);
        }
    }
    Ok(good)
}
