// SPDX-License-Identifier: GPL-2.0
//! What the device says in the original mode: the state line, poll, what was released; and the
//! limits of space that it tells of.

use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use cachefiles_protocol::Errno;
use rustix::event::PollFlags;

use super::filler::Filler;
use super::world;
use super::world::{
    BLOCK, Client, Counts, Server, State, bind, polls, polls_within, same, stored_files,
};
use crate::context::{Context, expect_errno};
use crate::image::pattern;
use crate::registry::{Test, test};
use crate::sys;
use crate::task::{Task, soon};

pub const TESTS: &[Test] = &[
    test!(
        state_line_tells_the_limits_in_files_and_blocks,
        "cachefilesd parses the line by name and number"
    ),
    test!(
        state_is_nothing_before_bind_and_needs_a_buffer_that_holds_it,
        "reads of the state are refused as they were"
    ),
    test!(
        released_files_and_blocks_are_counted_until_they_are_read,
        "cachefilesd wakes up when there is something to cull"
    ),
    test!(
        culling_begins_below_bcull_and_ends_at_brun,
        "blocks run short, and no longer do"
    ),
    test!(
        culling_begins_below_fcull_and_ends_at_frun,
        "inodes run short, and no longer do"
    ),
    test!(
        poll_wakes_up_when_culling_becomes_necessary,
        "cachefilesd sleeps until then"
    ),
    test!(
        below_bstop_no_new_file_is_cached,
        "a full disk is left alone; readers do not see it"
    ),
    test!(
        below_fstop_no_new_file_is_cached,
        "a disk without inodes is left alone; readers do not see it"
    ),
    test!(
        below_bstop_no_cached_file_grows,
        "a full disk is left alone; readers do not see it"
    ),
    test!(
        commands_of_the_on_demand_mode_are_refused_with_eopnotsupp,
        "the two modes are not confused"
    ),
];

fn state_line_tells_the_limits_in_files_and_blocks(ctx: &Context) -> Result<()> {
    world::skip_if_mixed(world::NO_STATE)?;
    let limits = [
        "frun 70%",
        "fcull 60%",
        "fstop 50%",
        "brun 33%",
        "bcull 22%",
        "bstop 11%",
    ];
    let device = bind(ctx, &limits)?;
    let stats = rustix::fs::statvfs(sys::CACHE)?;
    let (files, blocks) = (stats.f_files / 100, stats.f_blocks / 100);
    let expected = format!(
        "cull=0 frun={:x} fcull={:x} fstop={:x} brun={:x} bcull={:x} bstop={:x} freleased=0 breleased=0",
        files * 70,
        files * 60,
        files * 50,
        blocks * 33,
        blocks * 22,
        blocks * 11
    );
    let mut buffer = [0; 256];
    let length = rustix::io::read(&device, &mut buffer)?;
    let seen = std::str::from_utf8(&buffer[..length])?;
    ensure!(
        seen == expected,
        "the state is {seen:?}, expected {expected:?}"
    );
    Ok(())
}

fn state_is_nothing_before_bind_and_needs_a_buffer_that_holds_it(ctx: &Context) -> Result<()> {
    world::skip_if_mixed(world::NO_STATE)?;
    let mut buffer = [0; 256];
    {
        let device = ctx.device()?;
        let length = rustix::io::read(&device, &mut buffer)?;
        ensure!(length == 0, "read {length} bytes before bind");
        ensure!(polls(&device)?.is_empty(), "polls before bind");
    }
    let device = bind(ctx, &[])?;
    let length = rustix::io::read(&device, &mut buffer)?;
    for size in [0, 1, length - 1] {
        let result = rustix::io::read(&device, &mut buffer[..size]);
        expect_errno(result, Errno::MSGSIZE, &format!("a read of {size} bytes"))?;
    }
    let result = crate::raw::read_to_address(&device, 8, buffer.len());
    expect_errno(result, Errno::FAULT, "a read to a bad address")?;
    let exact = rustix::io::read(&device, &mut buffer[..length])?;
    ensure!(exact == length, "{exact} bytes instead of {length}");
    ensure!(polls(&device)?.is_empty(), "nothing happened, and it polls");
    Ok(())
}

fn released_files_and_blocks_are_counted_until_they_are_read(ctx: &Context) -> Result<()> {
    world::skip_if_mixed(world::NO_STATE)?;
    let server = Server::new(ctx)?;
    for (name, size) in [("one", 1), ("two", 5000), ("three", 100_000)] {
        server.put(name, &pattern(1, size))?;
    }
    let device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    for (name, size) in [("one", 1), ("two", 5000), ("three", 100_000)] {
        client.check(name, &pattern(1, size))?;
    }
    client.sync()?;
    ensure!(
        !polls(&device)?.contains(PollFlags::IN),
        "files in use were released"
    );
    client.unmount()?;
    let events = polls_within(&device, PollFlags::IN, soon())?;
    ensure!(
        events == PollFlags::IN,
        "files were let go, and it polls as {events:?}"
    );
    let state = State::read(&device)?;
    let mut blocks = 0;
    for file in stored_files()? {
        blocks += fs::metadata(file)?.blocks();
    }
    ensure!(blocks > 100_000 / 512, "only {blocks} blocks are stored");
    let seen = (state.get("freleased")?, state.get("breleased")?);
    ensure!(
        seen == (3, blocks),
        "released are {seen:?} instead of 3 files and {blocks} blocks"
    );
    ensure!(polls(&device)?.is_empty(), "still polls after the read");
    let state = State::read(&device)?;
    let again = (state.get("freleased")?, state.get("breleased")?);
    ensure!(again == (0, 0), "told again: {again:?}");
    Ok(())
}

fn culling_begins_below_bcull_and_ends_at_brun(ctx: &Context) -> Result<()> {
    let filler = Filler::new()?;
    let device = bind(ctx, &["brun 60%", "bcull 40%", "bstop 10%"])?;
    for (percent, culls) in [
        (50, false),
        (30, true),
        (50, true),
        (70, false),
        (50, false),
    ] {
        filler.leave(percent)?;
        let state = State::read(&device)?;
        ensure!(
            state.culls()? == culls,
            "{state:?} with {percent} % available"
        );
        let expected = if culls {
            PollFlags::OUT
        } else {
            PollFlags::empty()
        };
        ensure!(
            polls(&device)? == expected,
            "polls as {:?} with {percent} % available",
            polls(&device)?
        );
    }
    Ok(())
}

fn culling_begins_below_fcull_and_ends_at_frun(ctx: &Context) -> Result<()> {
    let stats = rustix::fs::statvfs(sys::CACHE)?;
    ensure!(
        stats.f_ffree > stats.f_files / 1000 * 995,
        "the disk is not empty"
    );
    let device = bind(ctx, &["frun 99%", "fcull 98%", "fstop 1%"])?;
    let dir = Path::new(sys::CACHE).join("many");
    fs::create_dir(&dir)?;
    let percent = usize::try_from(stats.f_files / 100)?;
    let make = |from, to| make_files(&dir, from..to);
    make(0, percent * 3 / 2)?;
    ensure!(!State::read(&device)?.culls()?, "culls with 98.5 % free");
    make(percent * 3 / 2, percent * 5 / 2)?;
    ensure!(
        State::read(&device)?.culls()?,
        "no culling with 97.5 % free"
    );
    for number in percent * 3 / 2..percent * 5 / 2 {
        fs::remove_file(dir.join(number.to_string()))?;
    }
    ensure!(
        State::read(&device)?.culls()?,
        "culling ended below the limit"
    );
    fs::remove_dir_all(&dir)?;
    ensure!(!State::read(&device)?.culls()?, "culls with all free");
    Ok(())
}

/// Makes files, each with a number as its name.
fn make_files(dir: &Path, numbers: Range<usize>) -> Result<()> {
    for number in numbers {
        fs::File::create(dir.join(number.to_string()))?;
    }
    Ok(())
}

fn below_fstop_no_new_file_is_cached(ctx: &Context) -> Result<()> {
    let data = pattern(1, 3 * BLOCK);
    let server = Server::new(ctx)?;
    server.put("before", &data)?;
    server.put("during", &data)?;
    let device = bind(ctx, &["frun 99%", "fcull 98%", "fstop 97%"])?;
    let client = Client::mount(ctx)?;
    client.check("before", &data)?;
    client.sync()?;
    let dir = Path::new(sys::CACHE).join("many");
    fs::create_dir(&dir)?;
    let files = usize::try_from(rustix::fs::statvfs(sys::CACHE)?.f_files)?;
    make_files(&dir, 0..files / 100 * 7 / 2)?;
    let counts = Counts::now()?;
    client.check("during", &data)?;
    ensure!(
        counts.moved("NoSpace.ncr")? == 1,
        "counted {} refused files",
        counts.moved("NoSpace.ncr")?
    );
    ensure!(State::read(&device)?.culls()?, "no culling");
    let (before, during) = (client.cache_file("before")?, client.cache_file("during")?);
    client.unmount()?;
    // What was there already is kept, and used.
    ensure!(before.exists(), "{} is not there", before.display());
    ensure!(!during.exists(), "{} was stored", during.display());
    let client = Client::mount(ctx)?;
    client.check_warm("before", &data)?;
    client.unmount()
}

fn poll_wakes_up_when_culling_becomes_necessary(ctx: &Context) -> Result<()> {
    world::skip_if_mixed(world::NO_STATE)?;
    let server = Server::new(ctx)?;
    for name in ["first", "file"] {
        server.put(name, &pattern(1, 5000))?;
    }
    let filler = Filler::new()?;
    let device = bind(ctx, &["brun 60%", "bcull 40%", "bstop 10%"])?;
    let client = Client::mount(ctx)?;
    // The directories of the volume are made by the first use.
    client.check("first", &pattern(1, 5000))?;
    client.sync()?;
    // Else it is let go of after ten seconds, which wakes up as well.
    let first = client.open("first")?;
    let poller = device.try_clone()?;
    let task = Task::start("poll", move || {
        polls_within(&poller, PollFlags::IN | PollFlags::OUT, soon())
    });
    filler.leave(30)?;
    // Filling a disk is seen by nobody; the next object is.
    ensure!(!task.is_done(), "polls with nothing happening");
    let file = client.open("file")?;
    client.check("file", &pattern(1, 5000))?;
    let events = task.finish_within(soon() + Duration::from_secs(1))??;
    ensure!(
        events == PollFlags::IN | PollFlags::OUT,
        "wakes up with {events:?}"
    );
    let state = State::read(&device)?;
    ensure!(state.culls()?, "no culling");
    let released = state.get("freleased")?;
    ensure!(released == 0, "{released} files were let go of");
    ensure!(
        polls(&device)? == PollFlags::OUT,
        "polls as {:?} after the read",
        polls(&device)?
    );
    drop((first, file));
    client.unmount()
}

fn below_bstop_no_new_file_is_cached(ctx: &Context) -> Result<()> {
    let server = Server::new(ctx)?;
    for name in ["before", "during", "after"] {
        server.put(name, &pattern(1, 3 * BLOCK))?;
    }
    let filler = Filler::new()?;
    let device = bind(ctx, &["brun 60%", "bcull 40%", "bstop 20%"])?;
    let client = Client::mount(ctx)?;
    client.check("before", &pattern(1, 3 * BLOCK))?;
    client.sync()?;
    filler.leave(10)?;
    let counts = Counts::now()?;
    client.check("during", &pattern(1, 3 * BLOCK))?;
    ensure!(
        counts.moved("NoSpace.ncr")? == 1,
        "counted {} refused files",
        counts.moved("NoSpace.ncr")?
    );
    ensure!(State::read(&device)?.culls()?, "no culling");
    filler.leave(90)?;
    ensure!(!State::read(&device)?.culls()?, "culling goes on");
    client.check("after", &pattern(1, 3 * BLOCK))?;
    let stored = ["before", "during", "after"].map(|name| client.cache_file(name));
    client.unmount()?;
    for (path, expected) in stored.into_iter().zip([true, false, true]) {
        let path = path?;
        ensure!(
            path.exists() == expected,
            "{} is {} there",
            path.display(),
            if expected { "not" } else { "" }
        );
    }
    Ok(())
}

fn below_bstop_no_cached_file_grows(ctx: &Context) -> Result<()> {
    let data = pattern(7, 64 * BLOCK);
    let server = Server::new(ctx)?;
    server.put("file", &data)?;
    let filler = Filler::new()?;
    let device = bind(ctx, &["brun 60%", "bcull 40%", "bstop 20%"])?;
    let client = Client::mount(ctx)?;
    {
        // One page, without reading ahead.
        let file = fs::File::open(client.path("file"))?;
        let mut page = vec![0; BLOCK];
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random)?;
        rustix::io::pread(&file, &mut page, 0)?;
        same(&page, &data[..BLOCK])?;
        client.sync()?;
        filler.leave(10)?;
        let counts = Counts::now()?;
        client.check("file", &data)?;
        client.sync()?;
        ensure!(
            counts.moved("NoSpace.nwr")? > 0,
            "the cache grew on a full disk"
        );
    }
    let path = client.cache_file("file")?;
    client.unmount()?;
    let blocks = fs::metadata(&path)?.blocks() * 512;
    ensure!(
        blocks < data.len() as u64 / 2,
        "{blocks} bytes were stored on a full disk"
    );
    ensure!(State::read(&device)?.culls()?, "no culling");
    filler.leave(90)?;
    let client = Client::mount(ctx)?;
    client.check_cold("file", &data)?;
    client.unmount()?;
    let client = Client::mount(ctx)?;
    client.check_warm("file", &data)?;
    client.unmount()
}

fn commands_of_the_on_demand_mode_are_refused_with_eopnotsupp(ctx: &Context) -> Result<()> {
    world::skip_if_mixed("it has that mode, too")?;
    let device = bind(ctx, &[])?;
    for command in ["copen 1,1", "copen 0,-2", "copen", "restore", "restore x"] {
        expect_errno(device.command(command), Errno::OPNOTSUPP, command)?;
    }
    State::read(&device).map(drop)
}
