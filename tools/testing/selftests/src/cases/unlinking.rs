// SPDX-License-Identifier: GPL-2.0
//! Taking the name of a cache file away that is open, where root did so already. To delete by the
//! dentry that the file was opened by shuts XFS down: there is no such name any more.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::AlignedBuffer;

use super::original::world::{BLOCK, Client, Server, bind, drop_caches, open_direct};
use crate::context::Context;
use crate::image::pattern;
use crate::registry::{Test, test};
use crate::sys;

pub const TESTS: &[Test] = &[
    test!(
        name_that_root_took_away_is_not_removed_again,
        "D12: a file without a name is let go of as it is"
    ),
    test!(
        file_that_root_put_in_the_place_of_one_in_use_does_no_harm,
        "D12: the name of another file is not taken for ours"
    ),
];

fn data() -> Vec<u8> {
    pattern(90, 5 * BLOCK)
}

/// Writes past the page cache and the cache, which invalidates the object. Returns the new
/// contents.
fn invalidate(client: &Client) -> Result<Vec<u8>> {
    let mut fresh = AlignedBuffer::new(BLOCK);
    fresh.copy_from_slice(&pattern(91, BLOCK));
    let file = open_direct(&client.path("file"))?;
    let written = rustix::io::pwrite(&file, &fresh, 0)?;
    ensure!(written == BLOCK, "wrote {written} bytes");
    let mut expected = data();
    expected[..BLOCK].copy_from_slice(&fresh);
    Ok(expected)
}

/// That the cache's file system still takes what it is given.
fn check_the_disk() -> Result<()> {
    let probe = Path::new(sys::CACHE).join("probe");
    fs::write(&probe, data()).context("writing beside the cache")?;
    let file = fs::File::open(&probe)?;
    file.sync_all().context("fsync beside the cache")?;
    fs::remove_file(&probe).context("removing a file beside the cache")
}

/// A client with a file open whose cache file was opened by its name.
fn opened_by_name(ctx: &Context, server: &Server) -> Result<(Client, fs::File)> {
    server.put("file", &data())?;
    let client = Client::mount(ctx)?;
    client.check("file", &data())?;
    client.unmount()?;
    let client = Client::mount(ctx)?;
    let open = client.open("file")?;
    client.check_warm("file", &data())?;
    Ok((client, open))
}

fn name_that_root_took_away_is_not_removed_again(ctx: &Context) -> Result<()> {
    let server = Server::new(ctx)?;
    let _device = bind(ctx, &[])?;
    let (client, open) = opened_by_name(ctx, &server)?;
    let path = client.cache_file("file")?;
    fs::remove_file(&path)?;
    let expected = invalidate(&client)?;
    drop_caches(false)?;
    client.check("file", &expected)?;
    drop(open);
    client.unmount()?;
    check_the_disk()?;
    ensure!(path.exists(), "the new file has no name");
    server.check("file", &expected)
}

fn file_that_root_put_in_the_place_of_one_in_use_does_no_harm(ctx: &Context) -> Result<()> {
    let server = Server::new(ctx)?;
    let _device = bind(ctx, &[])?;
    let (client, open) = opened_by_name(ctx, &server)?;
    let path = client.cache_file("file")?;
    fs::remove_file(&path)?;
    fs::write(&path, "of root")?;
    let expected = invalidate(&client)?;
    drop_caches(false)?;
    client.check("file", &expected)?;
    drop(open);
    client.unmount()?;
    check_the_disk()?;
    let client = Client::mount(ctx)?;
    client.check("file", &expected)?;
    client.unmount()?;
    let stored = fs::metadata(&path)?.len();
    ensure!(
        stored == 5 * BLOCK as u64,
        "a file of {stored} bytes is stored"
    );
    server.check("file", &expected)
}
