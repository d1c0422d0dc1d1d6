// SPDX-License-Identifier: GPL-2.0
//! Failover step by step: the daemon of these tests dies by losing its fds and its memory, at a
//! point of the test's choosing, while the test goes on to hold the device.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::Errno;

use crate::context::Context;
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::registry::{Test, test};
use crate::session::{Mount, Session};
use crate::task::{ReadTask, read_in_background};

pub const TESTS: &[Test] = &[
    test!(
        restore_hands_delivered_reads_out_again_after_a_crash,
        "readers do not notice a crash"
    ),
    test!(
        delivered_reads_come_back_by_themselves_when_the_last_fd_closes,
        "FAULTS 2: a crash heals without `restore`"
    )
    .c_fails("READs that were delivered wait for `restore`"),
    test!(
        restore_twice_is_as_good_as_once,
        "`restore` may be repeated"
    ),
    test!(
        restore_with_nothing_in_flight_does_nothing,
        "`restore` is always safe"
    ),
    test!(
        restore_before_the_open_was_read_changes_nothing,
        "CVE-2024-40899: `restore` and a new OPEN"
    ),
    test!(
        restore_after_a_crash_with_a_delivered_open_repeats_it,
        "an opener does not notice a crash"
    ),
    test!(
        restore_with_a_live_daemon_does_not_break_a_delivered_open,
        "FAULTS 2: `restore` too early costs nothing"
    )
    .c_fails("the OPEN is delivered again, the read fails with EEXIST, and so does the OPEN"),
    test!(
        restore_with_a_live_daemon_does_not_break_a_delivered_read,
        "FAULTS 2: `restore` too early costs nothing"
    ),
    test!(
        restore_completes_a_half_written_read,
        "what the dead daemon wrote is no harm"
    ),
    test!(
        crash_after_any_number_of_messages_loses_nothing,
        "there is no bad moment for a crash"
    )
    .limit(90),
    test!(
        crash_over_and_over_under_one_reader_loses_nothing,
        "there is no bad number of crashes"
    ),
    test!(
        many_objects_are_reopened_after_a_crash,
        "every object has its own reopening"
    ),
];

const FSID: &str = "over";

pub fn two_blobs() -> Image {
    Builder::new()
        .device("blob-a")
        .device("blob-b")
        .chunked("a", pattern(1, 8 * BLOCK), 8, &[Some(1)])
        .chunked("b", pattern(2, 8 * BLOCK), 8, &[Some(2)])
        .build()
}

/// A mounted image, a reader of `a`, and its READ, which is held.
pub fn one_read_in_flight(ctx: &Context, image: &Image) -> Result<(Session, Mount, ReadTask)> {
    let mut session = ctx.session(FSID, image)?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.hold_data(FSID, image);
    let reader = read_in_background(&mount.file("a"));
    session.pump_until("a READ", |session| !session.held.is_empty())?;
    Ok((session, mount, reader))
}

/// Serves on until the reader has what it wanted, and takes all down.
pub fn finish(mut session: Session, mount: Mount, image: &Image, reader: ReadTask) -> Result<()> {
    session.hold_reads = None;
    session.pump_until("the reader to finish", |_| reader.is_done())?;
    ensure!(reader.finish()?? == image.files["a"], "wrong content");
    session.check_files(&mount, image)?;
    session.unmount(mount)?;
    session.settle()
}

fn restore_hands_delivered_reads_out_again_after_a_crash(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount, reader) = one_read_in_flight(ctx, &image)?;
    let before = session.held[0];
    session.crash();
    session.device.restore()?;
    session.log = Default::default();
    session.pump_until("the READ again", |session| !session.held.is_empty())?;
    let (_, object, key) = session
        .log
        .opens
        .first()
        .context("the object was not reopened")?;
    ensure!(
        key == b"blob-a",
        "reopened {}",
        String::from_utf8_lossy(key)
    );
    ensure!(
        *object > before.object_id,
        "the object's new id is {object}"
    );
    let after = session.held[0];
    ensure!(
        after.object_id == *object,
        "the READ is for object {}",
        after.object_id
    );
    ensure!(
        (after.off, after.len) == (before.off, before.len),
        "the READ became {after:?}"
    );
    session.answer_held_backwards()?;
    finish(session, mount, &image, reader)
}

fn delivered_reads_come_back_by_themselves_when_the_last_fd_closes(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount, reader) = one_read_in_flight(ctx, &image)?;
    session.crash();
    finish(session, mount, &image, reader)
}

fn restore_twice_is_as_good_as_once(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount, reader) = one_read_in_flight(ctx, &image)?;
    session.crash();
    session.device.restore()?;
    session.device.restore()?;
    session.pump_until("the READ again", |session| !session.held.is_empty())?;
    ensure!(
        session.log.opens.len() == 4,
        "OPENs: {:?}",
        session.log.opens
    );
    session.answer_held_backwards()?;
    finish(session, mount, &image, reader)
}

fn restore_with_nothing_in_flight_does_nothing(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mut session = ctx.session(FSID, &image)?;
    session.device.restore()?;
    session.device.command("restore everything")?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.log = Default::default();
    session.device.restore()?;
    session.pump_for(Duration::from_millis(200))?;
    ensure!(
        session.log.opens.is_empty() && session.log.reads.is_empty(),
        "messages out of nothing"
    );
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()
}

fn restore_before_the_open_was_read_changes_nothing(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mut session = ctx.session(FSID, &image)?;
    let mount = session.mount_in_background(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    ensure!(
        session.device.wait_readable(Some(crate::task::soon()))?,
        "no OPEN"
    );
    session.device.restore()?;
    session.pump_until("mount to return", |_| mount.is_done())?;
    let mount = mount.finish()?.context("mount")?;
    // The devices are looked up in the background.
    session.pump_until("the devices", |session| session.objects.len() >= 3)?;
    ensure!(
        session.log.opens.len() == 3,
        "OPENs: {:?}",
        session.log.opens
    );
    session.check_files(&mount, &image)?;
    session.unmount(mount)
}

fn restore_after_a_crash_with_a_delivered_open_repeats_it(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mut session = ctx.session(FSID, &image)?;
    session.hold_opens = true;
    let mount = session.mount_in_background(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.pump_until("the OPEN", |session| !session.held_opens.is_empty())?;
    session.crash();
    session.device.restore()?;
    session.hold_opens = false;
    session.pump_until("mount to return", |_| mount.is_done())?;
    let mount = mount.finish()?.context("mount")?;
    let ids: Vec<_> = session
        .log
        .opens
        .iter()
        .take(2)
        .map(|open| open.1)
        .collect();
    ensure!(ids == [1, 2], "object ids {ids:?}");
    session.check_files(&mount, &image)?;
    session.unmount(mount)
}

fn restore_with_a_live_daemon_does_not_break_a_delivered_open(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mut session = ctx.session(FSID, &image)?;
    session.hold_opens = true;
    let mount = session.mount_in_background(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.pump_until("the OPEN", |session| !session.held_opens.is_empty())?;
    session.device.restore()?;
    session
        .pump_for(Duration::from_millis(300))
        .context("reading on after restore")?;
    ensure!(
        session.held_opens.len() == 1,
        "the OPEN was delivered again to a live daemon"
    );
    session.hold_opens = false;
    let open = session.held_opens.remove(0);
    session.answer_open(open)?;
    ensure!(session.log.late == 0, "the OPEN was gone");
    session.pump_until("mount to return", |_| mount.is_done())?;
    let mount = mount.finish()?.context("mount")?;
    session.check_files(&mount, &image)?;
    session.unmount(mount)
}

fn restore_with_a_live_daemon_does_not_break_a_delivered_read(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount, reader) = one_read_in_flight(ctx, &image)?;
    session.device.restore()?;
    // It may be delivered once more, to whoever asked for that.
    session.pump_for(Duration::from_millis(200))?;
    ensure!(
        session.held.iter().all(|read| *read == session.held[0]),
        "held {:?}",
        session.held
    );
    let copies = session.held.len();
    session.answer_held_backwards()?;
    ensure!(
        session.log.late == copies - 1,
        "{} of {copies} answers late",
        session.log.late
    );
    ensure!(
        session.log.opens.len() == 3,
        "OPENs: {:?}",
        session.log.opens
    );
    finish(session, mount, &image, reader)
}

fn restore_completes_a_half_written_read(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount, reader) = one_read_in_flight(ctx, &image)?;
    let read = session.held[0];
    // A hole before, between and behind what was written.
    session.fill(read.object_id, read.off + BLOCK as u64, BLOCK as u64)?;
    session.fill(
        read.object_id,
        read.off + 4 * BLOCK as u64,
        2 * BLOCK as u64,
    )?;
    session.crash();
    session.device.restore()?;
    finish(session, mount, &image, reader)
}

fn crash_after_any_number_of_messages_loses_nothing(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mut session = ctx.session(FSID, &image)?;
    let mut whole = 0;
    for point in 0.. {
        // One more message answered in each round; the next one is taken, and dies with the daemon.
        let fsid = format!("point-{point}");
        session
            .blobs
            .extend(crate::session::blobs_of(&fsid, &image));
        let mount = session.mount_in_background(&ctx.mount_point(&fsid), format!("fsid={fsid}"))?;
        let mut answered = 0;
        let mut crashed = false;
        let mut step = |session: &mut Session| -> Result<()> {
            if !session
                .device
                .wait_readable(Some(Duration::from_millis(10)))?
            {
                return Ok(());
            }
            if answered == point && !crashed {
                crashed = true;
                session.hold_opens = true;
                session.hold_reads = Some(Box::new(|_, _| true));
                session.step()?;
                session.hold_opens = false;
                session.hold_reads = None;
                session.crash();
                session.device.restore()?;
                return Ok(());
            }
            answered += 1;
            session.step()
        };
        let end = std::time::Instant::now() + crate::task::soon();
        while !mount.is_done() {
            ensure!(
                std::time::Instant::now() < end,
                "crash at message {point}: mount hangs"
            );
            step(&mut session)?;
        }
        let mount = mount
            .finish()?
            .with_context(|| format!("crash at message {point}"))?;
        let reader = read_in_background(&mount.file("b"));
        while !reader.is_done() {
            ensure!(
                std::time::Instant::now() < end,
                "crash at message {point}: reader hangs"
            );
            step(&mut session)?;
        }
        let data = reader
            .finish()?
            .with_context(|| format!("crash at message {point}"))?;
        ensure!(
            data == image.files["b"],
            "crash at message {point}: wrong content"
        );
        session.check_files(&mount, &image)?;
        session.unmount(mount)?;
        session.settle()?;
        whole = answered;
        if !crashed {
            break;
        }
    }
    ensure!(whole >= 6, "only {whole} messages");
    Ok(())
}

fn crash_over_and_over_under_one_reader_loses_nothing(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount, reader) = one_read_in_flight(ctx, &image)?;
    for round in 0..10 {
        session.crash();
        session.device.restore()?;
        session
            .pump_until("the READ again", |session| !session.held.is_empty())
            .with_context(|| format!("crash {round}"))?;
        ensure!(!reader.is_done(), "the reader ended in crash {round}");
    }
    session.answer_held_backwards()?;
    finish(session, mount, &image, reader)
}

fn many_objects_are_reopened_after_a_crash(ctx: &Context) -> Result<()> {
    const COUNT: u32 = 14;
    let mut builder = Builder::new();
    for number in 1..=COUNT {
        builder = builder.device(format!("blob-{number:02}"));
    }
    for number in 1..=COUNT {
        let place = Some(u16::try_from(number)?);
        builder = builder.chunked(
            &format!("{number:02}"),
            pattern(number, 4 * BLOCK),
            4,
            &[place],
        );
    }
    let image = builder.build();
    let mut session = ctx.session(FSID, &image)?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.hold_data(FSID, &image);
    let readers: Vec<_> = image
        .files
        .iter()
        .map(|(name, data)| (read_in_background(&mount.file(name)), data))
        .collect();
    session.pump_until("all READs", |session| session.held.len() == readers.len())?;
    session.crash();
    session.device.restore()?;
    session.log = Default::default();
    session.pump_until("all READs again", |session| {
        session.held.len() == readers.len()
    })?;
    let mut reopened: Vec<_> = session
        .log
        .opens
        .iter()
        .map(|(.., key)| key.clone())
        .collect();
    reopened.sort();
    reopened.dedup();
    ensure!(
        reopened.len() == readers.len(),
        "reopened {} objects",
        reopened.len()
    );
    ensure!(
        session.log.opens.len() == readers.len(),
        "OPENs: {}",
        session.log.opens.len()
    );
    session.answer_held_backwards()?;
    for (reader, data) in readers {
        session.pump_until("a reader to finish", |_| reader.is_done())?;
        ensure!(reader.finish()?? == *data, "wrong content");
    }
    let late = session.device.copen(4711, Err(Errno::IO));
    ensure!(
        late == Err(Errno::INVAL),
        "copen of an unknown id: {late:?}"
    );
    session.unmount(mount)
}
