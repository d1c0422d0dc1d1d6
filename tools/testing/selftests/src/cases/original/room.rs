// SPDX-License-Identifier: GPL-2.0
//! The limits of space to the block, and what of it the daemon is told.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::Errno;
use rustix::event::PollFlags;

use super::filler::Filler;
use super::world;
use super::world::{BLOCK, Client, Server, State, bind, drop_caches, polls, stored_files};
use crate::context::{Context, expect_errno};
use crate::image::pattern;
use crate::registry::{Test, test};

pub const TESTS: &[Test] = &[
    test!(
        culling_begins_and_ends_to_the_block,
        "the limits mean what cachefilesd was told of them"
    ),
    test!(
        what_is_overwritten_on_a_full_disk_stays_cached,
        "writing over what has blocks takes none"
    )
    .c_fails("the cache goes on with the old data"),
    test!(
        released_in_vain_is_told_the_next_time,
        "a daemon with a short buffer loses nothing"
    )
    .c_fails("what was let go is forgotten"),
    test!(
        released_is_what_turns_out_to_be_stale,
        "cachefilesd is told of every file that it may cull"
    ),
    test!(
        released_is_no_file_that_got_no_name,
        "cachefilesd is not sent to look for what is not there"
    ),
];

fn culling_begins_and_ends_to_the_block(ctx: &Context) -> Result<()> {
    let filler = Filler::new()?;
    let device = bind(ctx, &["brun 60%", "bcull 40%", "bstop 10%"])?;
    let state = State::read(&device)?;
    let (run, cull) = (state.get("brun")?, state.get("bcull")?);
    for (left, culls) in [
        (run - 1, false),
        (cull, false),
        (cull - 1, true),
        (cull, true),
        (run - 1, true),
        (run, false),
        (cull, false),
    ] {
        filler.leave_blocks(left)?;
        let state = State::read(&device)?;
        ensure!(
            state.culls()? == culls,
            "with {left} blocks available: {state:?}"
        );
    }
    Ok(())
}

fn what_is_overwritten_on_a_full_disk_stays_cached(ctx: &Context) -> Result<()> {
    let mut data = pattern(30, 16 * BLOCK);
    let server = Server::new(ctx)?;
    server.put("file", &data)?;
    let _device = bind(ctx, &["brun 60%", "bcull 40%", "bstop 20%"])?;
    let client = Client::mount(ctx)?;
    client.check("file", &data)?;
    client.unmount()?;
    let client = Client::mount(ctx)?;
    client.check_warm("file", &data)?;
    let file = client.open("file")?;
    let filler = Filler::new()?;
    filler.leave(10)?;
    let fresh = pattern(31, 3 * BLOCK);
    rustix::io::pwrite(&file, &fresh, 5 * BLOCK as u64)?;
    file.sync_all().context("fsync")?;
    data[5 * BLOCK..8 * BLOCK].copy_from_slice(&fresh);
    server.check("file", &data)?;
    drop_caches(false)?;
    client.check_warm("file", &data)?;
    drop(file);
    client.unmount()
}

/// What was released, in files and 512-byte blocks.
fn released(state: &State) -> Result<(u64, u64)> {
    Ok((state.get("freleased")?, state.get("breleased")?))
}

fn released_in_vain_is_told_the_next_time(ctx: &Context) -> Result<()> {
    world::skip_if_mixed(world::NO_STATE)?;
    let server = Server::new(ctx)?;
    server.put("file", &pattern(32, 5 * BLOCK))?;
    let device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("file", &pattern(32, 5 * BLOCK))?;
    client.unmount()?;
    let mut buffer = [0; 16];
    for round in 0..2 {
        ensure!(
            polls(&device)? == PollFlags::IN,
            "polls as {:?} before read {round}",
            polls(&device)?
        );
        let read = rustix::io::read(&device, &mut buffer);
        expect_errno(read, Errno::MSGSIZE, "a short read")?;
    }
    let bad = crate::raw::read_to_address(&device, 8, 256);
    expect_errno(bad, Errno::FAULT, "a read to a bad address")?;
    ensure!(
        polls(&device)? == PollFlags::IN,
        "polls as {:?} after reads that failed",
        polls(&device)?
    );
    let file = stored_files()?.pop().context("nothing is stored")?;
    let expected = (1, fs::metadata(file)?.blocks());
    let seen = released(&State::read(&device)?)?;
    ensure!(
        seen == expected,
        "released are {seen:?} and not {expected:?}"
    );
    ensure!(polls(&device)?.is_empty(), "still polls after the read");
    Ok(())
}

fn released_is_what_turns_out_to_be_stale(ctx: &Context) -> Result<()> {
    let server = Server::new(ctx)?;
    server.put("file", &pattern(33, 5 * BLOCK))?;
    let device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("file", &pattern(33, 5 * BLOCK))?;
    client.unmount()?;
    State::read(&device)?;
    let file = stored_files()?.pop().context("nothing is stored")?;
    let expected = (1, fs::metadata(file)?.blocks());
    server.change("file", &pattern(34, 3 * BLOCK))?;
    let client = Client::mount(ctx)?;
    let open = client.open("file")?;
    client.check_cold("file", &pattern(34, 3 * BLOCK))?;
    let seen = released(&State::read(&device)?)?;
    drop(open);
    client.unmount()?;
    ensure!(
        seen == expected,
        "released are {seen:?} and not {expected:?}"
    );
    Ok(())
}

fn released_is_no_file_that_got_no_name(ctx: &Context) -> Result<()> {
    let server = Server::new(ctx)?;
    for name in ["file", "other"] {
        server.put(name, &pattern(35, 5 * BLOCK))?;
    }
    let device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("file", &pattern(35, 5 * BLOCK))?;
    client.check("other", &pattern(35, 5 * BLOCK))?;
    // What cannot be unlinked takes the place of one of them.
    fs::create_dir(client.cache_file("file")?)?;
    client.unmount()?;
    let seen = released(&State::read(&device)?)?;
    ensure!(
        seen.0 == 1,
        "released are {seen:?}, of which one has no name"
    );
    Ok(())
}
