// SPDX-License-Identifier: GPL-2.0
//! What it costs that the fds of many objects are closed while N requests wait unread: one by one,
//! and by the death of the process that holds them.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rustix::io::{FdFlags, fcntl_setfd};

use super::{Bench, Files};
use crate::daemon::{Daemon, Object};

/// Objects whose fds are closed.
const OBJECTS: usize = 256;
/// More requests than this say nothing new.
const MOST: usize = 16_384;
/// What their keys begin with; not the primary blob's.
const KEYS: &[u8] = b"closing-";

/// The row.
pub fn run(bench: &mut Bench) -> Result<()> {
    let mut daemon = Daemon::new()?;
    let mut files = Files::mount(&mut daemon, "closing", OBJECTS)?;
    let sizes = bench.sizes.clone();
    for count in sizes.into_iter().filter(|count| *count <= MOST) {
        bench.put_in_flight(&mut files, count)?;
        let lost = take_all(&mut daemon)?;
        let start = bench.begin();
        drop(lost);
        bench.end(start, "closing", "close 256 fds", Some(count), 1);
        bench.let_finish(&mut daemon, count)?;
        reopen_all(bench, &mut daemon, &mut files)?;

        let holder = hold(take_all(&mut daemon)?)?;
        bench.put_in_flight(&mut files, count)?;
        kill(bench, holder, count)?;
        bench.let_finish(&mut daemon, count)?;
        reopen_all(bench, &mut daemon, &mut files)?;
    }
    files.unmount(&mut daemon)
}

fn take_all(daemon: &mut Daemon) -> Result<Vec<Arc<Object>>> {
    let (lost, kept): (HashMap<_, _>, _) = std::mem::take(&mut daemon.objects)
        .into_iter()
        .partition(|(_, object)| object.key.starts_with(KEYS));
    daemon.objects = kept;
    ensure!(lost.len() == OBJECTS, "{} objects are open", lost.len());
    Ok(lost.into_values().collect())
}

/// Has every object read, so that each has its fd again.
fn reopen_all(bench: &mut Bench, daemon: &mut Daemon, files: &mut Files) -> Result<()> {
    let jobs = files.jobs(OBJECTS);
    bench.pool.start(jobs)?;
    bench.let_finish(daemon, OBJECTS)
}

/// Another process that holds the fds, and nobody else.
fn hold(objects: Vec<Arc<Object>>) -> Result<Child> {
    for object in &objects {
        fcntl_setfd(&object.fd, FdFlags::empty())?;
    }
    let mut child = Command::new("/proc/self/exe")
        .args(["part", "hold"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting a process")?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
    ensure!(line.trim() == "ready", "the process did not start");
    Ok(child)
}

fn kill(bench: &mut Bench, mut holder: Child, count: usize) -> Result<()> {
    let start = bench.begin();
    holder.kill()?;
    holder.wait()?;
    bench.end(start, "closing", "SIGKILL to reaped", Some(count), 1);
    Ok(())
}
