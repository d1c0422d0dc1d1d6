// SPDX-License-Identifier: GPL-2.0
//! `async_reads`: readahead does not wait for the daemon.

pub(super) mod ahead;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::Errno;

use self::ahead::{WINDOW, end, holding, most_in_flight, plain, switch_on, want};
use super::failed_reads;
use super::gates::{readers_wait, set};
use super::mount::fill_every;
use crate::actor::Actor;
use crate::context::{Context, expect_io_errno};
use crate::image::{BLOCK, Builder, pattern};
use crate::lz4::{self, compressible};
use crate::registry::{Test, test};
use crate::session::{Mount, Session, blobs_of};
use crate::share::drop_caches;
use crate::sys;
use crate::task::read_in_background;

const NO_PARAMETER: &str = "it has no such parameter, and always waits";

pub const TESTS: &[Test] = &[
    test!(
        readahead_keeps_two_reads_in_flight_with_async_reads,
        "a sequential reader waits for one READ while the next one is on its way"
    )
    .c_skips(NO_PARAMETER)
    .limit(60),
    test!(
        fadvise_does_not_wait_with_async_reads,
        "what is wanted soon is asked for all at once"
    )
    .c_skips(NO_PARAMETER)
    .limit(60),
    test!(
        first_reading_is_right_with_async_reads,
        "no page is shown before its data is there"
    )
    .c_skips(NO_PARAMETER)
    .limit(120),
    test!(
        mounts_share_a_read_with_async_reads,
        "a range that is missing is fetched once, whoever wants it"
    )
    .c_skips(NO_PARAMETER),
    test!(
        answer_without_data_is_no_hang_with_async_reads,
        "who waited with another in vain asks again, and whose own READ was in vain fails"
    )
    .c_skips(NO_PARAMETER),
    test!(
        killed_reader_dies_at_once_with_async_reads,
        "SIGKILL ends a reader though its READ goes on without it"
    )
    .c_skips(NO_PARAMETER)
    .limit(60),
    test!(
        unmount_ends_with_its_silent_daemon_with_async_reads,
        "what nobody waits for holds up nobody longer than the daemon lives"
    )
    .c_skips(NO_PARAMETER),
    test!(
        reader_sees_the_errno_of_cfail_with_async_reads,
        "what readahead loses, the reader asks for itself"
    )
    .c_skips(NO_PARAMETER),
    test!(
        reader_is_told_in_time_with_async_reads,
        "a stuck daemon is an error, and not a hang"
    )
    .c_skips(NO_PARAMETER)
    .limit(60),
    test!(
        reads_without_a_waiter_survive_a_crash_with_async_reads,
        "the next daemon is asked for what nobody waits for, too"
    )
    .c_skips(NO_PARAMETER),
    test!(
        number_of_reads_without_a_waiter_is_bounded,
        "readahead cannot lock all memory while the daemon is silent"
    )
    .c_skips(NO_PARAMETER)
    .limit(60),
    test!(
        read_completed_without_data_fails_in_any_image_with_async_reads,
        "D1: a failed read is told once"
    )
    .c_skips(NO_PARAMETER)
    .limit(240),
    test!(
        reader_that_is_killed_leaves_any_image_readable_with_async_reads,
        "D1: a killed reader's reads are told once"
    )
    .c_skips(NO_PARAMETER)
    .limit(240),
    test!(
        refused_reopening_fails_reads_of_any_image_with_async_reads,
        "D1: what no daemon takes on any more is told once"
    )
    .c_skips(NO_PARAMETER)
    .limit(240),
    test!(
        error_of_the_disk_fails_reads_of_any_image_with_async_reads,
        "D1: an error that shows when the read is begun is told once"
    )
    .c_skips(NO_PARAMETER)
    .limit(240),
    test!(
        closed_device_fails_reads_of_any_image_with_async_reads,
        "D1: what nobody will fetch any more is told once"
    )
    .c_skips(NO_PARAMETER)
    .limit(240),
];

fn readahead_keeps_two_reads_in_flight_with_async_reads(ctx: &Context) -> Result<()> {
    for (value, expected) in [("0", 1), ("1", 2)] {
        set("async_reads", value)?;
        let image = plain(8);
        let (mut session, mount) = holding(ctx, &image)?;
        let most = most_in_flight(&mut session, &mount, &image.files["file"])?;
        ensure!(
            most == expected,
            "async_reads={value}: {most} READs at a time"
        );
        end(session, mount, &image)?;
        sys::empty_cache()?;
    }
    Ok(())
}

fn fadvise_does_not_wait_with_async_reads(ctx: &Context) -> Result<()> {
    readers_wait()?;
    let image = plain(8);
    let (mut session, mount) = holding(ctx, &image)?;
    let task = want(&mount.file("file"));
    session.pump_until("a READ", |session| !session.held.is_empty())?;
    session.pump_for(Duration::from_millis(300))?;
    ensure!(
        !task.is_done(),
        "fadvise does not wait without the parameter"
    );
    ensure!(session.held.len() == 1, "{} READs", session.held.len());
    while !task.is_done() {
        session.answer_held_backwards()?;
        session.pump_until("a READ or the end", |session| {
            task.is_done() || !session.held.is_empty()
        })?;
    }
    task.finish()??;
    end(session, mount, &image)?;
    sys::empty_cache()?;

    switch_on()?;
    let (mut session, mount) = holding(ctx, &image)?;
    let task = want(&mount.file("file"));
    session.pump_until("fadvise to return, and all READs", |session| {
        task.is_done() && session.held.len() == 8
    })?;
    task.finish()??;
    let reader = read_in_background(&mount.file("file"));
    session.pump_for(Duration::from_millis(100))?;
    ensure!(
        !reader.is_done(),
        "pages are shown before their data is there"
    );
    session.answer_held_backwards()?;
    session.pump_until("the reader to end", |_| reader.is_done())?;
    ensure!(reader.finish()?? == image.files["file"], "wrong content");
    ensure!(session.log.late == 0, "an answer was late");
    end(session, mount, &image)
}

/// With nothing of it, or every `step`th block of it in the cache before.
fn first_reading_is_right_with_async_reads(ctx: &Context) -> Result<()> {
    switch_on()?;
    let compressed = Builder::new()
        .device("blob")
        .compressed_on(1, "file", compressible(3, 40 * lz4::SPAN * BLOCK))
        .build();
    for (what, image) in [("plain", plain(6)), ("compressed", compressed)] {
        for step in [None, Some(2), Some(3), Some(7)] {
            let read = || -> Result<usize> {
                let (mut session, mount) = holding(ctx, &image)?;
                if let Some(step) = step {
                    fill_every(&mut session, b"blob", step)?;
                }
                session.hold_reads = None;
                session.log.reads.clear();
                let task = want(&mount.file("file"));
                session.pump_until("fadvise", |_| task.is_done())?;
                task.finish()??;
                // Each window is in flight as the file is read.
                session.check_files(&mount, &image)?;
                let reads = session.log.reads.len();
                session.unmount(mount)?;
                session.settle()?;
                Ok(reads)
            };
            let reads = read().with_context(|| format!("{what}, cached {step:?}"))?;
            let blocks = image.blobs[0].1.len() / BLOCK;
            let holes = step.map_or(1, |step| (blocks - 1) / step);
            ensure!(
                reads >= holes,
                "{what}, {step:?}: {reads} READs, {holes} holes"
            );
            sys::empty_cache()?;
        }
    }
    Ok(())
}

/// Two mounts of one domain, with a file of two windows on a blob that they share.
fn two_mounts(ctx: &Context) -> Result<(Session, [Mount; 2], Vec<u8>)> {
    let image = plain(1);
    let mut session = ctx.session("one", &image)?;
    session.blobs.extend(blobs_of("two", &image));
    let mut mount = |fsid: &str| -> Result<Mount> {
        let options = format!("domain_id=domain,fsid={fsid}");
        let mount = session.mount(&ctx.mount_point(fsid), options)?;
        session.look_up(&mount.file("file"))?;
        Ok(mount)
    };
    let mounts = [mount("one")?, mount("two")?];
    session.hold_reads = Some(Box::new(|key, _| key == b"blob"));
    Ok((session, mounts, image.files["file"].clone()))
}

/// Both mounts want the same, and wait for one READ, which is held.
fn one_read_for_two(session: &mut Session, mounts: &[Mount; 2]) -> Result<()> {
    for mount in mounts {
        let task = want(&mount.file("file"));
        session.pump_until("fadvise", |session| {
            task.is_done() && !session.held.is_empty()
        })?;
        task.finish()??;
    }
    session.pump_for(Duration::from_millis(100))?;
    ensure!(session.held.len() == 1, "{} READs", session.held.len());
    Ok(())
}

fn take_down(mut session: Session, mounts: [Mount; 2], data: &[u8]) -> Result<()> {
    session.hold_reads = None;
    for mount in &mounts {
        let seen = session.read_file(&mount.file("file"))?;
        ensure!(seen == data, "wrong content");
    }
    for mount in mounts {
        session.unmount(mount)?;
    }
    session.settle()
}

fn mounts_share_a_read_with_async_reads(ctx: &Context) -> Result<()> {
    switch_on()?;
    let (mut session, mounts, data) = two_mounts(ctx)?;
    one_read_for_two(&mut session, &mounts)?;
    session.answer_held_backwards()?;
    session.log.reads.clear();
    for mount in &mounts {
        let seen = session.read_file(&mount.file("file"))?;
        ensure!(seen == data, "wrong content");
    }
    ensure!(
        session.log.reads.is_empty(),
        "asked again for what is there"
    );
    take_down(session, mounts, &data)
}

fn answer_without_data_is_no_hang_with_async_reads(ctx: &Context) -> Result<()> {
    switch_on()?;
    let (mut session, mounts, data) = two_mounts(ctx)?;
    one_read_for_two(&mut session, &mounts)?;
    let read = session.held.remove(0);
    session.log.reads.clear();
    session
        .object(read.object_id)?
        .fd
        .complete_read(read.msg_id)?;
    session.pump_until("the second one to ask", |session| !session.held.is_empty())?;
    session.pump_for(Duration::from_millis(100))?;
    ensure!(
        session.log.reads.len() == 1,
        "{} READs",
        session.log.reads.len()
    );
    let again = session.held.remove(0);
    ensure!(
        (again.off, again.len) == (read.off, read.len),
        "asked for something else"
    );
    session
        .object(again.object_id)?
        .fd
        .complete_read(again.msg_id)?;
    session.pump_for(Duration::from_millis(100))?;
    ensure!(session.held.is_empty(), "asked again for what was its own");
    take_down(session, mounts, &data)
}

fn killed_reader_dies_at_once_with_async_reads(ctx: &Context) -> Result<()> {
    switch_on()?;
    let image = plain(4);
    let (mut session, mount) = holding(ctx, &image)?;
    for _ in 0..2 {
        let reader = Actor::reader(&mount.file("file"))?;
        session.pump_until("the reader to wait", |session| {
            !session.held.is_empty() && reader.waits_for(&mount.file("file"))
        })?;
        reader.kill()?;
    }
    let other = read_in_background(&mount.file("file"));
    session.pump_for(Duration::from_millis(100))?;
    ensure!(!other.is_done(), "a reader did not wait");
    ensure!(session.held.len() == 1, "{} READs", session.held.len());
    session.hold_reads = None;
    session.answer_held_backwards()?;
    ensure!(session.log.late == 0, "the READ went with its reader");
    session.pump_until("the reader to end", |_| other.is_done())?;
    ensure!(other.finish()?? == image.files["file"], "wrong content");
    end(session, mount, &image)
}

fn unmount_ends_with_its_silent_daemon_with_async_reads(ctx: &Context) -> Result<()> {
    switch_on()?;
    let image = plain(4);
    let (mut session, mount) = holding(ctx, &image)?;
    let task = want(&mount.file("file"));
    session.pump_until("all READs", |session| {
        task.is_done() && session.held.len() == 4
    })?;
    task.finish()??;
    let unmount = mount.unmount();
    session.pump_for(Duration::from_millis(200))?;
    ensure!(
        !unmount.is_done(),
        "unmounted with pages that are being read"
    );
    drop(session);
    unmount.finish()??;
    crate::share::wait_for_no_cookies()
}

fn reader_sees_the_errno_of_cfail_with_async_reads(ctx: &Context) -> Result<()> {
    switch_on()?;
    let image = plain(2);
    let (mut session, mount) = holding(ctx, &image)?;
    let reader = read_in_background(&mount.file("file"));
    while !reader.is_done() {
        session.pump_until("a READ or the end", |session| {
            reader.is_done() || !session.held.is_empty()
        })?;
        for read in std::mem::take(&mut session.held) {
            session.device.cfail(read.msg_id, Errno::NODATA)?;
        }
    }
    let seen = reader.finish()?;
    // What is told of readahead is EIO for this one: the reader has asked for itself.
    expect_io_errno(seen, Errno::NODATA, "the reader")?;
    end(session, mount, &image)
}

fn reader_is_told_in_time_with_async_reads(ctx: &Context) -> Result<()> {
    switch_on()?;
    let image = plain(2);
    let (mut session, mount) = holding(ctx, &image)?;
    session.device.set_timeout(1)?;
    let reader = read_in_background(&mount.file("file"));
    session.pump_until("the reader to end", |_| reader.is_done())?;
    expect_io_errno(reader.finish()?, Errno::TIMEDOUT, "the reader")?;
    session.held.clear();
    session.device.set_timeout(0)?;
    end(session, mount, &image)
}

fn reads_without_a_waiter_survive_a_crash_with_async_reads(ctx: &Context) -> Result<()> {
    switch_on()?;
    let image = plain(4);
    let (mut session, mount) = holding(ctx, &image)?;
    let task = want(&mount.file("file"));
    session.pump_until("all READs", |session| {
        task.is_done() && session.held.len() == 4
    })?;
    task.finish()??;
    session.crash();
    session.log.reads.clear();
    session.hold_reads = None;
    session.pump_until("all READs again", |session| session.log.reads.len() == 4)?;
    let reader = read_in_background(&mount.file("file"));
    session.pump_until("the reader to end", |_| reader.is_done())?;
    ensure!(reader.finish()?? == image.files["file"], "wrong content");
    ensure!(session.log.reads.len() == 4, "asked again for what came");
    end(session, mount, &image)
}

fn number_of_reads_without_a_waiter_is_bounded(ctx: &Context) -> Result<()> {
    switch_on()?;
    // The content does not matter: most of it is never read.
    let windows = 260;
    let data = pattern(1, WINDOW);
    let image = Builder::new()
        .device("blob")
        .chunked("file", data.repeat(windows), WINDOW / BLOCK, &[Some(1)])
        .build();
    let (mut session, mount) = holding(ctx, &image)?;
    let task = want(&mount.file("file"));
    session.pump_until("256 READs, and one that is waited for", |session| {
        session.held.len() == 257
    })?;
    session.pump_for(Duration::from_millis(300))?;
    ensure!(!task.is_done(), "there is no bound");
    ensure!(session.held.len() == 257, "{} READs", session.held.len());
    session.hold_reads = None;
    // As if there was no data: nobody reads it.
    for read in std::mem::take(&mut session.held) {
        session.device.cfail(read.msg_id, Errno::IO)?;
    }
    session.pump_until("fadvise", |_| task.is_done())?;
    task.finish()??;
    drop_caches()?;
    session.unmount(mount)?;
    session.settle()
}

fn read_completed_without_data_fails_in_any_image_with_async_reads(ctx: &Context) -> Result<()> {
    switch_on()?;
    failed_reads::read_completed_without_data_fails_in_any_image(ctx)
}

fn reader_that_is_killed_leaves_any_image_readable_with_async_reads(ctx: &Context) -> Result<()> {
    switch_on()?;
    failed_reads::killed_reader_leaves_its_reads_to_the_daemon(ctx)
}

fn refused_reopening_fails_reads_of_any_image_with_async_reads(ctx: &Context) -> Result<()> {
    switch_on()?;
    failed_reads::refused_reopening_fails_reads_of_any_image(ctx)
}

fn error_of_the_disk_fails_reads_of_any_image_with_async_reads(ctx: &Context) -> Result<()> {
    switch_on()?;
    failed_reads::error_of_the_disk_fails_reads_of_any_image(ctx)
}

fn closed_device_fails_reads_of_any_image_with_async_reads(ctx: &Context) -> Result<()> {
    switch_on()?;
    failed_reads::closed_device_fails_reads_of_any_image(ctx)
}
