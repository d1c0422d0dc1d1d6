// SPDX-License-Identifier: GPL-2.0
//! What mounting costs: a one-blob image for the first time and again, and one of 512 devices, with
//! one and with four threads of the daemon.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use cachefiles_harness::image::{Builder, pattern};
use cachefiles_harness::{sys, task::soon};

use super::Bench;
use crate::crew::{Crew, Wait};
use crate::daemon::{Daemon, Mount};
use crate::image;

/// Devices of the large image; its primary blob is one object more.
const DEVICES: usize = 512;

/// The row.
pub fn run(bench: &mut Bench) -> Result<()> {
    let mut daemon = Daemon::new()?;
    let one = Builder::new()
        .plain("file", pattern(1, 5000))
        .build()
        .primary;
    daemon.images.insert(b"one".to_vec(), Arc::new(one));
    daemon.images.insert(
        b"many".to_vec(),
        Arc::new(image::large("many", DEVICES, daemon.pages)?),
    );

    for (metric, fsid, objects, threads) in [
        ("one blob, fresh", "one", 1, 1),
        ("one blob, cached", "one", 1, 1),
        ("512 devices, fresh", "many", DEVICES + 1, 1),
        ("512 devices, cached", "many", DEVICES + 1, 1),
        ("512 devices, cached, 4 threads", "many", DEVICES + 1, 4),
    ] {
        let crew = Crew::start(&mut daemon, threads, Wait::Exclusive)?;
        let path = std::path::Path::new("/mnt").join(fsid);
        std::fs::create_dir_all(&path)?;
        bench.meter.quiesce();
        let start = bench.meter.mark();
        sys::mount_erofs(&path, format!("fsid={fsid}").as_bytes()).context(metric)?;
        // Devices are looked up in the background.
        sys::wait_for("the OPENs", soon(), || crew.opens() == objects)?;
        // What follows the last answers belongs to the look-ups.
        bench.meter.quiesce();
        let cost = bench.meter.since(start);
        bench
            .output
            .instructions("mounts", metric, None, cost as f64);
        sys::wait_for("lookups", soon(), || sys::lookups_done().unwrap_or(false))?;
        crew.stop(&mut daemon)?;
        daemon.unmount(Mount { path })?;
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
