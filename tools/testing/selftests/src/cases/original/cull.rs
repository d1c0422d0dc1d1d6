// SPDX-License-Identifier: GPL-2.0
//! Culling as cachefilesd does it: asking whether something is in use, and having it removed.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::Errno;

use super::world::{BLOCK, Client, Counts, command_at, filled, graves, now};
use crate::context::{Context, expect_errno, expect_io_errno};
use crate::image::pattern;
use crate::registry::{Test, test};

pub const TESTS: &[Test] = &[
    test!(
        file_in_use_is_not_culled,
        "nothing is taken away from a reader"
    ),
    test!(
        directories_of_a_volume_in_use_are_not_culled_or_removed,
        "nothing is taken away from a reader"
    ),
    test!(
        idle_file_is_unlinked_by_cull_and_fetched_again,
        "culling frees space and loses nothing"
    ),
    test!(
        idle_volume_goes_to_the_graveyard_by_cull,
        "LATER 1: cachefilesd empties the graveyard; the marks must be gone"
    ),
    test!(
        cull_and_inuse_of_what_is_not_there_fail,
        "cachefilesd is told that it is late"
    ),
    test!(
        cull_and_inuse_need_a_bound_cache_and_a_plain_name,
        "wrong commands do nothing"
    ),
];

fn data() -> Vec<u8> {
    pattern(3, 5 * BLOCK)
}

fn file_in_use_is_not_culled(ctx: &Context) -> Result<()> {
    let (_server, device, path) = filled(ctx, &data())?;
    let client = Client::mount(ctx)?;
    let file = fs::File::open(client.path("file"))?;
    client.check_warm("file", &data())?;
    for verb in ["inuse", "cull"] {
        expect_errno(command_at(&device, &path, verb)?, Errno::BUSY, verb)?;
    }
    ensure!(path.exists(), "it was removed nevertheless");
    drop(file);
    client.unmount()?;
    command_at(&device, &path, "inuse")?.context("inuse of a file that nobody uses")
}

fn directories_of_a_volume_in_use_are_not_culled_or_removed(ctx: &Context) -> Result<()> {
    let (_server, device, path) = filled(ctx, &data())?;
    let fanout = path.parent().context("no parent")?.to_owned();
    let client = Client::mount(ctx)?;
    client.check_warm("file", &data())?;
    for dir in [&fanout, &client.volume_dir()] {
        for verb in ["inuse", "cull"] {
            expect_errno(
                command_at(&device, dir, verb)?,
                Errno::BUSY,
                &format!("{verb} {}", dir.display()),
            )?;
        }
    }
    expect_io_errno(fs::remove_dir(&fanout), Errno::BUSY, "rmdir")?;
    client.unmount()?;
    expect_io_errno(fs::remove_dir(&fanout), Errno::NOTEMPTY, "rmdir after use")?;
    fs::remove_dir_all(&fanout).context("removing what nobody uses")?;
    for cold in [true, false] {
        let client = Client::mount(ctx)?;
        if cold {
            client.check_cold("file", &data())?;
        } else {
            client.check_warm("file", &data())?;
        }
        client.unmount()?;
    }
    Ok(())
}

fn idle_file_is_unlinked_by_cull_and_fetched_again(ctx: &Context) -> Result<()> {
    let (_server, device, path) = filled(ctx, &data())?;
    let counts = Counts::now()?;
    command_at(&device, &path, "cull")?.context("cull")?;
    ensure!(!path.exists(), "{} is still there", path.display());
    ensure!(graves()?.is_empty(), "a file lies in the graveyard");
    ensure!(counts.moved("NoSpace.cull")? == 1, "it was not counted");
    let client = Client::mount(ctx)?;
    client.check_cold("file", &data())?;
    client.unmount()?;
    let client = Client::mount(ctx)?;
    client.check_warm("file", &data())?;
    client.unmount()
}

fn idle_volume_goes_to_the_graveyard_by_cull(ctx: &Context) -> Result<()> {
    let (_server, device, path) = filled(ctx, &data())?;
    let volume = path.ancestors().nth(2).context("no volume")?.to_owned();
    let before = now()?;
    let counts = Counts::now()?;
    command_at(&device, &volume, "cull")?.context("cull")?;
    ensure!(!volume.exists(), "{} is still there", volume.display());
    ensure!(counts.moved("NoSpace.cull")? == 1, "it was not counted");
    let graves = graves()?;
    ensure!(graves.len() == 1, "graves: {graves:?}");
    let grave = &graves[0];
    let name = grave.file_name().context("no name")?.to_string_lossy();
    ensure!(
        name.len() == 16 && name.bytes().all(|byte| b"0123456789abcdef".contains(&byte)),
        "the grave's name is {name}"
    );
    let time = u64::from_str_radix(&name[..8], 16)?;
    ensure!(
        (before..=now()?).contains(&time),
        "the time of the grave is {time}, and it was {before}"
    );
    let client = Client::mount(ctx)?;
    client.check_cold("file", &data())?;
    client.unmount()?;
    // cachefilesd does this: it must not find marks of use.
    fs::remove_dir_all(grave).context("emptying the graveyard")
}

fn cull_and_inuse_of_what_is_not_there_fail(ctx: &Context) -> Result<()> {
    let (_server, device, path) = filled(ctx, &data())?;
    for verb in ["inuse", "cull"] {
        let result = command_at(&device, &path.with_file_name("missing"), verb)?;
        expect_errno(result, Errno::NOENT, verb)?;
    }
    command_at(&device, &path, "cull")?.context("cull")?;
    let again = command_at(&device, &path, "cull")?;
    ensure!(
        matches!(again, Err(Errno::NOENT | Errno::STALE)),
        "the same again: {again:?}"
    );
    Ok(())
}

fn cull_and_inuse_need_a_bound_cache_and_a_plain_name(ctx: &Context) -> Result<()> {
    let (_server, device, path) = filled(ctx, &data())?;
    for command in ["cull a/b", "inuse ../x", "cull /cache", "inuse /"] {
        expect_errno(device.command(command), Errno::INVAL, command)?;
    }
    drop(device);
    let device = ctx.device()?;
    for verb in ["cull", "inuse"] {
        expect_errno(command_at(&device, &path, verb)?, Errno::IO, verb)?;
    }
    ensure!(path.exists(), "it was removed nevertheless");
    Ok(())
}
