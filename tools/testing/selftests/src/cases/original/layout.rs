// SPDX-License-Identifier: GPL-2.0
//! What lies on the disk after something happened to a file or a volume, where clients do not tell.

use std::collections::BTreeSet;
use std::fs::{self, File};

use anyhow::{Context as _, Result, ensure};

use super::super::module::Injection;
use super::attribute;
use super::world;
use super::world::{
    BLOCK, Client, Server, bind, command_at, cookie_states, drop_caches, graves, same,
};
use crate::context::Context;
use crate::image::pattern;
use crate::registry::{Test, test};
use crate::sys;
use crate::task::soon;

pub const TESTS: &[Test] = &[
    test!(
        shortened_file_is_cut_and_cleared_in_the_cache,
        "nothing of what was cut off is left to be read by whoever makes the file grow"
    ),
    test!(
        size_of_a_file_that_root_cut_is_put_right,
        "what is missing of a file is fetched, and not taken for zeros"
    ),
    test!(
        attribute_of_a_volume_is_written_when_the_cache_goes,
        "the next daemon recognises the volume"
    ),
    test!(
        file_that_could_not_be_noted_has_no_attribute,
        "nobody vouches for what could not be described"
    )
    .c_fails("the cache dies of it, and the attribute stays"),
    test!(
        graves_made_at_once_have_names_of_their_own,
        "cachefilesd may be slow to empty the graveyard"
    ),
];

/// A client of a file that is stored under its name.
fn stored(ctx: &Context, server: &Server, data: &[u8]) -> Result<Client> {
    server.put("file", data)?;
    let client = Client::mount(ctx)?;
    client.check("file", data)?;
    client.unmount()?;
    Client::mount(ctx)
}

fn shortened_file_is_cut_and_cleared_in_the_cache(ctx: &Context) -> Result<()> {
    let data = pattern(40, 12 * BLOCK);
    let server = Server::new(ctx)?;
    let _device = bind(ctx, &[])?;
    let client = stored(ctx, &server, &data)?;
    client.check_warm("file", &data)?;
    let path = client.cache_file("file")?;
    let file = client.open("file")?;
    for size in [9 * BLOCK + 100, 7 * BLOCK, 3] {
        file.set_len(size as u64)?;
        // While it is in use: what the next look-up mends does not count.
        let length = usize::try_from(fs::metadata(&path)?.len())?;
        let expected = size.next_multiple_of(BLOCK);
        ensure!(length == expected, "{length} bytes instead of {expected}");
        let mut expected = data[..size].to_vec();
        expected.resize(length, 0);
        same(&fs::read(&path)?, &expected).with_context(|| format!("cut to {size}"))?;
    }
    drop(file);
    client.unmount()
}

fn size_of_a_file_that_root_cut_is_put_right(ctx: &Context) -> Result<()> {
    let data = pattern(41, 12 * BLOCK);
    let server = Server::new(ctx)?;
    let _device = bind(ctx, &[])?;
    let mut client = stored(ctx, &server, &data)?;
    let path = client.cache_file("file")?;
    for size in [9 * BLOCK, 5000, 20 * BLOCK] {
        client.unmount()?;
        File::options()
            .write(true)
            .open(&path)?
            .set_len(size as u64)?;
        client = Client::mount(ctx)?;
        let file = File::open(client.path("file"))?;
        sys::wait_for("the look-up", soon(), || {
            cookie_states().is_ok_and(|states| states == ["A"])
        })?;
        let length = fs::metadata(&path)?.len();
        ensure!(
            length == data.len() as u64,
            "cut to {size} bytes, it has {length} in use"
        );
        client
            .check("file", &data)
            .with_context(|| format!("cut to {size}"))?;
        drop(file);
    }
    client.unmount()
}

fn attribute_of_a_volume_is_written_when_the_cache_goes(ctx: &Context) -> Result<()> {
    world::skip_if_mixed(world::IS_KEPT)?;
    let data = pattern(42, BLOCK);
    let server = Server::new(ctx)?;
    let device = bind(ctx, &[])?;
    let client = stored(ctx, &server, &data)?;
    client.check_warm("file", &data)?;
    let volume = client.volume_dir();
    attribute::remove(&volume)?;
    drop(device);
    let noted = attribute::raw(&volume)?;
    ensure!(noted == [0; 4], "it is {noted:?}");
    client.unmount()
}

fn file_that_could_not_be_noted_has_no_attribute(ctx: &Context) -> Result<()> {
    let data = pattern(43, 3 * BLOCK);
    let server = Server::new(ctx)?;
    let device = bind(ctx, &[])?;
    let client = stored(ctx, &server, &data)?;
    let path = client.cache_file("file")?;
    let file = client.open("file")?;
    rustix::io::pwrite(&file, b"new", 10)?;
    file.sync_all()?;
    drop(file);
    attribute::raw(&path).context("while it is in use")?;
    let injection = Injection::start("1")?;
    client.unmount()?;
    drop(injection);
    attribute::expect_none(&path)?;
    device.command("debug 0").context("the cache died")
}

fn graves_made_at_once_have_names_of_their_own(ctx: &Context) -> Result<()> {
    const VOLUMES: usize = 4;
    let server = Server::new(ctx)?;
    server.put("file", b"x")?;
    let device = bind(ctx, &[])?;
    let mut volumes = Vec::new();
    for number in 0..VOLUMES {
        let client = Client::mount_as(ctx, &format!("grave-{number}"))?;
        client.check("file", b"x")?;
        volumes.push(client.volume_dir());
        client.unmount()?;
        drop_caches(true)?;
    }
    for volume in &volumes {
        command_at(&device, volume, "cull")?.context("cull")?;
    }
    let graves = graves()?;
    ensure!(graves.len() == VOLUMES, "graves: {graves:?}");
    let numbers: BTreeSet<_> = graves
        .iter()
        .filter_map(|grave| grave.file_name()?.to_str()?.get(8..).map(str::to_owned))
        .collect();
    ensure!(
        numbers.len() == VOLUMES,
        "their numbers are not their own: {graves:?}"
    );
    Ok(())
}
