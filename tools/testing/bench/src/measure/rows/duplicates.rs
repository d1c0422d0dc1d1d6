// SPDX-License-Identifier: GPL-2.0
//! Mounts that share a blob (`domain_id`), and all want the same range of it at once.

use std::sync::Arc;

use anyhow::Result;

use super::Bench;
use crate::daemon::{Daemon, Taken};
use crate::image;
use crate::pool::{self, Job};

/// Mounts.
const MOUNTS: usize = 64;

/// The row.
pub fn run(bench: &mut Bench) -> Result<()> {
    let mut daemon = Daemon::new()?;
    let blob = image::large("shared", 1, daemon.pages)?;
    let mut mounts = Vec::new();
    let mut jobs = Vec::new();
    for number in 0..MOUNTS {
        let mount = daemon.mount(&format!("m{number:02}"), blob.clone(), ",domain_id=bench")?;
        let path = mount.file(0);
        let file = daemon.serve_during(move || pool::open(&path))??;
        jobs.push(Job {
            file: Arc::clone(&file),
            page: 7,
        });
        mounts.push(mount);
    }
    bench.pool.start(jobs)?;
    bench.meter.quiesce();
    let mut messages = 0;
    let mut held = Vec::new();
    while daemon.poll()? {
        if let Taken::Read(read) = daemon.take()? {
            messages += 1;
            held.push(read);
        }
    }
    for read in held {
        daemon.answer(&read)?;
    }
    let before = daemon.counts[1];
    bench.let_finish(&mut daemon, MOUNTS)?;
    messages += daemon.counts[1] - before;
    bench.output.put(
        "duplicates",
        "messages per range",
        None,
        messages as f64,
        "messages",
    );
    for mount in mounts {
        let closed = daemon.counts[2];
        daemon.begin_unmount(mount, |_, _| Ok(()))?;
        daemon.serve_until("a CLOSE", |daemon| daemon.counts[2] > closed)?;
    }
    Ok(())
}
