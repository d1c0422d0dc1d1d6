// SPDX-License-Identifier: GPL-2.0
//! More data than the cache may hold: cachefilesd culls while clients read.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachefiles_harness::share::{self, Counters};
use cachefiles_harness::sys;

use super::Step;
use crate::cachefilesd::Limits;
use crate::content::{check_file, pattern};
use crate::world::World;

pub const STEPS: &[Step] = &[Step {
    name: "contents_stay_right_while_the_cache_is_culled",
    run: cull_while_reading,
}];

/// Together more than the cache may hold with the limits below.
const FILES: u64 = 24;
const SIZE: usize = 1 << 20;

/// How often each reader reads every file, at the least.
const PASSES: usize = 1;

/// How many files have to be culled.
const CULLED: i64 = 20;

const PATIENCE: Duration = Duration::from_secs(60);

fn cull_while_reading(world: &mut World) -> Result<()> {
    world.unmount()?;
    if let Ok(daemon) = world.take_daemon() {
        daemon.stop()?;
    }
    // What is culled shall be files of this step.
    sys::empty_cache()?;
    let free = World::free_percent()?;
    ensure!(free > 50, "only {free} % of the cache disk are free");
    let limits = Limits {
        run: free - 2,
        cull: free - 3,
        stop: free - 6,
    };
    world.ready_with(limits)?;
    let server = world.server().path("culled");
    fs::create_dir_all(&server)?;
    for index in 0..FILES {
        fs::write(server.join(file_name(index)), pattern(1000 + index, SIZE))?;
    }
    let dir = world.client("culled")?;
    let traffic = world.measure("reading under pressure", |_| read_under_pressure(&dir))?;
    ensure!(
        traffic.moved.culled()? >= CULLED,
        "only {} files were culled: {traffic}",
        traffic.moved.culled()?
    );
    traffic.expect_no_failure()?;
    // With nobody reading, nothing is in use: culling goes on until there is room again.
    world.unmount()?;
    sys::wait_for("free space to be back", PATIENCE, || {
        World::free_percent().is_ok_and(|free| free >= limits.cull)
    })?;
    world.ready_with(limits)?;
    read_all(&dir, 0).context("after culling")?;
    // The next ones have room again.
    world.unmount()?;
    world.take_daemon()?.stop()
}

/// Two readers go round, in opposite directions, until enough was culled.
fn read_under_pressure(dir: &Path) -> Result<()> {
    let culled = || Counters::now().and_then(|now| now.culled());
    let before = culled()?;
    let done = AtomicBool::new(false);
    let passes = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let (done, passes) = (&done, &passes);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..)
            .zip(passes)
            .map(|(which, passes)| {
                scope.spawn(move || -> Result<()> {
                    while !done.load(Ordering::Relaxed) {
                        read_all(dir, which)?;
                        // What memory still holds is in use and not culled: it has to be short,
                        // too.
                        share::drop_caches()?;
                        passes.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        let enough = sys::wait_for("culling", PATIENCE, || {
            let rounds = passes
                .iter()
                .all(|passes| passes.load(Ordering::Relaxed) >= PASSES);
            let over = readers.iter().any(|reader| reader.is_finished());
            let culled = culled().is_ok_and(|now| now >= before + CULLED);
            over || (rounds && culled)
        });
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            let result = reader
                .join()
                .map_err(|_| anyhow::anyhow!("a reader panicked"))?;
            result.context("a reader")?;
        }
        enough
    })
}

/// Reads every file, forwards or backwards.
fn read_all(dir: &Path, backwards: usize) -> Result<()> {
    for step in 0..FILES {
        let index = if backwards == 0 {
            step
        } else {
            FILES - 1 - step
        };
        check_file(&dir.join(file_name(index)), &pattern(1000 + index, SIZE))?;
    }
    Ok(())
}

fn file_name(index: u64) -> String {
    format!("big{index:02}")
}
