// SPDX-License-Identifier: GPL-2.0
//! Reading, cold and warm.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use cachefiles_selftests::sys;

use super::{Step, cached_tree, expect_warm};
use crate::world::World;

pub const STEPS: &[Step] = &[
    Step {
        name: "a_cold_read_comes_from_the_server_and_fills_the_cache",
        run: cold_read,
    },
    Step {
        name: "a_warm_read_asks_the_server_for_nothing",
        run: warm_read,
    },
    Step {
        name: "mounting_again_and_again_stays_warm",
        run: many_mounts,
    },
];

fn cold_read(world: &mut World) -> Result<()> {
    world.ready()?;
    let before = cache_files(&cache_root())?;
    let tree = cached_tree(world, "cold", 1)?;
    world.unmount()?;
    let made = cache_files(&cache_root())? - before;
    ensure!(
        made >= tree.with_data(),
        "the cache has {made} files more, for {} with data",
        tree.with_data()
    );
    Ok(())
}

fn warm_read(world: &mut World) -> Result<()> {
    let tree = cached_tree(world, "warm", 2)?;
    expect_warm(world, "warm", &tree)
}

fn many_mounts(world: &mut World) -> Result<()> {
    let tree = cached_tree(world, "again", 3)?.only(|name| name.starts_with("f0"));
    for _ in 0..10 {
        expect_warm(world, "again", &tree)?;
    }
    Ok(())
}

fn cache_root() -> std::path::PathBuf {
    Path::new(sys::CACHE).join("cache")
}

/// How many regular files there are at and below `dir`.
fn cache_files(dir: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            count += cache_files(&entry.path())?;
        } else if kind.is_file() {
            count += 1;
        }
    }
    Ok(count)
}
