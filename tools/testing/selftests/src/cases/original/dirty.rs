// SPDX-License-Identifier: GPL-2.0
//! The mark of a file that a client changes, and a power cut.

use anyhow::{Result, ensure};

use super::world::{BLOCK, Client, Server, bind};
use crate::cases::tracepoint::trace_of_events;
use crate::context::Context;
use crate::image::pattern;
use crate::registry::{CacheFs, Skip, Test, test};

pub const TESTS: &[Test] = &[test!(
    dirty_mark_is_on_the_disk_before_the_data,
    "D6: no power cut leaves new data under an attribute that calls it the old"
)
.c_fails("the mark is set by a worker, and not synced")];

/// Tells of an `fsync()` of a file of the cache: the directory of a tracepoint, and its name.
fn sync_event(ctx: &Context) -> Result<(&'static str, &'static str)> {
    match ctx.cache_fs() {
        CacheFs::Ext4 => Ok(("ext4", "ext4_sync_file_exit")),
        CacheFs::Xfs => Ok(("xfs", "xfs_file_fsync")),
        CacheFs::Btrfs => Err(Skip("no tracepoint of btrfs is known here".into()).into()),
    }
}

fn dirty_mark_is_on_the_disk_before_the_data(ctx: &Context) -> Result<()> {
    let (directory, sync) = sync_event(ctx)?;
    let server = Server::new(ctx)?;
    server.put("file", &pattern(71, 4 * BLOCK))?;
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("file", &pattern(71, 4 * BLOCK))?;
    client.unmount()?;

    let client = Client::mount(ctx)?;
    let trace = trace_of_events(&["cachefiles", &format!("{directory}/{sync}")], || {
        let file = client.open("file")?;
        rustix::io::pwrite(&file, &pattern(72, BLOCK), BLOCK as u64)?;
        client.sync()
    })?;
    let place = |event: &str, word: &str| {
        let event = format!(" {event}: ");
        let mut lines = trace.lines();
        lines.position(|line| line.contains(&event) && line.contains(word))
    };
    let order = [
        place("cachefiles_coherency", " SET ok"),
        place(sync, ""),
        place("cachefiles_write", ""),
    ];
    ensure!(
        order.iter().all(Option::is_some) && order.is_sorted(),
        "{order:?} in {trace}"
    );
    client.unmount()
}
