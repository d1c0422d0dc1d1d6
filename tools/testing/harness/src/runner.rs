// SPDX-License-Identifier: GPL-2.0
//! Runs each test in a process of its own and in a fresh world, and takes the world apart again:
//! that the module can be removed afterwards, with nothing left behind, is part of every test.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, waitpgid};

use crate::bad_disk;
use crate::kmsg::{KernelLog, splats};
use crate::registry::{Expect, Test};
use crate::settings::{SKIPPED, Settings};
use crate::share::end_lingering;
use crate::sys;
use crate::tap::{Outcome, Report};

/// How long what was left behind may take to go away by itself.
const PATIENCE: Duration = Duration::from_secs(15);

/// Runs `tests` in order, all of them or up to the first failure. Returns whether every one ended
/// as it should or as was expected.
pub fn run_all(settings: &Settings, tests: &[&Test], first_failure: bool) -> Result<bool> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .context("becoming the parent of orphans")?;
    for path in [&settings.module_path, &settings.cache_dev] {
        ensure!(path.exists(), "{} does not exist", path.display());
    }
    let mut report = Report::start(std::io::stdout(), tests.len())?;
    let mut good = true;
    for test in tests {
        let expected = test.expected_of(settings.module, settings.cache_fs);
        if let (Expect::Skip(reason), false) = (expected, settings.even_crashes) {
            report.result(test.name, &Outcome::Skipped(reason.into()), None)?;
            continue;
        }
        let started = Instant::now();
        let (outcome, broken) = match run_one(settings, test) {
            Ok(outcome) => (outcome, None),
            Err(error) => (
                Outcome::Failed(format!("{error:#}")),
                Some(format!("after {}: {error:#}", test.name)),
            ),
        };
        let todo = match expected {
            Expect::Fail(reason) => Some(format!("{:?}: {reason}", settings.module)),
            Expect::Pass | Expect::Skip(_) => None,
        };
        report.result(test.name, &outcome, todo.as_deref())?;
        report.comment(&format!("{:.1} s", started.elapsed().as_secs_f32()))?;
        good &= todo.is_some() || !matches!(outcome, Outcome::Failed(_));
        if let Some(reason) = broken {
            report.bail_out(&reason)?;
            return Ok(false);
        }
        if first_failure && !good {
            break;
        }
    }
    Ok(good)
}

/// One test with its world. An error means that the world could not be taken apart.
fn run_one(settings: &Settings, test: &Test) -> Result<Outcome> {
    let mut log = KernelLog::from_now().context("opening the kernel log")?;
    let work = settings.work_dir(test.name);
    let mut faults = Vec::new();
    let outcome = match prepare(settings, &work) {
        Ok(()) => run_in_child(settings, test, &work)?,
        Err(error) => Outcome::Failed(format!("preparing: {error:#}")),
    };
    let failed = matches!(outcome, Outcome::Failed(_));
    if let Err(error) = clean_up(!failed, &mut faults) {
        return match outcome {
            Outcome::Failed(message) => Err(error.context(message)),
            Outcome::Passed | Outcome::Skipped(_) => Err(error),
        };
    }
    let lines = log.lines().context("reading the kernel log")?;
    for line in splats(&lines) {
        faults.push(format!("kernel log: {line}"));
    }
    // Not an error: the directory lies in memory, and the next test has another.
    let _ = fs::remove_dir_all(&work);
    if faults.is_empty() {
        return Ok(outcome);
    }
    if let Outcome::Failed(message) = outcome {
        faults.insert(0, message);
    }
    if faults.iter().any(|fault| fault.starts_with("kernel log")) {
        faults.extend(lines.iter().map(|line| format!("| {line}")));
    }
    Ok(Outcome::Failed(faults.join("\n")))
}

/// An empty cache disk, the module freshly inserted, an empty work directory.
pub fn prepare(settings: &Settings, work: &Path) -> Result<()> {
    fs::create_dir_all(work).with_context(|| format!("creating {}", work.display()))?;
    sys::mount_cache(&settings.cache_dev, settings.cache_fs)?;
    sys::empty_cache()?;
    sys::load_module(&settings.module_path)
}

/// The test in a child, in a process group of its own, so that all it starts can be found.
fn run_in_child(settings: &Settings, test: &Test, work: &Path) -> Result<Outcome> {
    let said_path: PathBuf = work.join("said");
    let mut said = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(&said_path)?;
    let mut child = Command::new("/proc/self/exe")
        .args(settings.child_arguments(test.name))
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(said.try_clone()?)
        .process_group(0)
        .spawn()
        .context("starting the test's process")?;
    let ended = wait_with_limit(&mut child, test.limit * settings.patience)?;
    end_group(&mut child)?;
    let mut text = String::new();
    said.rewind()?;
    said.read_to_string(&mut text)
        .context("reading what the test said")?;
    Ok(match ended {
        None => Outcome::Failed(format!(
            "hangs: still running after {:?}\n{text}",
            test.limit * settings.patience
        )),
        Some(status) if status.success() => Outcome::Passed,
        Some(status) if status.code() == Some(SKIPPED) => Outcome::Skipped(text),
        Some(status) => match status.signal() {
            Some(signal) => Outcome::Failed(format!("died of signal {signal}\n{text}")),
            None => Outcome::Failed(text),
        },
    })
}

/// The child's exit status, or `None` if it still runs when the time is up.
pub fn wait_with_limit(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Kills what the test left running, and waits until all of it is gone.
pub fn end_group(child: &mut Child) -> Result<()> {
    let group = Pid::from_child(child);
    let end = Instant::now() + PATIENCE;
    loop {
        // ESRCH is the answer hoped for.
        let _ = kill_process_group(group, Signal::KILL);
        // Here or below: once it is waited for, there is no such child any more.
        let _ = child.try_wait();
        match waitpgid(group, WaitOptions::NOHANG) {
            Ok(Some(_)) => continue,
            Err(rustix::io::Errno::CHILD) => return Ok(()),
            Ok(None) | Err(_) => {}
        }
        ensure!(
            Instant::now() < end,
            "a process of the test does not die of SIGKILL{}",
            where_it_sleeps(group)
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The kernel functions that the threads of a process group are in.
fn where_it_sleeps(group: Pid) -> String {
    let mut text = String::new();
    let tasks = Path::new("/proc")
        .join(group.as_raw_nonzero().to_string())
        .join("task");
    for task in fs::read_dir(tasks).into_iter().flatten().flatten() {
        let stack = fs::read_to_string(task.path().join("stack")).unwrap_or_default();
        let wchan = fs::read_to_string(task.path().join("wchan")).unwrap_or_default();
        text.push_str(&format!("\n{wchan} {stack}"));
    }
    text
}

/// Takes the world apart. `tidy`: the test passed, so it must have left nothing mounted.
pub fn clean_up(tidy: bool, faults: &mut Vec<String>) -> Result<()> {
    for fstype in ["erofs", "9p"] {
        for target in sys::mounts(Path::new("/"), Some(fstype))? {
            if tidy {
                faults.push(format!("left mounted: {}", target.display()));
            }
            sys::detach(&target).with_context(|| format!("detaching {}", target.display()))?;
        }
    }
    for name in ["cookies", "volumes"] {
        let gone = sys::wait_for(name, PATIENCE, || {
            sys::fscache_table(name).is_ok_and(|rows| rows.is_empty())
        });
        if gone.is_err() {
            let rows = sys::fscache_table(name)?.join("; ");
            faults.push(format!("left in /proc/fs/fscache/{name}: {rows}"));
        }
    }
    for target in sys::mounts(Path::new(sys::CACHE), None)? {
        sys::unmount_patiently(&target, PATIENCE)?;
    }
    bad_disk::remove()?;
    if !sys::module_loaded() {
        faults.push("the module is no longer loaded".into());
        return Ok(());
    }
    end_lingering()?;
    if sys::wait_until_unused(PATIENCE).is_err() {
        bail!(
            "the module still has {} references",
            sys::module_references()?
        );
    }
    sys::remove_module().context("removing the module")?;
    if let Ok(slabs) = fs::read_to_string("/proc/slabinfo") {
        if let Some(line) = slabs.lines().find(|line| line.starts_with("cachefiles_")) {
            faults.push(format!("slab left behind: {line}"));
        }
    }
    Ok(())
}

/// The child's side: runs the test and tells its end by the exit status.
pub fn run_as_child(settings: &Settings, test: &Test) -> i32 {
    // What is known to fail mostly fails by hanging: no use in waiting for long.
    let hopeless = matches!(
        test.expected_of(settings.module, settings.cache_fs),
        Expect::Fail(_)
    );
    let factor = if hopeless { 0.5 } else { 1.0 };
    crate::task::be_patient(factor * f64::from(settings.patience));
    let context = crate::context::Context::new(settings, settings.work_dir(test.name));
    match (test.run)(&context) {
        Ok(()) => 0,
        Err(error) => {
            let skip = error.downcast_ref::<crate::registry::Skip>();
            let text = skip.map_or_else(|| format!("{error:#}"), |skip| skip.0.clone());
            // Where this cannot be written the exit status still tells the end.
            let _ = writeln!(std::io::stdout(), "{text}");
            if skip.is_some() { SKIPPED } else { 1 }
        }
    }
}
