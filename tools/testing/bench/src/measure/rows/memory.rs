// SPDX-License-Identifier: GPL-2.0
//! Slab memory of the whole kernel per request in flight and per object, and the size of the
//! module.

use anyhow::{Context as _, Result};

use super::{Bench, Files, take_reads};
use crate::daemon::Daemon;

/// Requests, and objects.
const REQUESTS: usize = 4096;
const OBJECTS: usize = 256;

/// Bytes in objects of all slab caches.
fn slab() -> Result<i64> {
    let table = std::fs::read_to_string("/proc/slabinfo").context("reading slabinfo")?;
    let bytes = |line: &str| -> Option<i64> {
        let mut fields = line.split_whitespace().skip(1);
        let active: i64 = fields.next()?.parse().ok()?;
        let size: i64 = fields.nth(1)?.parse().ok()?;
        Some(active * size)
    };
    Ok(table.lines().skip(2).filter_map(bytes).sum())
}

/// After what is freed by and by has been freed.
fn settled_slab(bench: &Bench) -> Result<i64> {
    std::thread::sleep(std::time::Duration::from_millis(100));
    bench.meter.quiesce();
    // A slab that a processor allocates from counts as full otherwise: up to a page for each cache.
    for cache in std::fs::read_dir("/sys/kernel/slab").context("reading the list of slab caches")? {
        let shrink = cache?.path().join("shrink");
        // Aliases of caches are there too, and some do not allow it: what cannot be is left as it
        // is.
        let _ = std::fs::write(shrink, "1");
    }
    slab()
}

/// The row.
pub fn run(bench: &mut Bench) -> Result<()> {
    bench.pool.grow(REQUESTS)?;
    let mut daemon = Daemon::new()?;
    // Once, so that what is kept for good is there.
    let files = Files::mount(&mut daemon, "memory", OBJECTS)?;
    files.unmount(&mut daemon)?;
    let empty = settled_slab(bench)?;
    let mut files = Files::mount(&mut daemon, "memory", OBJECTS)?;
    let mounted = settled_slab(bench)?;
    bench.put_in_flight(&mut files, REQUESTS)?;
    let held = take_reads(&mut daemon, REQUESTS)?;
    let in_flight = settled_slab(bench)?;
    let output = &bench.output;
    output.put(
        "memory",
        "slab per object",
        None,
        (mounted - empty) as f64 / OBJECTS as f64,
        "bytes",
    );
    output.put(
        "memory",
        "slab per request",
        None,
        (in_flight - mounted) as f64 / REQUESTS as f64,
        "bytes",
    );
    let size =
        std::fs::read_to_string("/sys/module/cachefiles/coresize").context("reading coresize")?;
    output.put(
        "memory",
        "module in memory",
        None,
        size.trim().parse()?,
        "bytes",
    );
    for read in held {
        daemon.answer(&read)?;
    }
    bench.let_finish(&mut daemon, REQUESTS)?;
    files.unmount(&mut daemon)
}
