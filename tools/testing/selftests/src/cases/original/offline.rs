// SPDX-License-Identifier: GPL-2.0
//! The cache goes offline while a client writes.

use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::Device;

use super::frozen::Frozen;
use super::world;
use super::world::{BLOCK, Client, Counts, Server, bind};
use crate::context::Context;
use crate::image::pattern;
use crate::registry::{Test, test};
use crate::sys;
use crate::task::{Task, soon};

pub const TESTS: &[Test] = &[
    test!(
        file_that_is_written_to_when_the_cache_goes_offline_stays,
        "D8: a write that is refused spoils what it would have replaced, and not a hole"
    )
    .limit(60),
    test!(
        file_that_is_overwritten_when_the_cache_goes_offline_goes,
        "D8: what a refused write would have replaced is not kept, nor is its room"
    )
    .c_fails("the file stays, with what the server has no more")
    .limit(60),
];

/// The block whose write has the cache note that the file is changed.
const FIRST: usize = 2;
/// Blocks with others between them: each is a write to the cache of its own.
const APART: [usize; 6] = [4, 6, 8, 10, 12, 14];

fn put(data: &mut Vec<u8>, block: usize, fresh: &[u8]) {
    let end = (block + 1) * BLOCK;
    data.resize(data.len().max(end), 0);
    data[block * BLOCK..end].copy_from_slice(fresh);
}

/// Writes some blocks of the client's file, and takes the cache offline while the first of
/// [`APART`] is on its way to it: the others are refused. `data` is what the file holds.
fn go_offline_while_writing(client: &Client, device: Device, data: &mut Vec<u8>) -> Result<()> {
    let file = client.open("file")?;
    let fresh = pattern(62, BLOCK);
    file.write_all_at(&fresh, (FIRST * BLOCK) as u64)?;
    file.sync_all()?;
    put(data, FIRST, &fresh);
    for block in APART {
        file.write_all_at(&fresh, (block * BLOCK) as u64)?;
        put(data, block, &fresh);
    }
    let frozen = Frozen::new()?;
    let counts = Counts::now()?;
    let sync = Task::start("fsync", move || file.sync_all());
    sys::wait_for("a write to the cache", soon(), || {
        counts.moved("CaWrOps.WR").is_ok_and(|writes| writes > 0)
    })?;
    let close = Task::start("closing the device", move || drop(device));
    sys::wait_for("the cache to go offline", soon(), || {
        let caches = sys::fscache_table("caches").unwrap_or_default();
        let is_withdrawn = |row: &String| row.split_whitespace().nth(5) == Some("W");
        caches.iter().any(is_withdrawn)
    })?;
    drop(frozen);
    sync.finish()?.context("writing to the server")?;
    close.finish()?;
    let (begun, failed) = (counts.moved("CaWrOps.WR")?, counts.moved("CaWrOps.wf")?);
    ensure!(failed > 0, "none of {begun} writes was refused");
    Ok(())
}

/// A file of so many blocks goes through that. Whether the cache still has it then.
fn stays(ctx: &Context, blocks: usize) -> Result<bool> {
    let server = Server::new(ctx)?;
    let mut data = pattern(61, blocks * BLOCK);
    server.put("file", &data)?;
    let device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("file", &data)?;
    client.unmount()?;

    let client = Client::mount(ctx)?;
    client.check_warm("file", &data)?;
    let path = client.cache_file("file")?;
    ensure!(path.exists(), "the cache has no {}", path.display());
    go_offline_while_writing(&client, device, &mut data)?;
    server.check("file", &data)?;
    client.unmount()?;
    let stays = path.exists();

    // Whatever it holds, nothing else is read.
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("file", &data)?;
    client.unmount()?;
    Ok(stays)
}

fn file_that_is_written_to_when_the_cache_goes_offline_stays(ctx: &Context) -> Result<()> {
    world::skip_if_mixed(world::IS_KEPT)?;
    ensure!(stays(ctx, 1)?, "it is gone");
    Ok(())
}

fn file_that_is_overwritten_when_the_cache_goes_offline_goes(ctx: &Context) -> Result<()> {
    world::skip_if_mixed(world::IS_KEPT)?;
    ensure!(!stays(ctx, APART[5] + 1)?, "it is still there");
    Ok(())
}
