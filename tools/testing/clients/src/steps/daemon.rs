// SPDX-License-Identifier: GPL-2.0
//! cachefilesd ends, as it should or not, and comes back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use cachefiles_harness::share::{self, Counters};
use cachefiles_harness::sys;

use super::{Step, cached_tree, expect_warm};
use crate::content::Tree;
use crate::world::World;

pub const STEPS: &[Step] = &[
    Step {
        name: "the_cache_is_warm_after_a_restart_of_cachefilesd",
        run: restart,
    },
    Step {
        name: "readers_see_no_error_when_cachefilesd_is_killed",
        run: kill,
    },
];

/// How long readers may take to use a cache that has come up.
const PATIENCE: Duration = Duration::from_secs(30);

fn restart(world: &mut World) -> Result<()> {
    let name = "restarted";
    let tree = cached_tree(world, name, 41)?;
    world.take_daemon()?.stop()?;
    // Without a cache: from memory, and from the server.
    tree.check(&world.client(name)?)
        .context("read while cachefilesd is stopped")?;
    share::drop_caches()?;
    let alone = world.measure("stopped", |world| tree.check(&world.client(name)?))?;
    alone.expect_cold()?;
    world.ready()?;
    share::drop_caches()?;
    // The client that was mounted all the time has the cache again, too.
    let back = world.measure("started again", |world| tree.check(&world.client(name)?))?;
    back.expect_warm()?;
    expect_warm(world, name, &tree)
}

fn kill(world: &mut World) -> Result<()> {
    let name = "killed";
    let tree = cached_tree(world, name, 42)?;
    let dir = world.client(name)?;
    let done = AtomicBool::new(false);
    let read = |tree: &Tree| -> Result<()> {
        while !done.load(Ordering::Relaxed) {
            tree.check(&dir)?;
        }
        Ok(())
    };
    thread::scope(|scope| -> Result<()> {
        let readers = [scope.spawn(|| read(&tree)), scope.spawn(|| read(&tree))];
        let killed = (0..4).try_for_each(|_| {
            wait_for_cache_reads()?;
            world.take_daemon()?.kill()?;
            // The readers go on without a cache for a while.
            share::drop_caches()?;
            wait_for_downloads()?;
            world.ready()
        });
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            let result = reader
                .join()
                .map_err(|_| anyhow::anyhow!("a reader panicked"))?;
            result.context("a reader")?;
        }
        killed
    })?;
    expect_warm(world, name, &tree)
}

/// Waits until the readers have read from the cache: pages are dropped, else they would ask nobody.
fn wait_for_cache_reads() -> Result<()> {
    let before = Counters::now()?.cache_reads()?;
    sys::wait_for("reads from the cache", PATIENCE, || {
        share::drop_caches().is_ok()
            && Counters::now().is_ok_and(|now| now.cache_reads().is_ok_and(|now| now > before + 20))
    })
}

fn wait_for_downloads() -> Result<()> {
    let before = Counters::now()?.downloads()?;
    sys::wait_for("reads from the server", PATIENCE, || {
        share::drop_caches().is_ok()
            && Counters::now().is_ok_and(|now| now.downloads().is_ok_and(|now| now > before + 20))
    })
}
