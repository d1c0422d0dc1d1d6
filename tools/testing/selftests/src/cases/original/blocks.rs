// SPDX-License-Identifier: GPL-2.0
//! A cache on a file system whose blocks are smaller than pages.

use std::fs::{self, File};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{FallocateFlags, fallocate};

use super::world::{BLOCK, Client, Counts, Server, bind};
use super::writing::expect_written;
use crate::bad_disk::{BadDisk, Speed};
use crate::context::Context;
use crate::image::pattern;
use crate::registry::{Test, test};

pub const TESTS: &[Test] = &[test!(
    block_of_a_page_that_is_lost_is_not_read_as_zeros,
    "D20: data that ends inside a page does not count up to the page's end"
)
.c_skips("netfs then finishes a page from two sides, and stumbles over it")
.limit(60)];

/// Bytes in the file's last page.
const TAIL: usize = 3000;

fn block_of_a_page_that_is_lost_is_not_read_as_zeros(ctx: &Context) -> Result<()> {
    let disk = BadDisk::new(64, Speed::Fast)?;
    disk.mount_as_cache_of(1024)?;
    let server = Server::new(ctx)?;
    let data = pattern(63, 3 * BLOCK + TAIL);
    let _device = bind(ctx, &[])?;
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    // The last block with data, one in the middle of the last page, and one in a page before.
    for from in [3 * BLOCK + 2048, 3 * BLOCK + 1024, BLOCK + 1024, BLOCK] {
        let name = from.to_string();
        // It has to be written: what a client only reads, netfs stores without the page that the
        // end of the file cuts.
        let client = Client::mount(ctx)?;
        fs::write(client.path(&name), &data)?;
        let client = expect_written(ctx, &server, client, &name, &data)?;
        client.unmount()?;
        let client = Client::mount(ctx)?;
        let path = client.cache_file(&name)?;
        let file = File::options().write(true).open(&path);
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        fallocate(&file, flags, from as u64, 1024).context("punching a hole")?;
        drop(file);
        let counts = Counts::now()?;
        let seen = client.check(&name, &data);
        seen.with_context(|| format!("without the block at {from}"))?;
        let downloads = counts.moved("DownOps.DL")?;
        ensure!(
            downloads > 0,
            "the server was not asked for the block at {from}"
        );
        client.unmount()?;
        // What was fetched was stored.
        let client = Client::mount(ctx)?;
        client.check(&name, &data)?;
        client.unmount()?;
    }
    Ok(())
}
