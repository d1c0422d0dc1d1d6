// SPDX-License-Identifier: GPL-2.0
//! 300 objects are being reopened, and nobody answers; meanwhile another image is mounted and
//! unmounted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cachefiles_harness::sys;
use cachefiles_harness::task::{Task, soon};
use cachefiles_protocol::Open;

use super::{Bench, Files};
use crate::daemon::{Daemon, Taken};
use crate::image;

/// Objects that wait for the daemon.
const OBJECTS: usize = 300;
/// Measurements; the shortest counts. On a disk some of them wait for it, which has nothing to do
/// with the stuck objects, and takes as long as the host takes; who is in the way of all is seen in
/// the shortest too.
const TURNS: usize = 7;
/// They are kept waiting at most this long.
const LIMIT: Duration = Duration::from_secs(1);

/// The row.
pub fn run(bench: &mut Bench) -> Result<()> {
    let mut daemon = Daemon::new()?;
    let mut files = Files::mount(&mut daemon, "stuck", OBJECTS)?;
    daemon.images.insert(
        b"by".to_vec(),
        Arc::new(image::large("by", 1, daemon.pages)?),
    );
    let path = Path::new("/mnt/by");
    std::fs::create_dir_all(path)?;
    let mut held = Vec::new();
    // Once for the directories of its volume.
    mount_and_unmount(&mut daemon, path, &mut held)?;
    let mut idle = Vec::new();
    for _ in 0..TURNS {
        idle.push(mount_and_unmount(&mut daemon, path, &mut held)?);
    }

    bench.put_in_flight(&mut files, OBJECTS)?;
    daemon.hold = Some("stuck-");
    daemon
        .objects
        .retain(|_, object| !object.key.starts_with(b"stuck-"));
    // Until no more OPENs come.
    while daemon
        .device
        .wait_readable(Some(Duration::from_millis(50)))?
    {
        if let Taken::HeldOpen(open) = daemon.take()? {
            held.push(open);
        }
    }
    ensure!(
        held.len() >= 200,
        "only {} objects are being reopened",
        held.len()
    );
    let mut busy = Vec::new();
    for _ in 0..TURNS {
        busy.push(mount_and_unmount(&mut daemon, path, &mut held)?);
        if daemon.hold.is_none() {
            // It had to be helped: what comes now meets nobody who waits.
            break;
        }
    }
    let worst = busy.iter().copied().max().unwrap_or_default() as f64;
    let shortest = |times: Vec<u64>| times.into_iter().min().unwrap_or_default() as f64;
    let (idle, busy) = (shortest(idle), shortest(busy));
    let output = &bench.output;
    output.put("bystander", "mounting, idle", None, idle, "ns");
    output.put("bystander", "mounting, busy", None, busy, "ns");
    output.put(
        "bystander",
        "mounting, worst, times idle",
        None,
        worst / idle,
        "times",
    );
    output.put(
        "bystander",
        "mounting, times idle",
        None,
        busy / idle,
        "times",
    );
    daemon.hold = None;
    for open in held {
        daemon.accept(open)?;
    }
    bench.let_finish(&mut daemon, OBJECTS)?;
    files.unmount(&mut daemon)
}

/// How long it takes, idle time included.
fn mount_and_unmount(daemon: &mut Daemon, path: &Path, held: &mut Vec<Open>) -> Result<u64> {
    let target: PathBuf = path.to_owned();
    let closed = daemon.counts[2];
    let begun = Instant::now();
    let task = Task::start("mounting and unmounting", move || {
        sys::mount_erofs(&target, b"fsid=by")?;
        sys::unmount_patiently(&target, soon())?;
        anyhow::Ok(u64::try_from(begun.elapsed().as_nanos())?)
    });
    while !task.is_done() || daemon.counts[2] < closed + 2 {
        ensure!(begun.elapsed() < 10 * LIMIT, "mounting does not end");
        if begun.elapsed() > LIMIT && daemon.hold.take().is_some() {
            for open in held.drain(..) {
                daemon.accept(open)?;
            }
        }
        if !daemon
            .device
            .wait_readable(Some(Duration::from_millis(20)))?
        {
            continue;
        }
        match daemon.take()? {
            Taken::Read(read) => daemon.answer(&read)?,
            Taken::HeldOpen(open) => held.push(open),
            _ => {}
        }
    }
    task.finish()?
}
