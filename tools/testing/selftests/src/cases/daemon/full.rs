// SPDX-License-Identifier: GPL-2.0
//! A disk of the cache that is full.

use anyhow::{Result, ensure};

use super::super::original::filler::Filler;
use super::program::{Daemon, check, check_eio, put, unmount};
use crate::context::Context;
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::registry::{CacheFs, Test, test};

/// Where the disk cannot be filled to the block.
const OTHERS: &[(CacheFs, &str)] = &[
    (CacheFs::Xfs, "it allocates ahead"),
    (CacheFs::Btrfs, "it takes blocks for what it does by itself"),
];

pub const TESTS: &[Test] = &[
    test!(
        daemon_culls_what_is_idle_when_the_disk_is_full,
        "U4: --brun and --bcull do what they say"
    )
    .not_on(OTHERS)
    .limit(90),
    test!(
        daemon_with_a_full_disk_and_nothing_idle_gives_an_error,
        "U4: readers do not hang on a disk that is full"
    )
    .not_on(OTHERS)
    .limit(90),
];

/// Blocks of the file in each image: 16 MiB.
const BLOCKS: usize = 4096;

fn image(seed: u32) -> Image {
    let data = pattern(seed, BLOCKS * BLOCK);
    Builder::new().plain("file", data).build()
}

fn daemon(ctx: &Context) -> Result<Daemon> {
    for (seed, fsid) in [(1, "idle"), (2, "used")] {
        put(ctx, fsid, &image(seed))?;
    }
    Daemon::start(ctx, &["--brun", "21", "--bcull", "20", "--bstop", "19"])
}

fn percent(percent: u64) -> Result<u64> {
    Ok(rustix::fs::statvfs(crate::sys::CACHE)?.f_blocks * percent / 100)
}

fn daemon_culls_what_is_idle_when_the_disk_is_full(ctx: &Context) -> Result<()> {
    let daemon = daemon(ctx)?;
    let idle = daemon.mount(ctx, "idle")?;
    check(&idle, "file", &image(1).files["file"])?;
    unmount(idle)?;
    let filler = Filler::new()?;
    let used = daemon.mount(ctx, "used")?;
    // Room for a half of it; with what is idle gone, for all of it.
    filler.leave_blocks(percent(19)? + BLOCKS as u64 / 2)?;
    check(&used, "file", &image(2).files["file"])?;
    let said = daemon.lines_with(&["were culled"]);
    ensure!(!said.is_empty(), "it says: {}", daemon.log());
    drop(filler);
    unmount(used)?;
    daemon.stop()
}

fn daemon_with_a_full_disk_and_nothing_idle_gives_an_error(ctx: &Context) -> Result<()> {
    let daemon = daemon(ctx)?;
    let used = daemon.mount(ctx, "used")?;
    let filler = Filler::new()?;
    filler.leave(19)?;
    filler.leave_blocks(percent(19)?)?;
    check_eio(&used.file("file"))?;
    let said = daemon.lines_with(&["giving up on a READ", "no room"]);
    ensure!(said.len() == 1, "it says: {}", daemon.log());
    // It goes on once there is room.
    filler.leave(40)?;
    check(&used, "file", &image(2).files["file"])?;
    unmount(used)?;
    daemon.stop()
}
