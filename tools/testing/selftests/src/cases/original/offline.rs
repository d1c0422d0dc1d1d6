// SPDX-License-Identifier: GPL-2.0
//! The cache goes offline while a client writes.

use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, Result, ensure};

use super::world::{BLOCK, Client, Counts, Server, bind};
use crate::context::Context;
use crate::image::pattern;
use crate::registry::{Test, test};
use crate::task::Task;

pub const TESTS: &[Test] = &[test!(
    file_that_is_written_to_when_the_cache_goes_offline_stays,
    "D8: a write that is refused spoils what it would have replaced, and not a hole"
)
.limit(120)];

/// Bytes that are written: enough for the cache to be gone in the middle.
const LENGTH: usize = 64 << 20;

fn file_that_is_written_to_when_the_cache_goes_offline_stays(ctx: &Context) -> Result<()> {
    let server = Server::new(ctx)?;
    let mut data = pattern(61, BLOCK);
    server.put("file", &data)?;
    let device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("file", &data)?;
    client.unmount()?;

    let client = Client::mount(ctx)?;
    let path = client.cache_file("file")?;
    ensure!(path.exists(), "the cache has no {}", path.display());
    let more = pattern(62, LENGTH);
    let file = client.open("file")?;
    file.write_all_at(&more, BLOCK as u64)?;
    data.extend_from_slice(&more);
    let counts = Counts::now()?;
    let sync = Task::start("writing it all", move || file.sync_all());
    // Without a pause: all of it takes some tenths of a second.
    while counts.moved("CaWrOps.WR")? == 0 && !sync.is_done() {}
    ensure!(!sync.is_done(), "too late to go offline");
    drop(device);
    sync.finish()?.context("writing to the server")?;
    server.check("file", &data)?;
    client.unmount()?;
    ensure!(path.exists(), "{} is gone", path.display());

    // What it holds is right.
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("file", &data)?;
    client.unmount()
}
