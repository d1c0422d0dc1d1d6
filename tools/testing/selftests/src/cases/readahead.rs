// SPDX-License-Identifier: GPL-2.0
//! `readahead`: the daemon is asked ahead of those who read in sequence.

pub(super) mod endings;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{Errno, Read};
use rustix::fs::{Advice, fadvise};

use super::async_reads::ahead::{FSID, WINDOW, end, holding, plain};
use super::gates::{is_off_and_up_to, readers_wait, set};
use super::mount::fill_every;
use super::original::filler::Filler;
use super::room::OTHERS;
use crate::context::{Context, TAG, expect_errno};
use crate::image::{BLOCK, Builder, Image};
use crate::lz4::{self, compressible};
use crate::registry::{Test, test};
use crate::session::{Mount, Session, blobs_of};
use crate::share::bind_device;
use crate::sys;
use crate::task::{ReadTask, Task, read_in_background, soon};

pub(super) const NO_COMMAND: &str = "there is no `readahead`";

pub const TESTS: &[Test] = &[
    test!(
        readahead_keeps_reads_in_flight_ahead_of_a_sequential_reader,
        "who reads in sequence waits for one round trip, and not for each"
    )
    .c_fails(NO_COMMAND)
    .limit(60),
    test!(
        readahead_asks_for_no_byte_twice,
        "two readers of one blob share what is asked for ahead of either"
    )
    .c_fails(NO_COMMAND)
    .limit(60),
    test!(
        readahead_is_nothing_to_random_readers,
        "who reads here and there is not made to wait for more than that"
    )
    .c_fails(NO_COMMAND)
    .limit(60),
    test!(
        readahead_ends_with_the_object,
        "what the daemon has said it has not is not asked for ahead"
    )
    .c_fails(NO_COMMAND)
    .limit(60),
    test!(
        readahead_takes_no_room_that_is_short,
        "what nobody needs yet makes no cache full"
    )
    .c_fails(NO_COMMAND)
    .not_on(OTHERS)
    .limit(60),
    test!(
        first_reading_is_right_with_readahead,
        "no page is shown before its data is there"
    )
    .c_fails(NO_COMMAND)
    .limit(240),
    test!(
        readahead_is_up_to_16_mib_and_for_the_on_demand_mode,
        "a number is what was meant, or is refused"
    )
    .c_fails(NO_COMMAND),
    test!(
        readahead_is_a_parameter_too,
        "for daemons that nobody changes"
    )
    .c_fails(NO_COMMAND)
    .limit(60),
];

/// What is asked for ahead, in KiB, and in windows of the kernel's own readahead.
pub(super) const KIB: u32 = 1024;
pub(super) const AHEAD: usize = (KIB as usize) << 10;
pub(super) const WINDOWS: usize = AHEAD / WINDOW;

/// A mount of which the metadata is there, with readers who wait, READs of data held, and
/// `readahead` on.
pub(super) fn reading_ahead(ctx: &Context, image: &Image) -> Result<(Session, Mount)> {
    let (session, mount) = holding(ctx, image)?;
    session.device.set_readahead(KIB)?;
    readers_wait()?;
    Ok((session, mount))
}

/// Serves until the readers have ended, oldest READ first, each after a while in which whatever is
/// to be asked for is, and no byte twice at a time. Returns how many READs there were at a time at
/// most.
fn serve(session: &mut Session, readers: &[ReadTask]) -> Result<usize> {
    let is_done = || readers.iter().all(ReadTask::is_done);
    let mut most = 0;
    while !is_done() {
        session.pump_for(Duration::from_millis(30))?;
        most = most.max(session.held.len());
        check_apart(&session.held)?;
        session.pump_until("a READ, or the end", |session| {
            is_done() || !session.held.is_empty()
        })?;
        if !session.held.is_empty() {
            let read = session.held.remove(0);
            session.answer_read(&read)?;
        }
    }
    Ok(most)
}

fn end_of(read: &Read) -> u64 {
    read.off + read.len
}

/// No byte is asked for by two READs at a time.
fn check_apart(reads: &[Read]) -> Result<()> {
    let mut reads: Vec<_> = reads.iter().map(|read| (read.off, end_of(read))).collect();
    reads.sort_unstable();
    let is_twice = reads.windows(2).any(|pair| pair[1].0 < pair[0].1);
    ensure!(!is_twice, "in flight at a time: {reads:?}");
    Ok(())
}

/// Every byte was asked for, and nothing else was.
///
/// A READ may come twice, one after the other: it is answered just after a reader has looked for
/// data, and before that asks for it.
fn check_all(reads: &[Read], bytes: usize) -> Result<()> {
    let mut reads: Vec<_> = reads.iter().map(|read| (read.off, end_of(read))).collect();
    reads.sort_unstable();
    let mut at = 0;
    for (start, end) in reads {
        ensure!(start <= at, "asked for {start} when it was at {at}");
        at = at.max(end);
    }
    ensure!(at == bytes as u64, "asked for {at} bytes of {bytes}");
    Ok(())
}

fn readahead_keeps_reads_in_flight_ahead_of_a_sequential_reader(ctx: &Context) -> Result<()> {
    let image = plain(24);
    for kib in [0, KIB] {
        let (mut session, mount) = reading_ahead(ctx, &image)?;
        session.device.set_readahead(kib)?;
        session.log.reads.clear();
        let reader = [read_in_background(&mount.file("file"))];
        let most = serve(&mut session, &reader)?;
        let [reader] = reader;
        ensure!(reader.finish()?? == image.files["file"], "wrong content");
        // The one that it waits for, and those ahead.
        let expected = if kib == 0 { 1 } else { 1 + WINDOWS };
        ensure!(most == expected, "{kib} KiB: {most} READs at a time");
        check_all(&session.log.reads, 24 * WINDOW)?;
        ensure!(session.log.late == 0, "an answer was late");
        end(session, mount, &image)?;
        sys::empty_cache()?;
    }
    Ok(())
}

fn readahead_asks_for_no_byte_twice(ctx: &Context) -> Result<()> {
    let image = plain(24);
    let mut session = ctx.session("one", &image)?;
    session.blobs.extend(blobs_of("two", &image));
    session.device.set_readahead(KIB)?;
    readers_wait()?;
    let mut mounts = Vec::new();
    for fsid in ["one", "two"] {
        let options = format!("domain_id=domain,fsid={fsid}");
        let mount = session.mount(&ctx.mount_point(fsid), options)?;
        session.look_up(&mount.file("file"))?;
        mounts.push(mount);
    }
    session.hold_reads = Some(Box::new(|key, _| key == b"blob"));
    session.log.reads.clear();
    let readers: Vec<_> = mounts
        .iter()
        .map(|mount| read_in_background(&mount.file("file")))
        .collect();
    serve(&mut session, &readers)?;
    for reader in readers {
        ensure!(reader.finish()?? == image.files["file"], "wrong content");
    }
    check_all(&session.log.reads, 24 * WINDOW)?;
    session.hold_reads = None;
    for mount in mounts {
        session.unmount(mount)?;
    }
    session.settle()
}

fn readahead_is_nothing_to_random_readers(ctx: &Context) -> Result<()> {
    let image = plain(24);
    let (mut session, mount) = reading_ahead(ctx, &image)?;
    session.hold_reads = None;
    session.log.reads.clear();
    let (path, expected) = (mount.file("file"), image.files["file"].clone());
    let pages = expected.len() / BLOCK;
    let reads = 300;
    let reader = Task::start("reading at random", move || -> Result<()> {
        let file = File::open(path)?;
        fadvise(&file, 0, None, Advice::Random)?;
        for number in 0..reads {
            let page = number * 557 % pages;
            let mut data = [0; BLOCK];
            file.read_exact_at(&mut data, (page * BLOCK) as u64)?;
            ensure!(data == expected[page * BLOCK..][..BLOCK], "wrong content");
        }
        Ok(())
    });
    session.pump_until("the reader to end", |_| reader.is_done())?;
    reader.finish()??;
    let bytes: u64 = session.log.reads.iter().map(|read| read.len).sum();
    ensure!(
        bytes == (reads * BLOCK) as u64,
        "{bytes} bytes for {reads} pages"
    );
    end(session, mount, &image)
}

fn readahead_ends_with_the_object(ctx: &Context) -> Result<()> {
    let image = plain(24);
    // In the middle of a page, and of what would be asked for ahead.
    let size = (6 * WINDOW + BLOCK + 1) as u64;
    let mut session = ctx.session(FSID, &image)?;
    session.device.set_readahead(KIB)?;
    readers_wait()?;
    session.sizes.insert(b"blob".to_vec(), size);
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.look_up(&mount.file("file"))?;
    session.hold_data(FSID, &image);
    session.log.reads.clear();
    let reader = read_in_background(&mount.file("file"));
    let farthest = |session: &Session| session.log.reads.iter().map(end_of).max();
    while farthest(&session) < Some((6 * WINDOW + BLOCK) as u64) {
        session.pump_until("a READ", |session| !session.held.is_empty())?;
        session.pump_for(Duration::from_millis(50))?;
        let read = session.held.remove(0);
        session.answer_read(&read)?;
        ensure!(read.off < size, "asked for nothing up to the end");
    }
    session.pump_for(Duration::from_millis(200))?;
    let farthest = farthest(&session);
    ensure!(farthest <= Some(size), "asked up to {farthest:?} of {size}");
    session.answer_held_backwards()?;
    // What the image refers to behind the size is read as it is asked for.
    let mut most = 0;
    while !reader.is_done() {
        session.pump_for(Duration::from_millis(20))?;
        most = most.max(session.held.len());
        check_apart(&session.held)?;
        session.answer_held_backwards()?;
    }
    ensure!(most == 1, "{most} READs at a time behind the size");
    ensure!(reader.finish()?? == image.files["file"], "wrong content");
    session.hold_reads = None;
    session.unmount(mount)?;
    session.settle()
}

fn readahead_takes_no_room_that_is_short(ctx: &Context) -> Result<()> {
    let image = plain(12);
    let device = ctx.device()?;
    for limit in ["brun 60%", "bcull 40%", "bstop 5%"] {
        device.command(limit).context(limit)?;
    }
    device.set_readahead(KIB)?;
    device.bind_ondemand(sys::CACHE.as_ref(), Some(TAG))?;
    readers_wait()?;
    let mut session = Session::new(device.into(), blobs_of(FSID, &image));
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.look_up(&mount.file("file"))?;
    session.hold_data(FSID, &image);
    session.log.reads.clear();
    let filler = Filler::new()?;
    // So much that the reader's own READs fit, and not what would be ahead of them.
    filler.leave_blocks(rustix::fs::statvfs(sys::CACHE)?.f_blocks * 2 / 5 + 8)?;
    let reader = [read_in_background(&mount.file("file"))];
    let most = serve(&mut session, &reader)?;
    let [reader] = reader;
    ensure!(reader.finish()?? == image.files["file"], "wrong content");
    ensure!(most == 1, "{most} READs at a time");
    drop(filler);
    end(session, mount, &image)
}

/// With nothing of it, or every `step`th block of it in the cache before.
fn first_reading_is_right_with_readahead(ctx: &Context) -> Result<()> {
    let compressed = Builder::new()
        .device("blob")
        .compressed_on(1, "file", compressible(3, 40 * lz4::SPAN * BLOCK))
        .build();
    for is_async in ["0", "1"] {
        for (what, image) in [("plain", plain(6)), ("compressed", compressed.clone())] {
            for step in [None, Some(2), Some(7)] {
                let read = || -> Result<()> {
                    let (mut session, mount) = reading_ahead(ctx, &image)?;
                    set("async_reads", is_async)?;
                    if let Some(step) = step {
                        fill_every(&mut session, b"blob", step)?;
                    }
                    // Backwards, so that what is ahead is there before what is waited for.
                    let reader = read_in_background(&mount.file("file"));
                    while !reader.is_done() {
                        session.pump_for(Duration::from_millis(10))?;
                        session.answer_held_backwards()?;
                    }
                    ensure!(reader.finish()?? == image.files["file"], "wrong content");
                    end(session, mount, &image)
                };
                read().with_context(|| format!("{what}, cached {step:?}, async {is_async}"))?;
                sys::empty_cache()?;
            }
        }
    }
    Ok(())
}

fn readahead_is_up_to_16_mib_and_for_the_on_demand_mode(ctx: &Context) -> Result<()> {
    let device = ctx.device()?;
    for bad in ["", " -1", " 16385", " x", " 5k", " 1024 KiB"] {
        let command = format!("readahead{bad}");
        expect_errno(device.command(&command), Errno::INVAL, &command)?;
    }
    for good in [0, 1, 16_384] {
        device.set_readahead(good)?;
    }
    // As with `timeout`, it is nothing to the original mode.
    bind_device(&device, sys::CACHE.as_ref(), TAG)?;
    expect_errno(
        device.set_readahead(1),
        Errno::OPNOTSUPP,
        "the original mode",
    )?;
    drop(device);
    sys::wait_until_unused(soon())
}

fn readahead_is_a_parameter_too(ctx: &Context) -> Result<()> {
    is_off_and_up_to("readahead", 16_384)?;
    let image = plain(12);
    // What the parameter says, and what the command says before it.
    for (parameter, command, expected) in [(KIB, None, true), (KIB, Some(0), false)] {
        set("readahead", &parameter.to_string())?;
        let (mut session, mount) = holding(ctx, &image)?;
        readers_wait()?;
        if let Some(kib) = command {
            session.device.set_readahead(kib)?;
        }
        let reader = [read_in_background(&mount.file("file"))];
        let most = serve(&mut session, &reader)?;
        let [reader] = reader;
        ensure!(reader.finish()?? == image.files["file"], "wrong content");
        ensure!(
            (most > 1) == expected,
            "{command:?}: {most} READs at a time"
        );
        end(session, mount, &image)?;
        sys::empty_cache()?;
    }
    set("readahead", "0")
}
