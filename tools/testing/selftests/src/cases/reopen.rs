// SPDX-License-Identifier: GPL-2.0
//! Objects whose fd is closed: they are opened again when somebody reads them, and go away quietly
//! when nobody does.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::{Errno, Open};

use super::gates::readers_wait;
use super::restore::{finish, one_read_in_flight, two_blobs};
use crate::actor::Actor;
use crate::context::Context;
use crate::registry::{Test, test};
use crate::session::Session;
use crate::sys;

pub const TESTS: &[Test] = &[
    test!(
        read_of_an_object_whose_fd_was_closed_reopens_it,
        "an fd closed early is no loss"
    ),
    test!(
        poll_is_silent_about_reads_of_objects_that_reopen,
        "a daemon does not spin on what it cannot get"
    ),
    test!(
        stuck_reopening_of_one_object_does_not_hold_up_another,
        "objects do not wait for each other"
    ),
    test!(
        fd_closed_in_the_middle_of_reopening_starts_it_anew,
        "FAULTS 2: a crash in the middle of failover heals"
    )
    .c_fails("the OPEN that was delivered waits for `restore`"),
    test!(
        refused_reopening_is_an_error_or_is_asked_again,
        "FAULTS 1: readers of an object that is gone do not hang"
    ),
    test!(
        refused_reopening_is_not_repeated_without_pause,
        "FAULTS 1: an object that is gone does not burn the processor"
    )
    .c_fails("every read of the device starts the next reopening"),
    test!(
        readers_get_eio_once_a_reopening_was_refused_three_times,
        "FAULTS 1: a refusal reaches those who wait, after a bounded number of tries"
    )
    .c_fails("the reopening is repeated without end, and readers wait as long"),
    test!(
        reader_killed_while_its_object_reopens_leaves_no_trace,
        "CVE-2024-41051: no reader is stuck on a failover"
    ),
    test!(
        unmount_after_a_crash_needs_no_daemon,
        "a mount can be taken down at any time"
    ),
    test!(
        unmount_while_an_object_reopens_ends_it,
        "CVE-2024-41051: a mount can be taken down at any time"
    )
    .limit(60),
    test!(
        unmount_with_an_unanswered_open_waits_for_nobody,
        "FAULTS 4: a mount can be taken down at any time"
    ),
    test!(
        unmount_while_an_object_reopens_sends_a_close,
        "FAULTS 4: a daemon that has the fd of an object learns that the object goes"
    )
    .c_fails("no CLOSE is sent, and the object stays until the daemon closes the fd"),
    test!(
        copen_after_the_fd_of_a_reopening_was_closed_is_tried_again,
        "CVE-2024-41074: an object does not stay reopening for ever"
    ),
    test!(
        queued_close_is_done_when_the_fd_closes,
        "FAULTS 3: nobody waits for a CLOSE that has become pointless"
    )
    .c_fails("the CLOSE stays queued, with an object id of -1"),
];

const NOTHING_LEFT: &str = "all cookies and volumes to go";

/// Whether fscache knows no cookie and no volume any more, without any help of a daemon.
fn nothing_left() -> Result<()> {
    sys::wait_for(NOTHING_LEFT, crate::task::soon(), sys::nothing_cached)
}

fn read_of_an_object_whose_fd_was_closed_reopens_it(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mut session = ctx.session("over", &image)?;
    let mount = session.mount(&ctx.mount_point("over"), "fsid=over")?;
    let (old, _) = session.object_of(b"blob-a")?;
    session.objects.remove(&old);
    session.log = Default::default();
    session.pump_for(Duration::from_millis(200))?;
    ensure!(
        session.log.opens.is_empty(),
        "reopened though nobody reads it"
    );
    let data = session.read_file(&mount.file("a"))?;
    ensure!(data == image.files["a"], "wrong content");
    let opens: Vec<_> = session
        .log
        .opens
        .iter()
        .map(|(_, id, key)| (*id, key.as_slice()))
        .collect();
    ensure!(
        opens.len() == 1 && opens[0].1 == b"blob-a",
        "OPENs: {opens:?}"
    );
    ensure!(opens[0].0 > old, "the new object id is {}", opens[0].0);
    ensure!(
        session.log.reads.iter().all(|read| read.object_id != old),
        "READ of the old object"
    );
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()
}

fn poll_is_silent_about_reads_of_objects_that_reopen(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount, reader) = one_read_in_flight(ctx, &image)?;
    session.crash();
    session.device.restore()?;
    session.hold_opens = true;
    session.pump_until("the OPEN", |session| !session.held_opens.is_empty())?;
    let ready = session
        .device
        .wait_readable(Some(Duration::from_millis(200)))?;
    ensure!(!ready, "poll promises a message that cannot be had");
    let mut buffer = [0; 1024];
    ensure!(
        rustix::io::read(&*session.device, &mut buffer)? == 0,
        "a message of a closed object"
    );
    session.hold_opens = false;
    let open = session.held_opens.remove(0);
    session.answer_open(open)?;
    ensure!(
        session.device.wait_readable(Some(crate::task::soon()))?,
        "the READ does not wake poll"
    );
    finish(session, mount, &image, reader)
}

fn stuck_reopening_of_one_object_does_not_hold_up_another(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount, reader) = one_read_in_flight(ctx, &image)?;
    let stuck = session.held.remove(0).object_id;
    session.objects.remove(&stuck);
    session.device.restore()?;
    session.hold_opens = true;
    session.pump_until("the OPEN", |session| !session.held_opens.is_empty())?;
    session.hold_opens = false;
    session.hold_reads = None;
    let data = session.read_file(&mount.file("b"))?;
    ensure!(
        data == image.files["b"] && !reader.is_done(),
        "wrong content"
    );
    let open = session.held_opens.remove(0);
    session.answer_open(open)?;
    finish(session, mount, &image, reader)
}

fn fd_closed_in_the_middle_of_reopening_starts_it_anew(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount, reader) = one_read_in_flight(ctx, &image)?;
    session.crash();
    session.device.restore()?;
    session.hold_opens = true;
    session.pump_until("the OPEN", |session| !session.held_opens.is_empty())?;
    session.hold_opens = false;
    session.crash();
    finish(session, mount, &image, reader)
}

/// Lets an object be reopened by a daemon that does not have its blob.
fn refusing(
    ctx: &Context,
    mut check: impl FnMut(&mut Session, &dyn Fn() -> bool) -> Result<()>,
) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount, reader) = one_read_in_flight(ctx, &image)?;
    session.crash();
    session.device.restore()?;
    session.hold_reads = None;
    let blobs = session.blobs.clone();
    session.blobs.remove(&b"blob-a"[..]);
    session.log = Default::default();
    check(&mut session, &|| reader.is_done())?;
    session.blobs = blobs;
    session.pump_until("the reader to end", |_| reader.is_done())?;
    if let Ok(data) = reader.finish()? {
        ensure!(data == image.files["a"], "wrong content");
    }
    session
        .check_files(&mount, &image)
        .context("once the blob is there")?;
    session.unmount(mount)?;
    session.settle()
}

fn refused_reopening_is_an_error_or_is_asked_again(ctx: &Context) -> Result<()> {
    refusing(ctx, |session, done| {
        session.pump_until("an error, or the third OPEN", |session| {
            done() || session.log.opens.len() >= 3
        })
    })
}

fn refused_reopening_is_not_repeated_without_pause(ctx: &Context) -> Result<()> {
    refusing(ctx, |session, _| {
        session.pump_for(Duration::from_secs(2))?;
        let count = session.log.opens.len();
        ensure!(count <= 40, "{count} OPENs in two seconds");
        Ok(())
    })
}

fn readers_get_eio_once_a_reopening_was_refused_three_times(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mut session = ctx.session("over", &image)?;
    let mount = session.mount(&ctx.mount_point("over"), "fsid=over")?;
    for name in ["a", "b"] {
        session.look_up(&mount.file(name))?;
    }
    session.crash();
    let blobs = session.blobs.clone();
    session.blobs.remove(&b"blob-a"[..]);
    session.log = Default::default();
    let readers: Vec<_> = (0..2)
        .map(|_| crate::task::read_in_background(&mount.file("a")))
        .collect();
    let done = || readers.iter().all(|reader| reader.is_done());
    session.pump_until("all readers to end", |_| done())?;
    let opens = session.log.opens.len();
    for reader in readers {
        let seen = reader.finish()?;
        crate::context::expect_io_errno(seen, Errno::IO, "a reader")?;
    }
    // A reader whose read ahead has failed asks once more, for itself, and so begins anew.
    ensure!((3..=12).contains(&opens) && opens % 3 == 0, "{opens} OPENs");
    // Another object is not touched by it, and this one can be had again.
    let b = session.read_file(&mount.file("b"))?;
    ensure!(b == image.files["b"], "wrong content");
    session.blobs = blobs;
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()
}

fn reader_killed_while_its_object_reopens_leaves_no_trace(ctx: &Context) -> Result<()> {
    readers_wait()?;
    let image = two_blobs();
    let mut session = ctx.session("over", &image)?;
    let mount = session.mount(&ctx.mount_point("over"), "fsid=over")?;
    session.hold_data("over", &image);
    let mut reader = Actor::reader(&mount.file("a"))?;
    session.pump_until("a READ", |session| !session.held.is_empty())?;
    session.crash();
    session.device.restore()?;
    session.hold_opens = true;
    session.pump_until("the OPEN", |session| !session.held_opens.is_empty())?;
    ensure!(!reader.ended()?, "the reader did not wait");
    reader.kill()?;
    session.hold_opens = false;
    session.hold_reads = None;
    let open = session.held_opens.remove(0);
    session.answer_open(open)?;
    session.log.reads.clear();
    session.pump_for(Duration::from_millis(200))?;
    ensure!(
        session.log.reads.is_empty(),
        "READs of a dead reader: {:?}",
        session.log.reads
    );
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()
}

fn unmount_after_a_crash_needs_no_daemon(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mut session = ctx.session("over", &image)?;
    let mount = session.mount(&ctx.mount_point("over"), "fsid=over")?;
    session.check_files(&mount, &image)?;
    session.crash();
    mount.unmount().finish()??;
    nothing_left()?;
    session.log = Default::default();
    session.device.restore()?;
    session.pump_for(Duration::from_millis(200))?;
    ensure!(
        session.log.closes.is_empty(),
        "CLOSEs of nothing: {:?}",
        session.log.closes
    );
    // The next daemon finds everything in order.
    let mount = session.mount(&ctx.mount_point("over"), "fsid=over")?;
    session.check_files(&mount, &image)?;
    ensure!(
        session.log.reads.is_empty(),
        "what was fetched is lost: {:?}",
        session.log.reads
    );
    session.unmount(mount)
}

/// Unmounts while an object reopens: its OPEN is in the daemon's hands, and is returned.
fn unmounted_while_an_object_reopens(ctx: &Context) -> Result<(Session, Open)> {
    readers_wait()?;
    let image = two_blobs();
    let mut session = ctx.session("over", &image)?;
    let mount = session.mount(&ctx.mount_point("over"), "fsid=over")?;
    session.hold_data("over", &image);
    let reader = Actor::reader(&mount.file("a"))?;
    session.pump_until("a READ", |session| !session.held.is_empty())?;
    session.crash();
    session.device.restore()?;
    session.hold_opens = true;
    session.pump_until("the OPEN", |session| !session.held_opens.is_empty())?;
    reader.kill()?;
    // A live fd, an OPEN that is never answered, and the mount goes.
    let task = mount.unmount();
    session.hold_opens = false;
    session.pump_until("unmount to return", |_| task.is_done())?;
    task.finish()??;
    let open = session.held_opens.remove(0);
    Ok((session, open))
}

fn unmount_while_an_object_reopens_ends_it(ctx: &Context) -> Result<()> {
    let (mut session, open) = unmounted_while_an_object_reopens(ctx)?;
    // The object goes in its own time; then the answer comes too late, and the daemon learns so.
    sys::wait_for("the OPEN to be gone", crate::task::soon(), || {
        session.device.copen(open.msg_id, Ok(4096)).is_err()
    })?;
    drop(open);
    session.crash();
    session.settle()
}

fn unmount_while_an_object_reopens_sends_a_close(ctx: &Context) -> Result<()> {
    let (mut session, open) = unmounted_while_an_object_reopens(ctx)?;
    let id = open.object_id;
    session.pump_until("a CLOSE of the object", |session| {
        session.log.closes.contains(&id)
    })?;
    drop(open);
    session.hold_reads = None;
    session.settle()?;
    // The blob can be had again.
    let image = two_blobs();
    let mount = session.mount(&ctx.mount_point("over"), "fsid=over")?;
    session.check_files(&mount, &image)?;
    session.unmount(mount)?;
    session.settle()
}

fn queued_close_is_done_when_the_fd_closes(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mut session = ctx.session("over", &image)?;
    let mount = session.mount(&ctx.mount_point("over"), "fsid=over")?;
    mount.unmount().finish()??;
    ensure!(
        session.device.wait_readable(Some(crate::task::soon()))?,
        "no CLOSE is queued"
    );
    session.crash();
    let gone = nothing_left();
    let read = session.device.read_message(&mut [0; 1024]);
    if let Ok(Some(message)) = &read {
        ensure!(
            message.object_id() != u32::MAX,
            "a CLOSE with an object id of -1"
        );
    }
    gone
}

fn unmount_with_an_unanswered_open_waits_for_nobody(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let mut session = ctx.session("over", &image)?;
    // The mount itself does not need the devices.
    let mut open_of_a = None;
    let mount = session.mount_in_background(&ctx.mount_point("over"), "fsid=over")?;
    session.hold_opens = true;
    session.pump_until("an OPEN of every blob", |session| {
        session.held_opens.len() == 1
    })?;
    // The image, its two devices: all three are seen, and all but one answered.
    while !mount.is_done()
        || open_of_a.is_none()
        || session.log.opens.len() < 3
        || !session.held_opens.is_empty()
    {
        for open in std::mem::take(&mut session.held_opens) {
            if open.cookie_key == b"blob-a" {
                open_of_a = Some(open);
            } else {
                session.answer_open(open)?;
            }
        }
        session.pump_for(Duration::from_millis(20))?;
    }
    let mount = mount.finish()?.context("mount")?;
    mount.unmount().finish()??;
    let open = open_of_a.context("no OPEN of the device")?;
    session.hold_opens = false;
    session.answer_open(open)?;
    session.settle()
}

fn copen_after_the_fd_of_a_reopening_was_closed_is_tried_again(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount, reader) = one_read_in_flight(ctx, &image)?;
    session.crash();
    session.device.restore()?;
    session.hold_opens = true;
    session.pump_until("the OPEN", |session| !session.held_opens.is_empty())?;
    let Open { msg_id, fd, .. } = session.held_opens.remove(0);
    drop(fd);
    session.hold_opens = false;
    // The id is no more, or the OPEN fails: what counts is that there is a next one.
    let _ = session.device.copen(msg_id, Ok(4096));
    session.device.restore()?;
    finish(session, mount, &image, reader)
}
