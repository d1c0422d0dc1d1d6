// SPDX-License-Identifier: GPL-2.0
//! Takes each step in a process of its own and in a fresh world, watches it, and takes the world
//! apart again. Where a failure turns out badly, the walk goes on with the next one in another
//! process.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cachefiles_harness::context::Context;
use cachefiles_harness::registry::Skip;
use cachefiles_harness::runner::{clean_up, end_group, prepare};
use cachefiles_harness::settings::SKIPPED;
use cachefiles_harness::tap::{Outcome, Report};
use cachefiles_harness::{sys, task};

use crate::inject::{self, Mode};
use crate::record::Event;
use crate::sites::{Kind, Sites, read_module};
use crate::steps::Step;
use crate::walk::{Walk, record_path};
use crate::{Run, leaks};

/// A step with one failure in it takes no longer.
const LIMIT: Duration = Duration::from_secs(60);
/// So many failures of a step may turn out badly before it is given up.
const BAD_ENOUGH: usize = 5;

/// Takes `steps` in order. Returns whether all went well.
pub fn run_all(run: &Run, steps: &[&'static Step]) -> Result<bool> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .context("becoming the parent of orphans")?;
    ensure!(
        run.cache_dev.exists(),
        "{} does not exist",
        run.cache_dev.display()
    );
    let mut sites = Sites::of(read_module(&run.module_path)?);
    let look_for_leaks = !run.no_leaks && leaks::is_available();
    if look_for_leaks {
        leaks::clear()?;
    }
    let whole = run.filter.is_empty() && run.mode.is_none() && !run.dry;
    let walks: Vec<(&Step, Mode)> = steps
        .iter()
        .flat_map(|step| step.modes.iter().map(move |mode| (*step, *mode)))
        .filter(|(_, mode)| run.mode.is_none_or(|wanted| wanted == *mode))
        .collect();
    let look_closer = !run.dry && run.nth.is_none();
    let mut report = Report::start(
        std::io::stdout(),
        walks.len() + usize::from(look_closer) + usize::from(look_for_leaks) + usize::from(whole),
    )?;
    let (mut good, mut quiet) = (true, Vec::new());
    for (index, (step, mode)) in walks.iter().enumerate() {
        let name = format!("{}, {}", step.name, mode.name());
        let started = Instant::now();
        let mut tale = Tale::default();
        let last = walks
            .get(index + 1)
            .is_none_or(|(next, _)| next.subject != step.subject);
        let outcome = match take(run, step, *mode, look_for_leaks && last, &mut tale) {
            Ok(outcome) => outcome,
            Err(error) => {
                tale.tell(&mut sites, step);
                report.result(&name, &Outcome::Failed(format!("{error:#}")), None)?;
                report.bail_out(&format!("after {name}: {error:#}"))?;
                return Ok(false);
            }
        };
        tale.tell(&mut sites, step);
        if tale.quiet > 0 {
            quiet.push((*step, *mode));
        }
        good &= !matches!(outcome, Outcome::Failed(_));
        report.result(&name, &outcome, None)?;
        report.comment(&format!("{tale}; {:.1} s", started.elapsed().as_secs_f32()))?;
    }
    if look_closer {
        let outcome = place_by_place(run, &quiet, &mut sites)?;
        good &= outcome == Outcome::Passed;
        report.result("failures_without_a_stack_turn_out_well", &outcome, None)?;
    }
    if look_for_leaks {
        let outcome = leak_outcome()?;
        good &= outcome == Outcome::Passed;
        report.result("nothing_is_leaked_in_the_end", &outcome, None)?;
    }
    if !run.dry {
        report.comment(&sites.lines().join("\n"))?;
    }
    if whole {
        let outcome = match sites.check() {
            Ok(()) => Outcome::Passed,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        good &= outcome == Outcome::Passed;
        report.result("every_allocation_of_the_module_failed_once", &outcome, None)?;
    }
    let (reached, all) = sites.count(Kind::Memory);
    report.comment(&format!(
        "{reached} of {all} sites that ask for memory failed"
    ))?;
    Ok(good)
}

/// Who allocates with `__GFP_NOWARN`, as an xarray does, has no stack in the log that tells the
/// place. So what was not seen to fail fails once more, place by place, in the steps in which there
/// were such failures.
fn place_by_place(run: &Run, quiet: &[(&Step, Mode)], sites: &mut Sites) -> Result<Outcome> {
    let mut bad = Vec::new();
    for place in sites.unseen() {
        for (step, mode) in quiet {
            let narrow = Run {
                only: Some(place.clone()),
                nth: Some(1),
                ..run.clone()
            };
            let mut tale = Tale::default();
            let outcome = take(&narrow, step, *mode, false, &mut tale)?;
            tale.tell(sites, step);
            if let Outcome::Failed(text) = outcome {
                bad.push(format!("{}, {place}: {text}", step.name));
            }
            if tale.failures > 0 {
                break;
            }
        }
    }
    Ok(if bad.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Failed(bad.join("\n"))
    })
}

fn leak_outcome() -> Result<Outcome> {
    let found = leaks::find()?;
    Ok(if found.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Failed(format!("leaked: {}", found.join("")))
    })
}

/// What a step's record tells.
#[derive(Default)]
struct Tale {
    failures: usize,
    quiet: usize,
    outcomes: BTreeMap<String, usize>,
    /// What came of the step where nothing failed.
    otherwise: Option<String>,
    sites: Vec<(String, u64, String)>,
}

impl Tale {
    /// Takes in the record of one process. Returns the number of the failure that it was at last.
    fn add(&mut self, record: &Path) -> u32 {
        let text = fs::read_to_string(record).unwrap_or_default();
        let (mut last, mut pending) = (0, Vec::new());
        for event in text.lines().filter_map(Event::of_line) {
            match event {
                Event::Begin { nth, .. } => {
                    self.flush(&mut pending, "BAD");
                    last = nth;
                }
                Event::Site { function, at } => pending.push((function, at)),
                Event::Quiet => self.quiet += 1,
                Event::End { fired, outcome } => {
                    if fired {
                        self.failures += 1;
                        *self.outcomes.entry(outcome.clone()).or_default() += 1;
                    } else {
                        self.otherwise = Some(outcome.clone());
                    }
                    self.flush(&mut pending, &outcome);
                }
                Event::Done { .. } => {}
            }
        }
        self.flush(&mut pending, "BAD");
        last
    }

    fn flush(&mut self, pending: &mut Vec<(String, u64)>, outcome: &str) {
        let sites = pending.drain(..);
        self.sites
            .extend(sites.map(|(function, at)| (function, at, outcome.to_owned())));
    }

    fn tell(&self, sites: &mut Sites, step: &Step) {
        for (function, at, outcome) in &self.sites {
            sites.note(function, *at, step.name, outcome);
        }
    }
}

impl std::fmt::Display for Tale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} failures", self.failures)?;
        for (outcome, times) in &self.outcomes {
            write!(f, ", {times} x {outcome}")?;
        }
        if let Some(outcome) = &self.otherwise {
            write!(f, "; else {outcome}")?;
        }
        if self.quiet > 0 {
            write!(f, "; {} of them without a stack", self.quiet)?;
        }
        Ok(())
    }
}

/// Takes one step with all its failures. An error means that the world could not be taken apart.
fn take(
    run: &Run,
    step: &Step,
    mode: Mode,
    look_for_leaks: bool,
    tale: &mut Tale,
) -> Result<Outcome> {
    let mut bad = Vec::new();
    let mut from = run.nth.unwrap_or(1);
    loop {
        let work = run.settings().work_dir(step.name);
        // Left over from before.
        let _ = fs::remove_dir_all(&work);
        prepare(&run.settings(), &work).with_context(|| format!("preparing {}", step.name))?;
        let (outcome, last) = in_child(run, step, mode, from, &work, tale)?;
        let mut faults = Vec::new();
        if look_for_leaks && matches!(outcome, Outcome::Passed) {
            if let Outcome::Failed(text) = leak_outcome()? {
                faults.push(text);
            }
        }
        let tidy = matches!(outcome, Outcome::Passed);
        let cleaned = clean_up(tidy, &mut faults);
        if let Outcome::Failed(message) = &outcome {
            faults.insert(0, message.clone());
        }
        cleaned.with_context(|| faults.join("\n"))?;
        let left = sys::fscache_table("caches")?;
        if !left.is_empty() {
            faults.push(format!(
                "left in /proc/fs/fscache/caches: {}",
                left.join("; ")
            ));
        }
        bad.extend(faults);
        let failed = matches!(outcome, Outcome::Failed(_));
        if !failed || run.nth.is_some() || bad.len() >= BAD_ENOUGH {
            return Ok(match outcome {
                Outcome::Skipped(_) if bad.is_empty() => outcome,
                _ if bad.is_empty() => Outcome::Passed,
                _ => Outcome::Failed(bad.join("\n")),
            });
        }
        from = last + 1;
    }
}

/// The step in a process. Also returns the failure that it was at when it ended.
fn in_child(
    run: &Run,
    step: &Step,
    mode: Mode,
    from: u32,
    work: &Path,
    tale: &mut Tale,
) -> Result<(Outcome, u32)> {
    let said_path: PathBuf = work.join("said");
    let said = File::create(&said_path)?;
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["child", "--step", step.name, "--from", &from.to_string()])
        .arg("--module-path")
        .arg(&run.module_path)
        .arg("--cache-dev")
        .arg(&run.cache_dev)
        .args([
            "--patience",
            &run.patience.to_string(),
            "--mode",
            mode.name(),
        ]);
    if let Some(nth) = run.nth {
        command.args(["--nth", &nth.to_string()]);
    }
    if let Some(place) = &run.only {
        command.args(["--only", &place.to_string()]);
    }
    if run.dry {
        command.arg("--dry");
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(said)
        .process_group(0)
        .spawn()
        .context("starting a step's process")?;
    let record = record_path(work);
    let ended = watch(&mut child, &record, LIMIT * run.patience)?;
    let stacks = ended.is_none().then(|| stacks(child.id()));
    if !run.dry {
        inject::disarm_all()?;
    }
    let last = tale.add(&record);
    end_group(&mut child)?;
    let text = fs::read_to_string(&said_path).unwrap_or_default();
    let at = format!("{} {last}", mode.name());
    let outcome = match ended {
        None => Outcome::Failed(format!(
            "{at}: hangs\n{text}\n{}",
            stacks.unwrap_or_default()
        )),
        Some(status) if status.success() => Outcome::Passed,
        Some(status) if status.code() == Some(SKIPPED) => Outcome::Skipped(text),
        Some(status) => match status.signal() {
            Some(signal) => Outcome::Failed(format!("{at}: died of signal {signal}\n{text}")),
            None => Outcome::Failed(text),
        },
    };
    Ok((outcome, last))
}

/// Waits for the process for as long as its record grows. `None` if it no longer does.
fn watch(child: &mut Child, record: &Path, limit: Duration) -> Result<Option<ExitStatus>> {
    let (mut length, mut since) = (0, Instant::now());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let now = fs::metadata(record).map_or(0, |metadata| metadata.len());
        if now != length {
            (length, since) = (now, Instant::now());
        } else if since.elapsed() > limit {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Where the threads of a process, and the kernel's workers, are.
fn stacks(process: u32) -> String {
    let mut text = String::new();
    let threads = fs::read_dir(format!("/proc/{process}/task"));
    let tasks = fs::read_dir("/proc").into_iter().chain(threads);
    for entry in tasks.flatten().flatten() {
        let stack = fs::read_to_string(entry.path().join("stack")).unwrap_or_default();
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let is_ours = entry.path().starts_with(format!("/proc/{process}"));
        if is_ours || stack.contains("[cachefiles]") || stack.contains("fscache") {
            text.push_str(&format!("{}: {name}{stack}", entry.path().display()));
        }
    }
    text
}

/// The child's side. The result is its exit status.
pub fn run_as_child(run: &Run, step: &Step, from: u32) -> u8 {
    task::be_patient(f64::from(run.patience));
    match walk(run, step, from) {
        Ok(()) => 0,
        Err(error) => {
            let skip = error.downcast_ref::<Skip>();
            let text = skip.map_or_else(|| format!("{error:#}"), |skip| skip.0.clone());
            // Where this cannot be written the exit status still tells the end.
            let _ = writeln!(std::io::stdout(), "{text}");
            if skip.is_some() { SKIPPED as u8 } else { 1 }
        }
    }
}

fn walk(run: &Run, step: &Step, from: u32) -> Result<()> {
    let settings = run.settings();
    let work = settings.work_dir(step.name);
    let ctx = Context::new(&settings, work.clone());
    let module = read_module(&run.module_path)?;
    let mode = run.mode.context("no mode")?;
    let mut walk = Walk::new(&ctx, run, &module, &record_path(&work), (mode, from))?;
    (step.run)(&mut walk)
}
