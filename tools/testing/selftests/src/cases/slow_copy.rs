// SPDX-License-Identifier: GPL-2.0
//! A daemon whose read stops in the middle: its buffer is memory that the kernel must fetch first,
//! on demand, from the very daemon. While the message is being copied all the rest can happen.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use cachefiles_protocol::{Errno, Message, ObjectFd, WireMessage};

use super::gates::readers_wait;
use super::restore::two_blobs;
use crate::actor::Actor;
use crate::context::Context;
use crate::image::Image;
use crate::raw;
use crate::registry::{Test, test};
use crate::session::{Mount, MountTask, Session, blobs_of};
use crate::sys;
use crate::task::{Task, soon};

pub const TESTS: &[Test] = &[
    test!(
        reader_killed_while_its_read_is_copied_does_no_harm,
        "CVE-2024-39510: a request outlives its copying"
    ),
    test!(
        fd_of_an_open_cannot_be_used_before_the_message_is_there,
        "CVE-2024-40913: nobody closes an fd that the kernel still works with"
    ),
    test!(
        restore_while_an_open_is_copied_does_not_hand_it_out_twice,
        "CVE-2024-40899, FAULTS 2: one object has one fd"
    )
    .c_fails("the OPEN is delivered again, the read fails with EEXIST, and so does the OPEN"),
    test!(
        daemon_killed_while_an_open_is_copied_loses_nothing,
        "FAULTS 6: the next daemon gets the message"
    )
    .c_fails("an EFAULT in the daemon's read fails the request itself"),
    test!(
        daemon_killed_while_a_read_is_copied_loses_nothing,
        "FAULTS 6: the next daemon gets the message"
    ),
];

/// A thread that reads one message into memory that is the image's file `a`.
pub type SlowRead = Task<Result<Vec<u8>, Errno>>;

/// A mounted image, whose data is not fetched and whose READs are held.
pub fn mounted(ctx: &Context, image: &Image) -> Result<(Session, Mount)> {
    let mut session = ctx.session("slow", image)?;
    let mount = session.mount(&ctx.mount_point("slow"), "fsid=slow")?;
    for name in ["a", "b"] {
        session.look_up(&mount.file(name))?;
    }
    session.hold_data("slow", image);
    Ok((session, mount))
}

/// Takes the READ that the slow read causes, once it `sleeps` for it.
fn hold_its_buffer(session: &mut Session, sleeps: impl FnMut() -> bool) -> Result<()> {
    sys::wait_for("the slow read to need its buffer", soon(), sleeps)?;
    session.pump_until("the READ of the buffer", |session| !session.held.is_empty())?;
    let key = &session.object(session.held[0].object_id)?.key;
    ensure!(key == b"blob-a", "not the READ of the buffer");
    Ok(())
}

/// Begins to read the message that is waiting.
pub fn slow_read(session: &mut Session, mount: &Mount) -> Result<SlowRead> {
    ensure!(
        session.device.wait_readable(Some(soon()))?,
        "there is nothing to read"
    );
    let (device, file) = (Arc::clone(&session.device), File::open(mount.file("a"))?);
    let read = Task::start("a slow read", move || {
        raw::read_into_mapping(&*device, &file)
    });
    let fd = session.device.as_fd().as_raw_fd();
    hold_its_buffer(session, || read.sleeps_in_read(fd))?;
    Ok(read)
}

/// Lets the slow read go on, and returns what it got.
pub fn message(session: &mut Session, read: SlowRead) -> Result<Message> {
    session.hold_reads = None;
    session.answer_held_backwards()?;
    session.pump_until("the slow read to return", |_| read.is_done())?;
    decoded(read)
}

/// What a read that has returned got.
pub fn decoded(read: SlowRead) -> Result<Message> {
    let bytes = read.finish()?.context("the slow read")?;
    let message = WireMessage::try_from(&bytes[..])?;
    Ok(message.map_fd(|fd| ObjectFd::from(raw::adopt(fd))))
}

/// Starts to mount a second image.
pub fn mount_another(ctx: &Context, session: &mut Session, image: &Image) -> Result<MountTask> {
    session.blobs.extend(blobs_of("other", image));
    session.mount_in_background(&ctx.mount_point("other"), "fsid=other")
}

/// Everything works, in both images.
pub fn finish(
    mut session: Session,
    mount: Mount,
    other: Option<MountTask>,
    image: &Image,
) -> Result<()> {
    session.hold_reads = None;
    session.answer_held_backwards()?;
    if let Some(other) = other {
        session.pump_until("the mount to return", |_| other.is_done())?;
        let other = other.finish()?.context("mount")?;
        session.check_files(&other, image)?;
        session.unmount(other)?;
    }
    session.check_files(&mount, image)?;
    session.unmount(mount)?;
    session.settle()
}

fn reader_killed_while_its_read_is_copied_does_no_harm(ctx: &Context) -> Result<()> {
    readers_wait()?;
    let image = two_blobs();
    let (mut session, mount) = mounted(ctx, &image)?;
    let reader = Actor::reader(&mount.file("b"))?;
    let read = slow_read(&mut session, &mount)?;
    reader.kill()?;
    let Message::Read(read) = message(&mut session, read)? else {
        bail!("the message is no READ");
    };
    let object = session.object(read.object_id)?;
    ensure!(object.key == b"blob-b", "the READ is of another object");
    let answer = object.fd.complete_read(read.msg_id);
    ensure!(
        answer == Err(Errno::INVAL),
        "the READ of a dead reader is completed: {answer:?}"
    );
    finish(session, mount, None, &image)
}

/// How many fds of objects this process has.
fn object_fds() -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir("/proc/self/fd")? {
        // The fd of this very listing may be gone.
        let target = fs::read_link(entry?.path()).unwrap_or_default();
        count += usize::from(target.to_string_lossy().contains("[cachefiles]"));
    }
    Ok(count)
}

fn fd_of_an_open_cannot_be_used_before_the_message_is_there(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount) = mounted(ctx, &image)?;
    let other = mount_another(ctx, &mut session, &image)?;
    let read = slow_read(&mut session, &mount)?;
    let (seen, known) = (object_fds()?, session.objects.len());
    let Message::Open(open) = message(&mut session, read)? else {
        bail!("the message is no OPEN");
    };
    let after = object_fds()?;
    session.answer_open(open)?;
    finish(session, mount, Some(other), &image)?;
    ensure!(
        seen == known && after == known + 1,
        "{known} objects were open; {seen} fds during the copying, {after} after it"
    );
    Ok(())
}

fn restore_while_an_open_is_copied_does_not_hand_it_out_twice(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount) = mounted(ctx, &image)?;
    let other = mount_another(ctx, &mut session, &image)?;
    let read = slow_read(&mut session, &mount)?;
    session.log = Default::default();
    session.device.restore()?;
    let Message::Open(open) = message(&mut session, read)? else {
        bail!("the message is no OPEN");
    };
    ensure!(
        session.log.opens.is_empty(),
        "handed out again: {:?}",
        session.log.opens
    );
    session.answer_open(open)?;
    finish(session, mount, Some(other), &image)
}

/// A daemon process that dies while it takes the message that is waiting.
fn die_in_a_slow_read(session: &mut Session, mount: &Mount) -> Result<()> {
    ensure!(
        session.device.wait_readable(Some(soon()))?,
        "there is nothing to read"
    );
    let daemon = Actor::slow_daemon(&session.device, &mount.file("a"))?;
    hold_its_buffer(session, || daemon.sleeps_in_read())?;
    daemon.kill()
}

fn daemon_killed_while_an_open_is_copied_loses_nothing(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount) = mounted(ctx, &image)?;
    let other = mount_another(ctx, &mut session, &image)?;
    die_in_a_slow_read(&mut session, &mount)?;
    finish(session, mount, Some(other), &image)
}

fn daemon_killed_while_a_read_is_copied_loses_nothing(ctx: &Context) -> Result<()> {
    let image = two_blobs();
    let (mut session, mount) = mounted(ctx, &image)?;
    let mut reader = Actor::reader(&mount.file("b"))?;
    die_in_a_slow_read(&mut session, &mount)?;
    session.hold_reads = None;
    session.answer_held_backwards()?;
    session.pump_until("the reader to finish", |_| reader.ended().unwrap_or(false))?;
    let said = reader.said()?;
    ensure!(
        said == format!("ok {}", image.files["b"].len()),
        "the reader says {said:?}"
    );
    finish(session, mount, None, &image)
}
