// SPDX-License-Identifier: GPL-2.0
//! Probes: a few rows each, recorded in a process of its own with a freshly inserted module, so
//! that one that hangs or crashes costs its own rows only.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use cachefiles_harness::context::Context;
use cachefiles_harness::kmsg::{KernelLog, splats};
use cachefiles_harness::runner;
use cachefiles_harness::settings::Settings;

use crate::record::{Observation, Record};

/// What a probe records into.
pub type Rows = Record<std::io::Stdout>;

/// Some rows that are seen together.
pub struct Probe {
    /// Its name, unique.
    pub name: &'static str,
    /// What its rows begin with.
    pub section: &'static str,
    /// After this time it counts as hanging.
    pub limit: Duration,
    /// Records them.
    pub run: fn(&Context, &mut Rows) -> Result<()>,
}

impl Probe {
    /// A probe with the common limit.
    pub const fn new(
        name: &'static str,
        section: &'static str,
        run: fn(&Context, &mut Rows) -> Result<()>,
    ) -> Self {
        Self {
            name,
            section,
            limit: Duration::from_secs(30),
            run,
        }
    }
}

/// A probe named after its function.
macro_rules! probe {
    ($section:literal, $run:ident) => {
        $crate::probe::Probe::new(stringify!($run), $section, $run)
    };
}
pub(crate) use probe;

/// Runs the probes in order; `out` gets the lines of the record.
///
/// An error means that the machine is in a state in which no further row means anything.
pub fn run_all(settings: &Settings, probes: &[&Probe], out: &mut impl Write) -> Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .context("becoming the parent of orphans")?;
    for probe in probes {
        let end = run_one(settings, probe, out).with_context(|| probe.name.to_owned());
        let (saw, broken) = match end {
            Ok(saw) => (saw, None),
            Err(error) => (format!("{error:#}"), Some(error)),
        };
        let row = Observation {
            row: format!("probe.{}", probe.name),
            expect: Some("ends well, and leaves nothing behind".into()),
            saw,
        };
        writeln!(out, "{}", row.to_line()?)?;
        out.flush()?;
        if let Some(error) = broken {
            return Err(error);
        }
    }
    Ok(())
}

/// One probe with its world: how it ended.
fn run_one(settings: &Settings, probe: &Probe, out: &mut impl Write) -> Result<String> {
    let mut log = KernelLog::from_now().context("opening the kernel log")?;
    let work = settings.work_dir(probe.name);
    runner::prepare(settings, &work)?;
    let end = run_in_child(settings, probe, out)?;
    let mut faults = Vec::new();
    runner::clean_up(end.is_ok(), &mut faults)?;
    let lines = log.lines().context("reading the kernel log")?;
    faults.extend(splats(&lines).into_iter().cloned());
    // Not an error: the directory lies in memory, and the next probe has another.
    let _ = fs::remove_dir_all(&work);
    Ok(match (end, faults.is_empty()) {
        (Ok(()), true) => "ends well, and leaves nothing behind".into(),
        (Ok(()), false) => faults.join("; "),
        (Err(end), _) => end,
    })
}

/// The probe in a child, in a process group of its own, so that all it starts can be found.
fn run_in_child(
    settings: &Settings,
    probe: &Probe,
    out: &mut impl Write,
) -> Result<Result<(), String>> {
    let work = settings.work_dir(probe.name);
    let open = |name: &str| {
        File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(work.join(name))
    };
    let (mut said, mut complaint) = (open("said")?, open("complaint")?);
    let mut child = Command::new("/proc/self/exe")
        .args(settings.child_arguments(probe.name))
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(complaint.try_clone()?)
        .process_group(0)
        .spawn()
        .context("starting the probe's process")?;
    let ended = runner::wait_with_limit(&mut child, probe.limit * settings.patience)?;
    runner::end_group(&mut child)?;
    let text = |file: &mut File| -> Result<String> {
        let mut text = String::new();
        file.rewind()?;
        file.read_to_string(&mut text)?;
        Ok(text)
    };
    for row in text(&mut said)?.lines().filter_map(Observation::from_line) {
        writeln!(out, "{}", row.to_line()?)?;
    }
    let complaint = text(&mut complaint)?.trim().replace('\n', "; ");
    Ok(match ended {
        None => Err("hangs".into()),
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(match status.signal() {
            Some(signal) => format!("dies of signal {signal}: {complaint}"),
            None => format!("gives up: {complaint}"),
        }),
    })
}

/// The child's side.
pub fn run_as_child(settings: &Settings, probe: &Probe) -> Result<()> {
    cachefiles_harness::task::be_patient(f64::from(settings.patience));
    let context = Context::new(settings, settings.work_dir(probe.name));
    let mut rows = Record::new(probe.section, std::io::stdout());
    (probe.run)(&context, &mut rows)
}
