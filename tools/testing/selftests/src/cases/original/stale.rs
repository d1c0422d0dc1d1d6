// SPDX-License-Identifier: GPL-2.0
//! What the cache could not take part in is not read from it afterwards: the server has something
//! newer. Neither by who has the file open, nor after the next mount.

use std::fs::File;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::AlignedBuffer;

use super::super::module::Injection;
use super::attribute::Attribute;
use super::filler::Filler;
use super::world::{BLOCK, Client, Server, bind, drop_caches, open_direct};
use crate::context::Context;
use crate::image::pattern;
use crate::registry::{Test, test};

pub const TESTS: &[Test] = &[
    test!(
        what_could_not_be_stored_is_not_read_from_the_cache,
        "WALK 1: a write that only the server has is not undone by what the cache had before"
    )
    .c_fails("the cache goes on with the old data"),
    test!(
        what_is_written_to_a_full_disk_is_not_read_from_the_cache,
        "WALK 1: below the stop limit, too"
    )
    .c_fails("the cache goes on with the old data"),
    test!(
        what_could_not_be_cut_off_does_not_come_back,
        "a file that shrinks and grows has zeros there"
    ),
    test!(
        what_could_not_be_discarded_is_not_taken_for_new,
        "WALK 2: after a failed invalidation the old file is not stored as the new one"
    )
    .c_fails("the old file is stored as the new one"),
];

pub(super) fn data() -> Vec<u8> {
    pattern(80, 7 * BLOCK)
}

/// A cached file that is open for writing, so that it stays the same object.
pub(super) fn cached(ctx: &Context, server: &Server) -> Result<(Client, File)> {
    server.put("file", &data())?;
    opened(ctx)
}

/// The same of a file that the server has already, in the version in which it is cached.
pub(super) fn opened(ctx: &Context) -> Result<(Client, File)> {
    let client = Client::mount(ctx)?;
    client.check("file", &data())?;
    client.sync()?;
    let file = client.open("file")?;
    drop_caches(false)?;
    client.check_warm("file", &data())?;
    Ok((client, file))
}

/// That it reads as `expected`: now, and by later clients, to whom the server names the version
/// that the cache has noted, if it has one.
pub(super) fn check(
    server: &Server,
    ctx: &Context,
    client: Client,
    file: File,
    expected: &[u8],
) -> Result<()> {
    server.check("file", expected)?;
    drop_caches(false)?;
    client.check("file", expected)?;
    let path = client.cache_file("file")?;
    drop(file);
    client.unmount()?;
    for round in 0..2 {
        if let Ok(noted) = Attribute::read(&path) {
            server.set_version("file", noted.version()?)?;
        }
        let client = Client::mount(ctx)?;
        let seen = client.check("file", expected);
        seen.with_context(|| format!("after mount {round}"))?;
        client.unmount()?;
    }
    Ok(())
}

fn what_could_not_be_stored_is_not_read_from_the_cache(ctx: &Context) -> Result<()> {
    let server = Server::new(ctx)?;
    let _device = bind(ctx, &[])?;
    let (client, file) = cached(ctx, &server)?;
    let fresh = pattern(81, 2 * BLOCK);
    let injection = Injection::start("1")?;
    rustix::io::pwrite(&file, &fresh, BLOCK as u64)?;
    file.sync_all().context("fsync")?;
    drop(injection);
    let mut expected = data();
    expected[BLOCK..3 * BLOCK].copy_from_slice(&fresh);
    check(&server, ctx, client, file, &expected)
}

fn what_is_written_to_a_full_disk_is_not_read_from_the_cache(ctx: &Context) -> Result<()> {
    let server = Server::new(ctx)?;
    let _device = bind(ctx, &[])?;
    let (client, file) = cached(ctx, &server)?;
    let filler = Filler::new()?;
    filler.leave(0)?;
    // What has blocks, and behind the old end what has none.
    let fresh = pattern(82, 4 * BLOCK);
    rustix::io::pwrite(&file, &fresh, 5 * BLOCK as u64)?;
    file.sync_all().context("fsync")?;
    rustix::io::pwrite(&file, &fresh[..BLOCK], BLOCK as u64)?;
    file.sync_all().context("fsync")?;
    let mut expected = data();
    expected[BLOCK..2 * BLOCK].copy_from_slice(&fresh[..BLOCK]);
    expected.truncate(5 * BLOCK);
    expected.extend_from_slice(&fresh);
    filler.leave(50)?;
    check(&server, ctx, client, file, &expected)
}

fn what_could_not_be_cut_off_does_not_come_back(ctx: &Context) -> Result<()> {
    let server = Server::new(ctx)?;
    let _device = bind(ctx, &[])?;
    let (client, file) = cached(ctx, &server)?;
    let short = 3 * BLOCK + 5;
    let injection = Injection::start("1")?;
    file.set_len(short as u64)?;
    drop(injection);
    file.set_len(data().len() as u64)?;
    let mut expected = data();
    expected[short..].fill(0);
    check(&server, ctx, client, file, &expected)
}

fn what_could_not_be_discarded_is_not_taken_for_new(ctx: &Context) -> Result<()> {
    let server = Server::new(ctx)?;
    let _device = bind(ctx, &[])?;
    let (client, file) = cached(ctx, &server)?;
    // Past the page cache and the cache: what the latter has is invalid then.
    let direct = open_direct(&client.path("file"))?;
    let mut fresh = AlignedBuffer::new(2 * BLOCK);
    fresh.copy_from_slice(&pattern(83, 2 * BLOCK));
    let injection = Injection::start("1")?;
    let written = rustix::io::pwrite(&direct, &fresh, BLOCK as u64)?;
    ensure!(written == 2 * BLOCK, "wrote {written} bytes");
    client.sync()?;
    drop(injection);
    drop(direct);
    let mut expected = data();
    expected[BLOCK..3 * BLOCK].copy_from_slice(&fresh);
    check(&server, ctx, client, file, &expected)
}
