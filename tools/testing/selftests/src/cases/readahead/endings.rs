// SPDX-License-Identifier: GPL-2.0
//! What becomes of READs that nobody waits for.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{Errno, Read};
use rustix::fs::{Advice, fadvise};

use super::super::async_reads::ahead::{WINDOW, end, plain};
use super::{NO_COMMAND, reading_ahead};
use crate::actor::Actor;
use crate::context::{Context, expect_errno, expect_io_errno};
use crate::image::{BLOCK, Image};
use crate::registry::{Skip, Test, test};
use crate::session::{Log, Mount, Session};
use crate::sys;
use crate::task::{ReadTask, Task, module_waits_in_a_worker, read_in_background, soon};

pub const TESTS: &[Test] = &[
    test!(
        killed_reader_leaves_what_is_asked_for_ahead,
        "SIGKILL ends a reader, and what is on its way is for the next one"
    )
    .c_fails(NO_COMMAND)
    .limit(60),
    test!(
        failed_read_ahead_is_asked_for_again_by_its_reader,
        "nobody gets an error for what it has not asked for"
    )
    .c_fails(NO_COMMAND),
    test!(
        reads_ahead_survive_a_crash,
        "the next daemon is asked for what is on its way, restore or not"
    )
    .c_fails(NO_COMMAND)
    .limit(60),
    test!(
        crash_with_reads_ahead_alone_has_nothing_opened,
        "the next daemon is not asked for what nobody wants"
    )
    .c_fails(NO_COMMAND)
    .limit(60),
    test!(
        read_ahead_has_its_time_from_when_it_is_waited_for,
        "who comes late gets no error for what has waited before"
    )
    .c_fails(NO_COMMAND)
    .limit(240),
    test!(
        late_read_ahead_ends_as_any_other,
        "a stuck daemon is an error, and not a hang"
    )
    .c_fails(NO_COMMAND)
    .limit(60),
    test!(
        unmount_ends_with_reads_ahead_unanswered,
        "what nobody reads any more holds up nobody"
    )
    .c_fails(NO_COMMAND)
    .limit(60),
    test!(
        unmount_takes_back_what_is_asked_for_ahead,
        "a daemon is not at what nobody wants, when there is a CLOSE to read"
    )
    .c_fails(NO_COMMAND)
    .limit(60),
    test!(
        closed_device_ends_reads_ahead,
        "a daemon that ends leaves nothing behind"
    )
    .c_fails(NO_COMMAND)
    .limit(60),
];

/// The first window is there, and all that is to be asked for behind it is on its way. The second
/// one is what the reader waits for, and comes first.
fn in_flight(session: &mut Session) -> Result<Read> {
    session.pump_until("the first READ", |session| session.held.len() == 1)?;
    session.answer_held_backwards()?;
    session.log.reads.clear();
    session.pump_until("READs ahead", |session| session.held.len() > 1)?;
    session.pump_for(Duration::from_millis(100))?;
    let own = session.held[0];
    ensure!(own.off == WINDOW as u64, "the first one is at {}", own.off);
    Ok(own)
}

/// A reader that waits, and READs ahead of it that are held.
pub fn with_reader(ctx: &Context, image: &Image) -> Result<(Session, Mount, ReadTask)> {
    let (mut session, mount) = reading_ahead(ctx, image)?;
    let reader = read_in_background(&mount.file("file"));
    in_flight(&mut session)?;
    Ok((session, mount, reader))
}

/// A reader is killed that waits, so that nobody waits for anything.
fn with_killed_reader(ctx: &Context, image: &Image) -> Result<(Session, Mount)> {
    let (mut session, mount) = reading_ahead(ctx, image)?;
    let reader = Actor::reader(&mount.file("file"))?;
    let own = in_flight(&mut session)?;
    sys::wait_for("the reader to wait", soon(), || {
        reader.waits_for(&mount.file("file"))
    })?;
    reader.kill()?;
    session.held.retain(|read| read.msg_id != own.msg_id);
    Ok((session, mount))
}

fn killed_reader_leaves_what_is_asked_for_ahead(ctx: &Context) -> Result<()> {
    let image = plain(12);
    let (mut session, mount) = with_killed_reader(ctx, &image)?;
    let ahead = session.held.len();
    // Another one is killed that has joined the first of them.
    let second = Actor::reader(&mount.file("file"))?;
    session.pump_until("the READ that went with its reader", |session| {
        session.held.len() > ahead
    })?;
    let own = session.held.remove(ahead);
    session.answer_read(&own)?;
    session.pump_for(Duration::from_millis(200))?;
    sys::wait_for("the second reader to wait", soon(), || {
        second.waits_for(&mount.file("file"))
    })?;
    second.kill()?;
    // Behind these may be a READ of its own, which goes with it.
    let others = session.held.split_off(ahead);
    let ahead = session.held.clone();
    session.log.reads.clear();
    let reader = read_in_background(&mount.file("file"));
    session.pump_for(Duration::from_millis(200))?;
    session.hold_reads = None;
    for read in &others {
        session.answer_read(read)?;
    }
    let late = session.log.late;
    session.answer_held_backwards()?;
    ensure!(
        session.log.late == late,
        "a READ ahead went with the reader"
    );
    session.pump_until("the reader to end", |_| reader.is_done())?;
    ensure!(reader.finish()?? == image.files["file"], "wrong content");
    for read in &session.log.reads {
        let is_again = ahead.iter().any(|ahead| ahead.off == read.off);
        ensure!(!is_again, "asked again for {}", read.off);
    }
    end(session, mount, &image)
}

fn failed_read_ahead_is_asked_for_again_by_its_reader(ctx: &Context) -> Result<()> {
    let image = plain(6);
    let (mut session, mount, reader) = with_reader(ctx, &image)?;
    let own = session.held.remove(0);
    let failed = std::mem::take(&mut session.held);
    for read in &failed {
        session.device.cfail(read.msg_id, Errno::IO)?;
    }
    session.log.reads.clear();
    session.hold_reads = None;
    session.answer_read(&own)?;
    session.pump_until("the reader to end", |_| reader.is_done())?;
    ensure!(reader.finish()?? == image.files["file"], "wrong content");
    for read in &failed {
        let again = session.log.reads.iter();
        let again = again.filter(|again| again.off == read.off).count();
        ensure!(again == 1, "{} was asked for {again} times", read.off);
    }
    end(session, mount, &image)
}

fn reads_ahead_survive_a_crash(ctx: &Context) -> Result<()> {
    let image = plain(12);
    for restores in [false, true] {
        let (mut session, mount, reader) = with_reader(ctx, &image)?;
        let mut before: Vec<_> = session.held.iter().map(|read| read.off).collect();
        session.crash();
        session.log.reads.clear();
        if restores {
            session.device.restore()?;
        }
        session.pump_until("all READs again", |session| {
            session.held.len() == before.len()
        })?;
        let mut after: Vec<_> = session.held.iter().map(|read| read.off).collect();
        before.sort_unstable();
        after.sort_unstable();
        ensure!(before == after, "{before:?} became {after:?}");
        session.hold_reads = None;
        session.answer_held_backwards()?;
        session.pump_until("the reader to end", |_| reader.is_done())?;
        ensure!(reader.finish()?? == image.files["file"], "wrong content");
        end(session, mount, &image)?;
        sys::empty_cache()?;
    }
    Ok(())
}

fn crash_with_reads_ahead_alone_has_nothing_opened(ctx: &Context) -> Result<()> {
    let image = plain(12);
    let (mut session, mount) = with_killed_reader(ctx, &image)?;
    session.crash();
    session.log = Log::default();
    session.hold_reads = None;
    session.pump_for(Duration::from_millis(500))?;
    let opens = session.log.opens.len();
    ensure!(opens == 0, "{opens} OPENs for nobody");
    let reader = read_in_background(&mount.file("file"));
    session.pump_until("the reader to end", |_| reader.is_done())?;
    ensure!(reader.finish()?? == image.files["file"], "wrong content");
    end(session, mount, &image)
}

/// Has a reader join a READ ahead, and answers that after the time that it had before, but before
/// its reader has waited for as long. `None` where the machine was too slow for that.
fn answer_between(ctx: &Context, image: &Image, timeout: u32) -> Result<Option<()>> {
    let limit = Duration::from_secs(timeout.into());
    let (mut session, mount) = with_killed_reader(ctx, image)?;
    let made_before = Instant::now();
    session.device.set_timeout(timeout)?;
    let last = session.held.iter().max_by_key(|read| read.off);
    let last = *last.context("no READ ahead")?;
    std::thread::sleep(limit * 5 / 8);
    let joined_after = Instant::now();
    let (path, off) = (mount.file("file"), last.off);
    let reader = Task::start("reading", move || -> Result<Vec<u8>> {
        let file = File::open(path)?;
        fadvise(&file, 0, None, Advice::Random)?;
        let mut data = vec![0; BLOCK];
        file.read_exact_at(&mut data, off)?;
        Ok(data)
    });
    // It sleeps, and not for the disk: that would be over.
    let mut calm = (0, 0);
    while calm.1 < 20 && !reader.is_done() {
        ensure!(joined_after.elapsed() < soon(), "the reader does not wait");
        std::thread::sleep(Duration::from_millis(20));
        let times = reader.sleeps().then(|| reader.times_asleep());
        calm = match times {
            Some(Ok(times)) if times == calm.0 => (times, calm.1 + 1),
            Some(Ok(times)) => (times, 0),
            _ => (0, 0),
        };
    }
    let is_joined = calm.1 >= 20 && made_before.elapsed() < limit;
    let over = limit + Duration::from_secs(1);
    std::thread::sleep(over.saturating_sub(made_before.elapsed()));
    session.hold_reads = None;
    session.log.late = 0;
    session.answer_read(&last)?;
    let is_in_time = joined_after.elapsed() < limit;
    let late = session.log.late;
    session.device.set_timeout(0)?;
    session.pump_until("the reader to end", |_| reader.is_done())?;
    let data = reader.finish()?;
    session.held.clear();
    end(session, mount, image)?;
    sys::empty_cache()?;
    if !is_joined || !is_in_time {
        return Ok(None);
    }
    let at = usize::try_from(off)?;
    ensure!(data? == image.files["file"][at..][..BLOCK], "wrong content");
    ensure!(late == 0, "the READ was over before its reader had waited");
    Ok(Some(()))
}

fn read_ahead_has_its_time_from_when_it_is_waited_for(ctx: &Context) -> Result<()> {
    let image = plain(12);
    for timeout in [5, 20] {
        if answer_between(ctx, &image, timeout)?.is_some() {
            return Ok(());
        }
    }
    Err(Skip("the machine is too slow".into()).into())
}

fn late_read_ahead_ends_as_any_other(ctx: &Context) -> Result<()> {
    let image = plain(12);
    let (mut session, mount, reader) = with_reader(ctx, &image)?;
    session.device.set_timeout(1)?;
    session.pump_until("the reader to end", |_| reader.is_done())?;
    expect_io_errno(reader.finish()?, Errno::TIMEDOUT, "the reader")?;
    // All of them, by now or soon.
    session.device.set_readahead(0)?;
    session.pump_for(Duration::from_secs(3))?;
    for read in std::mem::take(&mut session.held) {
        let answer = session
            .object(read.object_id)?
            .fd
            .complete_read(read.msg_id);
        expect_errno(answer, Errno::INVAL, "a late answer")?;
    }
    session.device.set_timeout(0)?;
    end(session, mount, &image)
}

fn unmount_ends_with_reads_ahead_unanswered(ctx: &Context) -> Result<()> {
    let image = plain(12);
    let (mut session, mount) = with_killed_reader(ctx, &image)?;
    let ahead = std::mem::take(&mut session.held);
    ensure!(ahead.len() > 1, "{} READs ahead", ahead.len());
    session.unmount(mount)?;
    // The CLOSEs are read, and the objects are gone.
    session.settle()?;
    let (mut session, mount) = {
        drop(session);
        sys::wait_until_unused(soon())?;
        reading_ahead(ctx, &image)?
    };
    session.hold_reads = None;
    end(session, mount, &image)
}

fn unmount_takes_back_what_is_asked_for_ahead(ctx: &Context) -> Result<()> {
    let image = plain(12);
    let (mut session, mount) = reading_ahead(ctx, &image)?;
    let reader = Actor::reader(&mount.file("file"))?;
    session.pump_until("the first READ", |session| session.held.len() == 1)?;
    let first = session.held.remove(0);
    session.log.reads.clear();
    session.answer_read(&first)?;
    session.pump_until("what the reader waits for", |session| {
        session.held.len() == 1
    })?;
    // The daemon is at that, and reads nothing more for now.
    std::thread::sleep(Duration::from_millis(300));
    let is_readable = session.device.wait_readable(Some(Duration::ZERO))?;
    ensure!(is_readable, "nothing is asked for ahead");
    reader.kill()?;
    let unmount = mount.unmount();
    sys::wait_for("the unmount, and who sends the CLOSE", soon(), || {
        unmount.is_done() && module_waits_in_a_worker()
    })?;
    unmount.finish()??;
    session.held.clear();
    session.settle()?;
    let reads = session.log.reads.len() - 1;
    ensure!(reads == 0, "{reads} READs of what nobody wants");
    Ok(())
}

fn closed_device_ends_reads_ahead(ctx: &Context) -> Result<()> {
    let image = plain(12);
    let (session, mount, reader) = with_reader(ctx, &image)?;
    drop(session);
    expect_io_errno(reader.finish()?, Errno::IO, "the reader")?;
    mount.unmount().finish()??;
    sys::wait_until_unused(soon())
}
